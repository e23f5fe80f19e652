"""The window: as many of the newest turns as a budget holds, read page by page, however long the conversation is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy.engine import Connection

from agentstate.errors import TooLarge
from agentstate.memory.conversation import turns as rows
from agentstate.memory.conversation.exchanges import closed_before
from agentstate.memory.conversation.turns import Conversation, Turn

_FIRST_PAGE: Final = 64
_LARGEST_PAGE: Final = 2_048


def newest_within(connection: Connection, conversation: Conversation, room: int, max_tokens: int) -> list[Turn]:
    """The newest turns that no summary covers and that fit into `room` tokens, in order.

    Raises:
        TooLarge: not even the newest does, with the call that it answers when it is a result.
    """
    kept, used = [], 0
    for turn in _backwards(connection, conversation):
        used += turn.tokens
        if used > room:
            break
        kept.append(turn)
    whole = closed_before(kept[::-1])
    if conversation.turns > conversation.summarized_to and not whole:
        raise TooLarge(
            f"the newest turn and the summary need more than the {max_tokens} tokens allowed; they have "
            f"{max_tokens - room + used}, with the call that the turn answers, if any. Nothing was changed; "
            "raise max_tokens."
        )
    return whole


def _backwards(connection: Connection, conversation: Conversation) -> Iterator[Turn]:
    before, limit = conversation.turns + 1, _FIRST_PAGE
    while page := rows.newest(
        connection, conversation.id, after=conversation.summarized_to, before=before, limit=limit
    ):
        yield from page
        before, limit = page[-1].number, min(2 * limit, _LARGEST_PAGE)
