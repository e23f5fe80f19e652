"""The rows of conversations: turns appended in order under the conversation's lock, and read again by their number.

Numbers have no gaps, since whoever appends holds the conversation's row. A turn that comes with a caller's own id is
stored once, however often it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.errors import InvalidInput, TooLarge
from agentstate.ids import derive_id, validate_name
from agentstate.memory.conversation.billing import count_tokens
from agentstate.memory.conversation.blocks import blocks_as_text, decode_message, encode_message
from agentstate.memory.conversation.message_forms import SourceForm, parse_message
from agentstate.memory.facts.texts import check_label, check_text
from agentstate.providers.summaries.summarizer import SourceTurn
from agentstate.providers.tokens import estimate_tokens
from agentstate.store.store import Transaction
from agentstate.store.tables import conversations, summaries, summary_calls, turns
from agentstate.store.tables.base import db_time

FRAME_TOKENS = 9
"""Cost of the frame of one message and the blank lines between turns."""
ROLES = ("user", "assistant", "system", "tool")
MAX_MESSAGE_BYTES = 16_777_216
"""Largest message with its pictures and documents, as JSON text in UTF-8, where no setting says otherwise."""


@dataclass(frozen=True, kw_only=True)
class NewTurn:
    """A turn to add."""

    role: str
    text: str
    at: datetime
    speaker: str | None = None
    content: list[dict[str, Any]] | None = None
    """Content blocks, when the turn is more than its text."""
    source_id: str | None = None
    form: SourceForm = "anthropic"
    """The API whose shape `message` has."""
    message: dict[str, Any] | None = None
    """The message as it came; None for one of `role` and `content`."""

    @property
    def tokens(self) -> int:
        """Estimated tokens of the turn in a prompt, its frame included."""
        speaker = 0 if self.speaker is None else estimate_tokens(f"{self.speaker}: ")
        said = self.text if self.content is None else self.message or self.content
        return FRAME_TOKENS + speaker + count_tokens(said)

    def to_stored(self) -> dict[str, str] | None:
        """Return the message as it is stored: its form and its JSON text; None for plain text."""
        if self.content is None:
            return None
        side = "assistant" if self.role == "assistant" else "user"
        return {"form": self.form, "message": encode_message(self.message or {"role": side, "content": self.content})}


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A stored turn."""

    number: int
    """1 is the conversation's first."""
    role: str
    speaker: str | None
    text: str
    content: list[dict[str, Any]] | None
    """Content blocks, in one vocabulary for all APIs; None for plain text."""
    tokens: int
    at: datetime
    source_id: str | None
    form: SourceForm = "anthropic"
    """The API whose shape `message` has."""
    message: dict[str, Any] | None = None
    """The message as it came; None for plain text."""

    def as_source(self) -> SourceTurn:
        """Return the turn for summarizers, with its tool calls and results as text."""
        words = blocks_as_text(self.content)
        text = self.text if not words or words == self.text else f"{self.text}\n{words}"
        return SourceTurn(self.number, self.role, self.speaker or "", text, self.at)


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """State of a conversation."""

    id: UUID
    agent_id: str
    session: str
    turns: int
    summarized_to: int
    """The newest turn that a summary covers, 0 when none."""
    open_tokens: int
    """Tokens of the turns after it."""
    summary_number: int


@dataclass(frozen=True, kw_only=True)
class StoredSummary:
    """A summary of the turns 1 to `covers_to`."""

    number: int
    covers_from: int
    covers_to: int
    text: str
    facts: list[dict[str, Any]]
    tokens: int
    method: str
    model: str | None
    note: str | None
    prompt_version: int | None
    """Wording of the prompt, None when no model made it."""
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Appended:
    """Result of appending one turn."""

    number: int
    created: bool
    same_text: bool = True
    """False when another text was stored before under the same id; that one stays."""


_CONVERSATION = tuple(conversations.c[name] for name in Conversation.__dataclass_fields__)
_TURN = (turns.c.number, turns.c.role, turns.c.speaker, turns.c.text, turns.c.content, turns.c.tokens,
         turns.c.said_at.label("at"), turns.c.source_id)  # fmt: skip
_SUMMARY = tuple(summaries.c[name] for name in StoredSummary.__dataclass_fields__)


def conversation_id(agent_id: str, session: str) -> UUID:
    """Return the id of an agent's conversation, the same in every process."""
    return derive_id("conversation", agent_id, session)


def validate_turn(turn: NewTurn, *, max_text_bytes: int, max_message_bytes: int = MAX_MESSAGE_BYTES) -> NewTurn:
    """Return `turn` when it may be stored; raise InvalidInput or TooLarge else."""
    if turn.role not in ROLES:
        raise InvalidInput(f"the role {str(turn.role)[:40]!r} is unknown; use {', '.join(ROLES)}. Nothing was stored.")
    check_text(turn.text, limit=max_text_bytes, what="text")
    if turn.content is not None:
        stored = turn.to_stored() or {}
        parse_message(decode_message(stored["message"]))  # what is stored can be read again
        if (size := len(stored["message"].encode())) > max_message_bytes:
            raise TooLarge(
                f"the message has {size:,} bytes, over the limit of {max_message_bytes:,} "
                "(AGENTSTATE_MAX_MESSAGE_BYTES). Nothing was stored; send a smaller file or its address."
            )
    check_label(turn.speaker, "speaker")
    check_label(turn.source_id, "turn's id")
    if turn.at.tzinfo is None:
        raise InvalidInput(f"the time {turn.at.isoformat()} has no time zone; give UTC. Nothing was stored.")
    return turn


