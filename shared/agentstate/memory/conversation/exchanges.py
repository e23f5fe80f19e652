"""Exchanges: a call of tools and the results that answer it, which are never taken apart.

Neither the window of newest turns nor a summary begins or ends between a call and its results.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentstate.memory.conversation.blocks import answers, calls
from agentstate.memory.conversation.turns import Turn


def torn(turns: Sequence[Turn]) -> set[int]:
    """The numbers of the turns (in order) after which nothing may be cut, as an exchange goes on there."""
    made: dict[str, int] = {}
    spans: list[tuple[int, int]] = []
    for turn in turns:
        spans += [(made[call], turn.number) for call in answers(turn.content) if call in made]
        made |= dict.fromkeys(calls(turn.content), turn.number)
    return {number for first, last in spans for number in range(first, last)}


def closed_before(turns: Sequence[Turn]) -> list[Turn]:
    """`turns` less those at the begin that answer calls made before them."""
    made = {call for turn in turns for call in calls(turn.content)}
    begin = 0
    for index, turn in enumerate(turns):
        if any(call not in made for call in answers(turn.content)):
            begin = index + 1
    return list(turns[begin:])
