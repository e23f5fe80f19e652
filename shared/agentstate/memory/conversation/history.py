"""A conversation's history: every turn durable, the newest verbatim in the prompt, the older ones as a summary.

Adding a turn never calls a model. When the turns that no summary covers pass a size, a job is written in the very
transaction of the turn, and a worker makes the summary.

The window of newest turns is chosen by the tokens stored with them, read page by page. The rendered text has marks,
fillers and names beside; it is counted once, and gives up its oldest turns if need be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, TypeVar, overload
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.clock import Clock, utc_now
from agentstate.errors import InvalidInput, KeyReused, TooLarge
from agentstate.ids import validate_name
from agentstate.jobs import Jobs
from agentstate.memory.conversation import turns as rows
from agentstate.memory.conversation.message_forms import MessageObject, parse_message, validate_blocks
from agentstate.memory.conversation.message_output import Dropped, Form
from agentstate.memory.conversation.messages import (
    FACTS,
    PREFACE_TOKENS,
    Messages,
    escape_markers,
    format_facts,
    render_messages,
    shrink_turn,
)
from agentstate.memory.conversation.tool_exchanges import LONGEST_EXCHANGE, drop_orphan_results, has_orphan_results
from agentstate.memory.conversation.turns import Conversation, NewTurn, StoredSummary, Turn
from agentstate.providers.summaries.summarizer import format_turn
from agentstate.providers.tokens import estimate_tokens
from agentstate.settings import Settings
from agentstate.store.store import Store, Transaction
from agentstate.store.tables import jobs as job_rows
from agentstate.store.tables import summaries

DEFAULT_MAX_TOKENS = 8_000
SUMMARIZE = "summarization.summarize_conversation"

_FIRST_PAGE: Final = 64
_LARGEST_PAGE: Final = 2_048
_FACTS_SHARE: Final = 5
"""One in so many tokens may hold facts of the summarized turns, if there are ..."""
_FACTS_FROM_TOKENS: Final = 2_000
"""... so many at all: in less room the newest turns come first."""
_TURN_SHARES: Final = (1, 2, 4, 8)
"""A turn over this part of the room is cut: first only one that is larger than all of it."""

MadeT = TypeVar("MadeT")


class Transcript(list[str]):
    """Entries: the summary, if there is one, and the newest turns; `summary` and `turns` have the two apart."""

    def __init__(self, summary: Sequence[str], turns: Sequence[str]) -> None:
        super().__init__([*summary, *turns])
        self.summary, self.turns = list(summary), list(turns)

    @property
    def tokens(self) -> int:
        """Estimated tokens of both, for the model family that has the most."""
        return sum(estimate_tokens("\n".join(entries)) for entries in (self.summary, self.turns))


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """Numbers of the turns by place: each is in at least one, or it would be lost."""

    turns: int
    covered: frozenset[int]
    """In the chain of summaries that ends with the one in force, each of which lists what it read."""
    verbatim: frozenset[int]
    queued: frozenset[int]

    @property
    def turns_lost(self) -> list[int]:
        """Turns that are nowhere; a healthy conversation has none."""
        return sorted(set(range(1, self.turns + 1)) - self.covered - self.verbatim - self.queued)


@dataclass(frozen=True, slots=True)
class _Window:
    """The summary, the newest turns that fit, the number of turns omitted between them, and parts that were cut."""

    summary: StoredSummary | None
    turns: list[Turn]
    omitted: int
    dropped: list[Dropped]
    facts: str
    """Facts of the summarized turns that the summary's text lacks."""


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

    @overload
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
    ) -> int: ...

    @overload
    def add(
        self,
        message: Mapping[str, Any] | MessageObject,
        /,
        *,
        speaker: str | None = None,
        at: datetime | None = None,
        source_id: str | None = None,
        tx: Transaction | None = None,
    ) -> int: ...

    def add(
        self,
        role: str | Mapping[str, Any] | MessageObject,
        text: str | None = None,
        speaker: str | None = None,
        at: datetime | None = None,
        source_id: str | None = None,
        *,
        content: list[dict[str, Any]] | None = None,
        tx: Transaction | None = None,
    ) -> int:
        """Add a turn and return its number.

        Give a role and its text, or a whole message or item of another API, as a dict or as its SDK's object: OpenAI's
        Chat Completions and Responses, Anthropic's Messages, LangChain (messages and dumps) and Ollama. Text and
        numbers of calls' arguments, pictures, documents and parts that are not known here stay exactly as they came;
        `messages` gives them back to the same API, and converts them for another.

        Example:
            chat.add("user", "How much is left?", speaker="Ada")
            chat.add({"role": "tool", "tool_call_id": "c1", "content": "97.50 USDC"})

        Args:
            role: `user`, `assistant`, `system` or `tool`; or a whole message.
            text: what was said; left out for a message.
            speaker: who said it, where several share a role.
            at: when, aware; now when left out.
            source_id: your own id of the turn: adding it again adds nothing and returns the same number.
            content: content blocks as the provider speaks them, when the turn is more than its text.
            tx: the caller's transaction; the turn exists exactly if that commits.

        Raises:
            InvalidInput: the turn is refused, or the message is none of any API; TooLarge: its text is over
                `max_text_bytes`.
            KeyReused: `source_id` was used before for another text.
        """
        if isinstance(role, str):
            if content is not None and not validate_blocks(content):
                raise InvalidInput("the content has no block. Nothing was stored.")
            turn = NewTurn(
                role=role,
                text=text or "",
                speaker=speaker,
                at=at or self._clock(),
                source_id=source_id,
                content=content,
            )
        else:
            if text is not None or content is not None:
                raise InvalidInput("give a message alone, or a role with its text. Nothing was stored.")
            parsed = parse_message(role)
            turn = NewTurn(
                role=parsed.role,
                text=parsed.text,
                speaker=speaker,
                at=at or self._clock(),
                source_id=source_id,
                content=parsed.blocks,
                form=parsed.form,
                message=None if parsed.blocks is None else parsed.message,
            )
        return self.add_many([turn], tx=tx)[0]

    def add_many(self, turns: Iterable[NewTurn], *, tx: Transaction | None = None) -> list[int]:
        """Add all of `turns` or none, in order; return their numbers. Raises as `add`."""
        limits = self._settings.max_text_bytes, self._settings.max_message_bytes
        checked = [rows.validate_turn(turn, max_text_bytes=limits[0], max_message_bytes=limits[1]) for turn in turns]
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

    def messages(
        self, max_tokens: int = DEFAULT_MAX_TOKENS, *, for_reply: bool = True, form: Form = "anthropic"
    ) -> Messages:
        """Return the conversation for a language model: the summary, then as many of the newest turns as fit.

        A call of tools is never there without its results, nor they without it. A part that is too large for the
        budget is cut or stands as a mark, and `report.dropped` names it, as it names the parts that the API does not
        take.

        Args:
            max_tokens: tokens of all messages at most, with names, marks and what stands for a missing result;
                estimated for the model family that has the most.
            for_reply: whether the model is to answer; then the last message is never its own.
            form: `anthropic`, `openai` for Chat Completions and its imitators, or `responses`.

        Raises:
            InvalidInput: `max_tokens` is no budget; TooLarge: not even the newest turn fits into it.
        """

        def fit(window: _Window) -> Messages:
            def render_kept(kept: Sequence[Turn]) -> Messages:
                numbers = {turn.number for turn in kept}
                return render_messages(
                    window.summary,
                    kept,
                    omitted=window.omitted + len(window.turns) - len(kept),
                    for_reply=for_reply,
                    form=form,
                    dropped=[part for part in window.dropped if part.turn in numbers],
                    facts=window.facts,
                )

            return _fit_turns(window.turns, render_kept, lambda messages: messages.tokens, max_tokens)

        return self._fit_window(max_tokens, fit)

    def to_messages(self) -> Messages:
        """Return `messages()` with the default budget."""
        return self.messages()

    def transcript(self, max_tokens: int = DEFAULT_MAX_TOKENS) -> Transcript:
        """Return the same as text: the summary, then the newest turns, one entry each."""

        def fit(window: _Window) -> Transcript:
            summary = window.summary
            head = [f"[summary of turns 1 to {summary.covers_to}] {escape_markers(summary.text)}"] if summary else []
            head += [f"{FACTS}\n{window.facts}"] if window.facts else []

            def list_entries(kept: Sequence[Turn]) -> Transcript:
                return Transcript(head, [format_turn(turn.as_source()) for turn in kept])

            return _fit_turns(window.turns, list_entries, lambda transcript: transcript.tokens, max_tokens)

        return self._fit_window(max_tokens, fit)

    def account_turns(self, max_tokens: int = DEFAULT_MAX_TOKENS) -> Accounting:
        """Account for every turn: verbatim in the messages, covered by a summary, or queued for one."""
        first = self.messages(max_tokens).verbatim_from
        with self._store.read_connection() as connection:
            conversation = rows.find_conversation(connection, self.id)
            if conversation is None:
                return Accounting(turns=0, covered=frozenset(), verbatim=frozenset(), queued=frozenset())
            chain = sa.select(summaries.c.covers_from, summaries.c.covers_to).where(
                summaries.c.conversation_id == self.id, summaries.c.number <= conversation.summary_number
            )
            spans = connection.execute(chain).all()
            waiting = (
                sa.select(sa.func.count())
                .select_from(job_rows)
                .where(
                    job_rows.c.payload["conversation_id"].as_string() == str(self.id),
                    job_rows.c.kind == SUMMARIZE,
                    job_rows.c.status.in_(("ready", "running")),
                )
            )
            is_queued = connection.execute(waiting).scalar_one() > 0
        end = conversation.turns + 1
        return Accounting(
            turns=conversation.turns,
            covered=frozenset(number for start, last in spans for number in range(start, last + 1)),
            verbatim=frozenset(range(first or end, end)),
            queued=frozenset(range(conversation.summarized_to + 1, end) if is_queued else ()),
        )

    def _fit_window(self, max_tokens: int, fit: Callable[[_Window], MadeT]) -> MadeT:
        """Return `fit` of the window; where it does not fit, of one whose large turns are cut to smaller sizes."""
        if max_tokens < 1:
            raise InvalidInput(f"max_tokens is {max_tokens}; it must be 1 or more.")
        for share in _TURN_SHARES:
            try:
                return fit(self._read_window(max_tokens, share))
            except TooLarge as error:
                reason = error
        raise reason

    def _read_window(self, max_tokens: int, share: int) -> _Window:
        with self._store.read_connection() as connection:
            conversation = rows.find_conversation(connection, self.id)
            if conversation is None:
                return _Window(None, [], 0, [], "")
            summary = rows.find_summary(connection, self.id, conversation.summary_number)
            room = max_tokens - PREFACE_TOKENS - (summary.tokens if summary else 0)
            facts = ""
            if summary is not None and max_tokens >= _FACTS_FROM_TOKENS:
                facts = format_facts(summary, min(room // 2, max_tokens // _FACTS_SHARE))
                room -= estimate_tokens(facts)
            turns, dropped = _read_newest_within(connection, conversation, room, max_tokens, room // share)
        return _Window(summary, turns, conversation.turns - conversation.summarized_to - len(turns), dropped, facts)

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


def _read_newest_within(
    connection: Connection, conversation: Conversation, room: int, max_tokens: int, turn_limit: int
) -> tuple[list[Turn], list[Dropped]]:
    """Return the newest unsummarized turns that fit into `room` tokens, in order, and the parts that were cut.

    A turn over `turn_limit` tokens is cut to half of it, so that it does not make the others unreadable.

    Raises:
        TooLarge: not even the newest does, with the call that it answers when it is a result.
    """
    kept: list[Turn] = []
    dropped: list[Dropped] = []
    used, backwards = 0, _iterate_backwards(connection, conversation)
    for turn in backwards:
        shown, cut = shrink_turn(turn, turn_limit // 2) if turn.tokens > turn_limit > 0 else (turn, [])
        used += shown.tokens
        if used > room:
            break
        kept.append(shown)
        dropped += cut
    whole = kept[::-1]
    if used > room and has_orphan_results(whole):
        whole = drop_orphan_results(whole, [turn, *islice(backwards, LONGEST_EXCHANGE - 1)])
    if conversation.turns > conversation.summarized_to and not whole:
        raise _too_large(max_tokens - room + used, max_tokens)
    return whole, dropped


def _fit_turns(
    turns: Sequence[Turn], make: Callable[[Sequence[Turn]], MadeT], count: Callable[[MadeT], int], max_tokens: int
) -> MadeT:
    """Return `make` of as many of the newest `turns` as fit into `max_tokens` by `count`.

    Raises:
        TooLarge: not even the newest does.
    """
    kept = turns
    while (tokens := count(made := make(kept))) > max_tokens:
        # Drop the oldest, at least one and the share that is over by their tokens, and the results of their calls.
        begin, excess = 0, (1 - max_tokens / tokens) * sum(turn.tokens for turn in kept)
        while begin < len(kept) and excess > 0:
            excess -= kept[begin].tokens
            begin += 1
        kept = drop_orphan_results(kept[begin:], kept[:begin])
        if not kept:
            raise _too_large(tokens, max_tokens)
    return made


def _too_large(tokens: int, max_tokens: int) -> TooLarge:
    return TooLarge(
        f"the newest turn and the summary need more than the {max_tokens} tokens allowed; they have {tokens}, with "
        "the call that the turn answers, if any. Nothing was changed; raise max_tokens."
    )


def _iterate_backwards(connection: Connection, conversation: Conversation) -> Iterator[Turn]:
    before, limit = conversation.turns + 1, _FIRST_PAGE
    while page := rows.read_newest(
        connection, conversation.id, after=conversation.summarized_to, before=before, limit=limit
    ):
        yield from page
        before, limit = page[-1].number, min(2 * limit, _LARGEST_PAGE)
