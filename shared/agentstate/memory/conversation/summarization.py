"""Rolling summaries: the older turns of a conversation read by a summarizer, and a watermark moved past them.

The model is called outside of any transaction. What it made counts only if the watermark still stands where it was
read: of two workers one wins, and whatever fails, the turns stay as they are and open.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

import sqlalchemy as sa

from agentstate.errors import InvalidInput, NotFound
from agentstate.ids import new_id
from agentstate.jobs.runner import Postpone
from agentstate.memory.conversation import turns as rows
from agentstate.memory.conversation.summary_calls import SummaryCalls
from agentstate.memory.conversation.tool_exchanges import LONGEST_EXCHANGE, unsplittable_turns
from agentstate.memory.conversation.turns import Conversation, StoredSummary, Turn
from agentstate.providers.summaries.prompt import PROMPT_VERSION
from agentstate.providers.summaries.summarizer import Fact, Summarizer, Summary, SummaryRequest
from agentstate.providers.tokens import estimate_tokens
from agentstate.settings import Settings
from agentstate.store.store import Store
from agentstate.store.tables import conversations, summaries
from agentstate.store.tables.base import db_time, statement_time

VERBATIM_SHARE = 2
"""One in so many of the tokens that set off a summary stays verbatim."""
LONGEST_RUN_S = 60.0
"""No further summary is begun after so many seconds; the job has twice as long."""
HELD_S = 135.0
"""How long a conversation is kept for one job: as long as the job itself is."""
BUSY_S = 5.0


@dataclass(frozen=True, kw_only=True)
class SummaryRun:
    """Counts of one run."""

    summaries: int
    covered: int
    """Turns that a summary covers now and did not before."""
    raced: bool
    """Whether another worker was faster; its summary counts, and the turns are all accounted for."""


@dataclass(frozen=True)
class _Plan:
    conversation: Conversation
    before: StoredSummary | None
    turns: list[Turn]


class ConversationSummarizer:
    """Summarizes conversations that have become long. Any number of workers may run it; one at a time has a turn."""

    def __init__(
        self,
        store: Store,
        summarizer: Summarizer,
        settings: Settings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._summarizer = summarizer
        self._calls = SummaryCalls(store, summarizer)
        self._after = settings.summary_after_tokens
        self._monotonic = monotonic

    def run(self, conversation_id: UUID | str, *, job_id: UUID | None = None, last_try: bool = False) -> SummaryRun:
        """Summarize until the open turns are few again; turns that arrive meanwhile stay open.

        Args:
            conversation_id: which one.
            job_id: on whose behalf; the same job may take up again what a worker of it left behind when it was killed.
            last_try: make do with the digest where the provider fails, as nobody will ask it again.

        Raises:
            NotFound: there is no such conversation.
            Postpone: another job is at it, or there is more to do than one run should.
            ProviderError: the summarizer failed; the turns stay open, and nothing is lost.
        """
        try:
            conversation = conversation_id if isinstance(conversation_id, UUID) else UUID(conversation_id)
        except ValueError:
            raise InvalidInput(f"{str(conversation_id)[:60]!r} is not a conversation's id.") from None
        job = job_id or new_id()
        self._lease_conversation(conversation, job)
        try:
            return self._summarize_open_turns(conversation, last_try=last_try)
        finally:
            leased = (conversations.c.id == conversation, conversations.c.summarizing_job == job)
            with self._store.transaction() as tx:
                tx.connection.execute(conversations.update().where(*leased).values(summarizing_until=None))

    def _summarize_open_turns(self, conversation: UUID, *, last_try: bool) -> SummaryRun:
        done = covered = 0
        until = self._monotonic() + LONGEST_RUN_S
        while plan := self._plan_summary(conversation):
            if self._monotonic() > until:
                raise Postpone(0.0, f"{done} summaries were made; the next run goes on.")
            facts = plan.before.facts if plan.before else []
            request = SummaryRequest(
                turns=tuple(turn.as_source() for turn in plan.turns),
                previous=plan.before.text if plan.before else None,
                previous_facts=tuple(Fact(**{**fact, "turns": tuple(fact["turns"])}) for fact in facts),
            )
            summary = self._calls.summarize_once(plan.conversation, request, _source_sha(plan), last_try=last_try)
            if not self._commit_summary(plan, summary):
                return SummaryRun(summaries=done, covered=covered, raced=True)
            done += 1
            covered += len(plan.turns)
        return SummaryRun(summaries=done, covered=covered, raced=False)

    def _lease_conversation(self, conversation: UUID, job: UUID) -> None:
        free = sa.or_(
            conversations.c.summarizing_until.is_(None),
            conversations.c.summarizing_until < statement_time(),
            conversations.c.summarizing_job == job,
        )
        with self._store.transaction() as tx:
            if rows.find_conversation(tx.connection, conversation) is None:
                raise NotFound(f"there is no conversation {conversation}.")
            statement = conversations.update().where(conversations.c.id == conversation, free)
            taken = tx.connection.execute(statement.values(summarizing_job=job, summarizing_until=db_time(HELD_S)))
            if taken.rowcount == 0:
                raise Postpone(BUSY_S, "another job is summarizing this conversation.")

    def _plan_summary(self, conversation_id: UUID) -> _Plan | None:
        with self._store.read_connection() as connection:
            conversation = rows.find_conversation(connection, conversation_id)
            if conversation is None or conversation.open_tokens <= self._after:
                return None
            counts = rows.read_token_counts(connection, conversation_id, conversation.summarized_to)
            last = _last_covered(counts, self._after // VERBATIM_SHARE, self._summarizer.max_source_tokens)
            if last is None:
                return None
            before = rows.find_summary(connection, conversation_id, conversation.summary_number)
            turns = rows.read_turns(
                connection, conversation_id, conversation.summarized_to + 1, last + LONGEST_EXCHANGE
            )
        whole = _whole_exchanges(turns, last, newest=conversation.turns)
        return _Plan(conversation, before, whole) if whole else None

    def _commit_summary(self, plan: _Plan, summary: Summary) -> bool:
        was = plan.conversation
        moved = conversations.update().where(
            conversations.c.id == was.id,
            conversations.c.summarized_to == was.summarized_to,
            conversations.c.summary_number == was.summary_number,
        )
        with self._store.transaction() as tx:
            done = tx.connection.execute(
                moved.values(
                    summarized_to=plan.turns[-1].number,
                    summary_number=was.summary_number + 1,
                    open_tokens=conversations.c.open_tokens - sum(turn.tokens for turn in plan.turns),
                    updated_at=db_time(),
                )
            )
            if done.rowcount == 0:
                return False
            row = {
                "conversation_id": was.id,
                "number": was.summary_number + 1,
                "agent_id": was.agent_id,
                "covers_from": plan.turns[0].number,
                "covers_to": plan.turns[-1].number,
                "text": summary.text,
                "facts": [asdict(fact) for fact in summary.facts],
                "tokens": estimate_tokens(summary.text),
                "method": summary.method,
                "model": summary.model,
                "note": summary.note or None,
                "input_tokens": summary.input_tokens,
                "output_tokens": summary.output_tokens,
                "source_sha": _source_sha(plan),
                "prompt_version": PROMPT_VERSION if summary.method == "model" else None,
            }
            tx.connection.execute(summaries.insert().values(row))
        return True


def _whole_exchanges(turns: Sequence[Turn], last: int, *, newest: int) -> list[Turn]:
    """Return the turns up to `last`, or to the nearest border of a tool exchange before or else after it."""
    uncut = unsplittable_turns(turns)
    numbers = [turn.number for turn in turns if turn.number not in uncut and turn.number < newest]
    before = [number for number in numbers if number <= last]
    end = before[-1] if before else (numbers[0] if numbers else 0)
    return [turn for turn in turns if turn.number <= end]


def _last_covered(counts: Sequence[tuple[int, int]], verbatim: int, most: int) -> int | None:
    """Return the last turn to summarize: keep the newest `verbatim` tokens, and read `most` tokens at once."""
    kept = 0
    closing = len(counts) - 1
    while closing > 0 and kept + counts[closing][1] <= verbatim:
        kept += counts[closing][1]
        closing -= 1
    # The newest turn stays whatever its size.
    old = counts[: min(closing + 1, len(counts) - 1)]
    last, read = None, 0
    for number, tokens in old:
        read += tokens
        if last is not None and read > most:
            break
        last = number
    return last


def _source_sha(plan: _Plan) -> bytes:
    digest = hashlib.sha256((plan.before.text if plan.before else "").encode())
    for turn in plan.turns:
        said = turn.as_source()
        digest.update(f"\x1e{said.number}\x1f{said.role}\x1f{said.speaker}\x1f{said.text}".encode())
    return digest.digest()
