"""Exchanges: a call of tools and the results that answer it, which are never taken apart.

Neither the window of newest turns nor a summary begins or ends between a call and its results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from agentstate.memory.conversation.blocks import result_call_ids, tool_call_ids
from agentstate.memory.conversation.turns import Turn

LONGEST_EXCHANGE: Final = 32
"""Turns across a border that are looked at for the call or the results on its other side."""


def unsplittable_turns(turns: Sequence[Turn]) -> set[int]:
    """The numbers of the turns (in order) after which nothing may be cut, as an exchange goes on there."""
    made: dict[str, int] = {}
    spans: list[tuple[int, int]] = []
    for turn in turns:
        spans += [(made[call], turn.number) for call in result_call_ids(turn.content) if call in made]
        made |= dict.fromkeys(tool_call_ids(turn.content), turn.number)
    return {number for first, last in spans for number in range(first, last)}


def has_orphan_results(turns: Sequence[Turn]) -> bool:
    """Whether `turns` answer a call that is not among them."""
    made = {call for turn in turns for call in tool_call_ids(turn.content)}
    return any(call not in made for turn in turns for call in result_call_ids(turn.content))


def drop_orphan_results(turns: Sequence[Turn], left_out: Sequence[Turn]) -> list[Turn]:
    """`turns` less those at the begin up to the last that answers a call made in `left_out`, the turns before them.

    What answers a call that was never recorded, or that a summary covers, stays.
    """
    made = {call for turn in left_out for call in tool_call_ids(turn.content)}
    made -= {call for turn in turns for call in tool_call_ids(turn.content)}
    torn_at = [index for index, turn in enumerate(turns) if made.intersection(result_call_ids(turn.content))]
    return list(turns[torn_at[-1] + 1 :] if torn_at else turns)
