"""A conversation's history: every turn durable, the newest verbatim in the prompt, the older ones as a summary.

Adding a turn never calls a model. When the turns that no summary covers pass a size, a job is written in the very
transaction of the turn, and a worker makes the summary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from agentstate.clock import Clock, utc_now
from agentstate.errors import InvalidInput, KeyReused
from agentstate.ids import validate_name
from agentstate.jobs import Jobs
from agentstate.memory.conversation import turns as rows
from agentstate.memory.conversation.accounting import SUMMARIZE, Accounting, account_turns
from agentstate.memory.conversation.blocks import parse_message
from agentstate.memory.conversation.messages import PREFACE_TOKENS, Form, Messages, render_messages
from agentstate.memory.conversation.role_markers import escape_markers
from agentstate.memory.conversation.turns import Conversation, NewTurn, StoredSummary, Turn
from agentstate.memory.conversation.window import fit_turns, newest_within
from agentstate.providers.summaries.summarizer import format_turn
from agentstate.providers.tokens import estimate_tokens
from agentstate.settings import Settings
from agentstate.store.store import Store, Transaction

DEFAULT_MAX_TOKENS = 8_000


class Transcript(list[str]):
    """Entries: the summary, if there is one, and the newest turns; `summary` and `turns` have the two apart."""

    def __init__(self, summary: Sequence[str], turns: Sequence[str]) -> None:
        super().__init__([*summary, *turns])
        self.summary, self.turns = list(summary), list(turns)

    @property
    def tokens(self) -> int:
        """Estimated tokens of both, for the model family that has the most."""
        return sum(estimate_tokens("\n".join(entries)) for entries in (self.summary, self.turns))


class ConversationHistory:
    """One conversation of one agent."""

    def __init__(
        self, store: Store, jobs: Jobs, settings: Settings, agent_id: str, session: str, *, clock: Clock = utc_now
    ) -> None:
        self.agent_id = validate_name(agent_id)
        self.session = validate_name(session, "session")
        self._store = store
        self._jobs = jobs
        self._settings = settings
        self._clock = clock

    @property
    def id(self) -> UUID:
        """The conversation's id, by which jobs name it."""
        return rows.conversation_id(self.agent_id, self.session)

    def add(
        self,
        role: str,
        text: str,
        speaker: str | None = None,
        at: datetime | None = None,
        source_id: str | None = None,
        *,
        content: list[dict[str, Any]] | None = None,
        tx: Transaction | None = None,
    ) -> int:
        """Add a turn and return its number.

        Args:
            role: `user`, `assistant`, `system` or `tool`.
            text: what was said.
            speaker: who said it, where several share a role.
            at: when, aware; now when left out.
            source_id: your own id of the turn: adding it again adds nothing and returns the same number.
            content: content blocks as the provider speaks them, when the turn is more than its text.
            tx: the caller's transaction; the turn exists exactly if that commits.

        Raises:
            InvalidInput: the turn is refused; TooLarge: its text is over `max_text_bytes`.
            KeyReused: `source_id` was used before for another text.
        """
        turn = NewTurn(
            role=role, text=text, speaker=speaker, at=at or self._clock(), source_id=source_id, content=content
        )
        return self.add_many([turn], tx=tx)[0]

    def add_many(self, turns: Iterable[NewTurn], *, tx: Transaction | None = None) -> list[int]:
        """Add all of `turns` or none, in order; return their numbers. Raises as `add`."""
        checked = [rows.validate_turn(turn, max_text_bytes=self._settings.max_text_bytes) for turn in turns]
        with self._store.transaction(tx) as open_tx:
            fates, now = rows.append_turns(
                open_tx, rows.lock_conversation(open_tx, self.agent_id, self.session), checked
            )
            for turn, fate in zip(checked, fates, strict=True):
                if not fate.same_text:
                    raise KeyReused(
                        f"turn {turn.source_id!r} of {self.session} was stored before with another text; "
                        "use a new id for a new turn. Nothing was stored."
                    )
            summarize_when_long(open_tx, self._jobs, self._settings, now)
        return [fate.number for fate in fates]

    def add_message(
        self,
        message: Mapping[str, Any],
        *,
        speaker: str | None = None,
        at: datetime | None = None,
        source_id: str | None = None,
        tx: Transaction | None = None,
    ) -> int:
        """Add a message as Anthropic's or OpenAI's API gives or takes it, calls of tools and results included.

        Raises as `add`; InvalidInput also when it is no message of either.
        """
        role, text, content = parse_message(message)
        return self.add(role, text, speaker, at, source_id, content=content, tx=tx)

    def messages(
        self, max_tokens: int = DEFAULT_MAX_TOKENS, *, for_reply: bool = True, form: Form = "anthropic"
    ) -> Messages:
        """Return the conversation for a language model: the summary, then as many of the newest turns as fit.

        A call of tools is never there without its results, nor they without it.

        Args:
            max_tokens: tokens of all messages at most, with names, marks and what stands for a missing result;
                estimated for the model family that has the most.
            for_reply: whether the model is to answer; then the last message is never its own.
            form: `anthropic`, or `openai` for Chat Completions and what imitates it.

        Raises:
            InvalidInput: `max_tokens` is no budget; TooLarge: not even the newest turn fits into it.
        """
        summary, turns, omitted = self._read_window(max_tokens)

        def made(kept: Sequence[Turn]) -> Messages:
            left_out = omitted + len(turns) - len(kept)
            return render_messages(summary, kept, omitted=left_out, for_reply=for_reply, form=form)

        return fit_turns(turns, made, lambda messages: messages.tokens, max_tokens)

    def to_messages(self) -> Messages:
        """Return `messages()` with the default budget."""
        return self.messages()

    def transcript(self, max_tokens: int = DEFAULT_MAX_TOKENS) -> Transcript:
        """Return the same as text: the summary, then the newest turns, one entry each."""
        summary, turns, _ = self._read_window(max_tokens)
        head = [f"[summary of turns 1 to {summary.covers_to}] {escape_markers(summary.text)}"] if summary else []

        def made(kept: Sequence[Turn]) -> Transcript:
            return Transcript(head, [format_turn(turn.as_source()) for turn in kept])

        return fit_turns(turns, made, lambda transcript: transcript.tokens, max_tokens)

    def account_turns(self, max_tokens: int = DEFAULT_MAX_TOKENS) -> Accounting:
        """Account for every turn: verbatim in the messages, covered by a summary, or queued for one."""
        return account_turns(self._store, self.id, self.messages(max_tokens))

    def _read_window(self, max_tokens: int) -> tuple[StoredSummary | None, list[Turn], int]:
        """Return the summary, the newest turns that fit, and the number of turns omitted between them."""
        if max_tokens < 1:
            raise InvalidInput(f"max_tokens is {max_tokens}; it must be 1 or more.")
        with self._store.read_connection() as connection:
            conversation = rows.find_conversation(connection, self.id)
            if conversation is None:
                return None, [], 0
            summary = rows.find_summary(connection, self.id, conversation.summary_number)
            room = max_tokens - PREFACE_TOKENS - (summary.tokens if summary else 0)
            turns = newest_within(connection, conversation, room, max_tokens)
        return summary, turns, conversation.turns - conversation.summarized_to - len(turns)

    def turns(self, first: int = 1, last: int | None = None) -> list[Turn]:
        """Return the turns numbered `first` to `last` verbatim, summarized or not."""
        with self._store.read_connection() as connection:
            return rows.read_turns(connection, self.id, first, 2**31 - 1 if last is None else last)

    def summary(self) -> StoredSummary | None:
        """Return the newest summary, None while there is none."""
        with self._store.read_connection() as connection:
            conversation = rows.find_conversation(connection, self.id)
            return None if conversation is None else rows.find_summary(connection, self.id, conversation.summary_number)

    def status(self) -> Conversation | None:
        """Return the state of the conversation, None when it has no turn."""
        with self._store.read_connection() as connection:
            return rows.find_conversation(connection, self.id)


def summarize_when_long(tx: Transaction, jobs: Jobs, settings: Settings, conversation: Conversation) -> None:
    """Submit a coalesced summary job when the open turns exceed `summary_after_tokens`."""
    if conversation.open_tokens > settings.summary_after_tokens:
        name = str(conversation.id)
        jobs.submit(
            SUMMARIZE,
            {"conversation_id": name},
            agent_id=conversation.agent_id,
            coalesce_key=name,
            due_in=settings.summary_debounce_s,
            tx=tx,
        )