def lock_conversation(tx: Transaction, agent_id: str, session: str) -> Conversation:
    """Return the conversation, created if new and locked until `tx` ends."""
    validate_name(session, "session")
    conversation = conversation_id(validate_name(agent_id), session)
    statement = tx.database.insert_into(conversations).values(id=conversation, agent_id=agent_id, session=session)
    tx.connection.execute(statement.on_conflict_do_nothing())
    query = sa.select(*_CONVERSATION).where(conversations.c.id == conversation).with_for_update()
    return Conversation(**tx.connection.execute(query).mappings().one())


def append_turns(
    tx: Transaction, conversation: Conversation, new: Sequence[NewTurn]
) -> tuple[list[Appended], Conversation]:
    """Append new turns to a locked conversation; return the result for each turn and the new state."""
    known: dict[str, tuple[int, str]] = {}
    source_ids = [turn.source_id for turn in new if turn.source_id is not None]
    if source_ids and conversation.turns:
        query = sa.select(turns.c.source_id, turns.c.number, turns.c.text).where(
            turns.c.conversation_id == conversation.id, turns.c.source_id.in_(source_ids)
        )
        known = {source: (number, text) for source, number, text in tx.connection.execute(query)}
    fates: list[Appended] = []
    rows: list[dict[str, Any]] = []
    for turn in new:
        before = known.get(turn.source_id) if turn.source_id is not None else None
        if before is not None:
            fates.append(Appended(number=before[0], created=False, same_text=before[1] == turn.text))
            continue
        number = conversation.turns + len(rows) + 1
        rows.append(
            {
                "conversation_id": conversation.id,
                "number": number,
                "agent_id": conversation.agent_id,
                "role": turn.role,
                "speaker": turn.speaker,
                "text": turn.text,
                "content": turn.to_stored(),
                "tokens": turn.tokens,
                "said_at": turn.at,
                "source_id": turn.source_id,
            }
        )
        fates.append(Appended(number=number, created=True))
        if turn.source_id is not None:
            known[turn.source_id] = (number, turn.text)
    if not rows:
        return fates, conversation
    tx.connection.execute(turns.insert(), rows)
    counted = {
        "turns": conversations.c.turns + len(rows),
        "open_tokens": conversations.c.open_tokens + sum(row["tokens"] for row in rows),
        "updated_at": db_time(),
    }
    statement = conversations.update().where(conversations.c.id == conversation.id).values(counted)
    return fates, Conversation(**tx.connection.execute(statement.returning(*_CONVERSATION)).mappings().one())


def find_conversation(connection: Connection, conversation: UUID) -> Conversation | None:
    """Return the conversation with this id, None when there is none."""
    row = connection.execute(sa.select(*_CONVERSATION).where(conversations.c.id == conversation)).mappings().first()
    return None if row is None else Conversation(**row)


def read_turns(connection: Connection, conversation: UUID, first: int, last: int) -> list[Turn]:
    """Return the turns numbered `first` to `last`, in order."""
    within = (turns.c.conversation_id == conversation, turns.c.number.between(first, last))
    found = connection.execute(sa.select(*_TURN).where(*within).order_by(turns.c.number)).mappings()
    return [_parse_row(row) for row in found]


def read_newest(connection: Connection, conversation: UUID, *, after: int, before: int, limit: int) -> list[Turn]:
    """Return the newest turns numbered above `after` and below `before`, newest first, `limit` at most."""
    within = (turns.c.conversation_id == conversation, turns.c.number > after, turns.c.number < before)
    query = sa.select(*_TURN).where(*within).order_by(turns.c.number.desc()).limit(limit)
    return [_parse_row(row) for row in connection.execute(query).mappings()]


def _parse_row(row: sa.RowMapping) -> Turn:
    stored = row["content"]
    if stored is None:
        return Turn(**row)
    message = decode_message(stored["message"])
    parsed = parse_message(message)
    return Turn(**{**row, "content": parsed.blocks}, form=parsed.form, message=message)


def read_token_counts(connection: Connection, conversation: UUID, after: int) -> list[tuple[int, int]]:
    """Return (number, tokens) of the turns after `after`, in order."""
    query = sa.select(turns.c.number, turns.c.tokens).order_by(turns.c.number)
    found = connection.execute(query.where(turns.c.conversation_id == conversation, turns.c.number > after))
    return [(number, tokens) for number, tokens in found]


def find_summary(connection: Connection, conversation: UUID, number: int) -> StoredSummary | None:
    """Return a summary by its number, None for 0."""
    which = (summaries.c.conversation_id == conversation, summaries.c.number == number)
    row = connection.execute(sa.select(*_SUMMARY).where(*which)).mappings().first()
    return None if row is None else StoredSummary(**row)


def remove_conversations(tx: Transaction, agent_id: str) -> int:
    """Remove all conversations of `agent_id`; return the number of removed turns.

    A worker that is summarizing one of them finds no conversation when it comes to write, and its job ends.
    """
    for table in (summary_calls, summaries):
        tx.connection.execute(table.delete().where(table.c.agent_id == agent_id))
    removed = tx.connection.execute(turns.delete().where(turns.c.agent_id == agent_id)).rowcount
    tx.connection.execute(conversations.delete().where(conversations.c.agent_id == agent_id))
    return removed


def count_turns(connection: Connection, agent_id: str) -> int:
    """Return the number of turns of `agent_id` in all conversations."""
    query = sa.select(sa.func.count()).select_from(turns).where(turns.c.agent_id == agent_id)
    return connection.execute(query).scalar_one()
