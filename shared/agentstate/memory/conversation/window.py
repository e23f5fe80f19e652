"""The window: as many of the newest turns as a budget holds, read page by page, however long the conversation is.

Turns are chosen by the tokens that were stored with them, so that nothing is counted to find the window. What is made
of them has marks, fillers and speakers' names beside; it is counted once, and gives up its oldest turns if need be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeVar

from sqlalchemy.engine import Connection

from agentstate.errors import TooLarge
from agentstate.memory.conversation import turns as rows
from agentstate.memory.conversation.tool_exchanges import LONGEST_EXCHANGE, drop_orphan_results, has_orphan_results
from agentstate.memory.conversation.turns import Conversation, Turn

MadeT = TypeVar("MadeT")

_FIRST_PAGE: Final = 64
_LARGEST_PAGE: Final = 2_048


def newest_within(connection: Connection, conversation: Conversation, room: int, max_tokens: int) -> list[Turn]:
    """Return the newest unsummarized turns that fit into `room` tokens, in order.

    Raises:
        TooLarge: not even the newest does, with the call that it answers when it is a result.
    """
    kept: list[Turn] = []
    used, backwards = 0, _backwards(connection, conversation)
    for turn in backwards:
        used += turn.tokens
        if used > room:
            break
        kept.append(turn)
    whole = kept[::-1]
    if used > room and has_orphan_results(whole):
        whole = drop_orphan_results(whole, [turn, *islice(backwards, LONGEST_EXCHANGE - 1)])
    if conversation.turns > conversation.summarized_to and not whole:
        raise _too_large(max_tokens - room + used, max_tokens)
    return whole


def fit_turns(
    turns: Sequence[Turn], make: Callable[[Sequence[Turn]], MadeT], count: Callable[[MadeT], int], max_tokens: int
) -> MadeT:
    """Return `make` of as many of the newest `turns` as fit into `max_tokens` by `count`.

    Raises:
        TooLarge: not even the newest does.
    """
    kept = turns
    while (tokens := count(made := make(kept))) > max_tokens:
        kept = _without_oldest(kept, 1 - max_tokens / tokens)
        if not kept:
            raise _too_large(tokens, max_tokens)
    return made


def _without_oldest(turns: Sequence[Turn], share: float) -> list[Turn]:
    """Drop the oldest turns, at least one and `share` of all tokens, and the results of their calls."""
    begin, tokens = 0, share * sum(turn.tokens for turn in turns)
    while begin < len(turns) and tokens > 0:
        tokens -= turns[begin].tokens
        begin += 1
    return drop_orphan_results(turns[begin:], turns[:begin])


def _too_large(tokens: int, max_tokens: int) -> TooLarge:
    return TooLarge(
        f"the newest turn and the summary need more than the {max_tokens} tokens allowed; they have {tokens}, with "
        "the call that the turn answers, if any. Nothing was changed; raise max_tokens."
    )


def _backwards(connection: Connection, conversation: Conversation) -> Iterator[Turn]:
    before, limit = conversation.turns + 1, _FIRST_PAGE
    while page := rows.read_newest(
        connection, conversation.id, after=conversation.summarized_to, before=before, limit=limit
    ):
        yield from page
        before, limit = page[-1].number, min(2 * limit, _LARGEST_PAGE)
