"""The metrics: name, meaning, and the query that reads each one.

Of jobs, effects, breaks and memories only what is open or ended lately is read, by the indexes that workers find it
by: a scrape takes as long after a year as on the first day. Conversations and what their summaries cost are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.jobs.job import JobStatus
from agentstate.providers.usage import CALLS, FAILURES, TEXTS, TOKENS
from agentstate.store.tables import (
    conversations,
    counters,
    jobs,
    memories,
    provider_circuits,
    summary_calls,
)
from agentstate.store.tables.base import db_time, statement_time
from agentstate.store.tables.money import breaks, effects

Sample: TypeAlias = tuple[tuple[str, ...], float]
"""Values of the labels, and the value."""
Read: TypeAlias = Callable[[Connection], Iterable[Sample]]

LATELY_S: Final = 3_600
QUANTILES: Final = (0.5, 0.95, 1.0)
_MOST_ENDED: Final = 10_000


@dataclass(frozen=True)
class Measure:
    """One metric."""

    name: str
    kind: Literal["gauge", "counter"]
    labels: tuple[str, ...]
    about: str
    read: Read


def _group_counts(count: sa.ColumnElement[Any], *labels: sa.ColumnElement[str], where: Iterable[Any] = ()) -> Read:
    """A number for each combination of `labels`."""

    def read(connection: Connection) -> Iterator[Sample]:
        query = sa.select(*labels, count).where(*where).group_by(*labels)
        for *names, number in connection.execute(query):
            yield tuple(map(str, names)), float(number or 0)

    return read


def _oldest_age(moment: sa.Column[Any], *labels: sa.ColumnElement[str], where: Iterable[Any]) -> Read:
    """Age in seconds of the earliest `moment` for each combination of `labels`; no sample without rows."""

    def read(connection: Connection) -> Iterator[Sample]:
        now = connection.execute(sa.select(db_time())).scalar_one()
        query = sa.select(*labels, sa.func.min(moment, type_=moment.type)).where(*where).group_by(*labels)
        for *names, first in connection.execute(query):
            if first is not None:
                yield tuple(map(str, names)), max(0.0, (now - first).total_seconds())

    return read


def _read_durations(connection: Connection) -> Iterator[Sample]:
    query = (
        sa.select(jobs.c.kind, jobs.c.created_at, jobs.c.finished_at)
        .where(jobs.c.status == JobStatus.DONE, jobs.c.finished_at >= statement_time(-LATELY_S))
        .order_by(jobs.c.finished_at.desc())
        .limit(_MOST_ENDED)
    )
    by_kind: dict[str, list[float]] = {}
    for kind, created, finished in connection.execute(query):
        by_kind.setdefault(kind, []).append((finished - created).total_seconds())
    for kind, seconds in by_kind.items():
        seconds.sort()
        for quantile in QUANTILES:
            yield (kind, f"{quantile:g}"), seconds[round(quantile * (len(seconds) - 1))]


def _read_tokens(connection: Connection) -> Iterator[Sample]:
    call = summary_calls.c
    query = sa.select(call.asked, sa.func.sum(call.input_tokens), sa.func.sum(call.output_tokens)).group_by(call.asked)
    for asked, read, written in connection.execute(query):
        yield (asked, "input"), float(read)
        yield (asked, "output"), float(written)


def _sum_counters(what: str, *labels: sa.ColumnElement[str], part: str | None = None) -> Read:
    """The sum of a tally for each combination of `labels`."""
    where = [counters.c.what == what, *([] if part is None else [counters.c.part == part])]
    return _group_counts(sa.func.sum(counters.c.number), *labels, where=where)


def _quote_literals(*values: str) -> list[sa.ColumnElement[str]]:
    return [sa.literal_column(f"'{value}'") for value in values]


_number: Final = sa.func.count()
# Written out, not bound: only so do databases see that a partial index has all of these rows.
_is_open: Final = jobs.c.status.in_(_quote_literals("ready", "running"))
_in_doubt: Final = effects.c.state.not_in(_quote_literals("succeeded", "failed"))
_waits: Final = memories.c.state.in_(_quote_literals("stored", "embedded"))

MEASURES: Final[tuple[Measure, ...]] = (
    Measure(
        "agentstate_jobs_open", "gauge", ("kind", "status"),
        "Jobs that wait (ready) or run.",
        _group_counts(_number, jobs.c.kind, jobs.c.status, where=[_is_open]),
    ),
    Measure(
        "agentstate_jobs_dead", "gauge", ("kind",),
        "Jobs that were given up and wait for somebody to look.",
        _group_counts(_number, jobs.c.kind, where=[jobs.c.status == JobStatus.DEAD]),
    ),
    Measure(
        "agentstate_jobs_ended_last_hour", "gauge", ("kind", "status"),
        "Jobs that ended within the last hour, by how: done, dead or discarded.",
        _group_counts(
            _number, jobs.c.kind, jobs.c.status,
            where=[jobs.c.status.in_(("done", "dead", "discarded")), jobs.c.finished_at >= statement_time(-LATELY_S)],
        ),
    ),
    Measure(
        "agentstate_job_seconds_last_hour", "gauge", ("kind", "quantile"),
        f"From submission to the end, of the newest {_MOST_ENDED:,} jobs that were done within the last hour.",
        _read_durations,
    ),
    Measure(
        "agentstate_oldest_due_job_seconds", "gauge", ("queue",),
        "How long the oldest job that is due has waited.",
        _oldest_age(
            jobs.c.due_at, jobs.c.queue,
            where=[jobs.c.status == sa.literal_column("'ready'"), jobs.c.due_at <= statement_time()],
        ),
    ),
    Measure(
        "agentstate_effects_open", "gauge", ("service", "state"),
        "Effects whose outcome is not known: intent, ready, in_doubt, or manual, which a person has to find out.",
        _group_counts(_number, effects.c.service, effects.c.state, where=[_in_doubt]),
    ),
    Measure(
        "agentstate_oldest_open_effect_seconds", "gauge", ("state",),
        "How long the oldest of them has been open.",
        _oldest_age(effects.c.created_at, effects.c.state, where=[_in_doubt]),
    ),
    Measure(
        "agentstate_effects_ended_last_hour", "gauge", ("service", "operation", "state"),
        "Effects that ended within the last hour: succeeded or failed.",
        _group_counts(
            _number, effects.c.service, effects.c.operation, effects.c.state,
            where=[effects.c.resolved_at >= statement_time(-LATELY_S), effects.c.expired_at.is_(None)],
        ),
    ),
    Measure(
        "agentstate_breaks_open", "gauge", ("service", "kind"),
        "Differences between the books and a service that nobody has explained.",
        _group_counts(_number, breaks.c.service, breaks.c.kind, where=[breaks.c.resolved_at.is_(None)]),
    ),
    Measure(
        "agentstate_oldest_open_break_seconds", "gauge", (),
        "How long the oldest of them has been open.",
        _oldest_age(breaks.c.opened_at, where=[breaks.c.resolved_at.is_(None)]),
    ),
    Measure(
        "agentstate_memories_waiting", "gauge", ("state",),
        "Memories that are not searchable yet: stored waits for an embedding, embedded for the index.",
        _group_counts(_number, memories.c.state, where=[_waits]),
    ),
    Measure(
        "agentstate_oldest_waiting_memory_seconds", "gauge", (),
        "How long the oldest of them has waited.",
        _oldest_age(memories.c.created_at, where=[_waits]),
    ),
    Measure(
        "agentstate_memories_dead", "gauge", (),
        "Memories that were given up and are found by their words alone.",
        _group_counts(_number, where=[memories.c.state == "dead"]),
    ),
    Measure(
        "agentstate_embedders_resting", "gauge", (),
        "Embedding providers that are left alone, since they kept failing.",
        _group_counts(_number, where=[provider_circuits.c.open_until > statement_time()]),
    ),
    Measure(
        "agentstate_turns_unsummarized", "gauge", (),
        "Turns of conversations that no summary covers; the newest of each never are.",
        _group_counts(sa.func.sum(conversations.c.turns - conversations.c.summarized_to)),
    ),
    Measure(
        "agentstate_summary_calls_total", "counter", ("asked",),
        "Answers of providers that were paid for to summarize conversations.",
        _group_counts(sa.func.sum(summary_calls.c.calls), summary_calls.c.asked),
    ),
    Measure(
        "agentstate_summary_tokens_total", "counter", ("asked", "direction"),
        "Tokens that providers charged for them.",
        _read_tokens,
    ),
    Measure(
        "agentstate_summary_cost_nano_usd_total", "counter", ("asked",),
        "What they cost in billionths of a US dollar; models without a listed price have no value.",
        _group_counts(
            sa.func.sum(summary_calls.c.cost_nano_usd), summary_calls.c.asked,
            where=[summary_calls.c.cost_nano_usd.is_not(None)],
        ),
    ),
    Measure(
        "agentstate_embedding_calls_total", "counter", ("asked",),
        "Requests to a provider for embeddings, of memories and of questions; a batch that takes a day is none.",
        _sum_counters("embedding", counters.c.subject, part=CALLS),
    ),
    Measure(
        "agentstate_embedding_failures_total", "counter", ("asked",),
        "Of these the ones that brought no answer that could be used.",
        _sum_counters("embedding", counters.c.subject, part=FAILURES),
    ),
    Measure(
        "agentstate_embedding_texts_total", "counter", ("asked",),
        "Texts that came back as vectors.",
        _sum_counters("embedding", counters.c.subject, part=TEXTS),
    ),
    Measure(
        "agentstate_embedding_tokens_total", "counter", ("asked",),
        "Tokens that the provider charged for, as it told them; none where it does not tell.",
        _sum_counters("embedding", counters.c.subject, part=TOKENS),
    ),
    Measure(
        "agentstate_state_reads_total", "counter", ("service", "outcome"),
        "Reads of states by agents: hit came from the cache, miss and refresh were asked for, stale is older, "
        "unknown has no state.",
        _sum_counters("state_reads", counters.c.subject, counters.c.part),
    ),
)  # fmt: skip
"""All metrics, in the order of the reference."""

STORE_UP: Final = Measure(
    "agentstate_store_up", "gauge", (),
    "1 when the durable store answered; 0 when it did not, and then nothing else is there.",
    lambda _connection: [((), 1.0)],
)  # fmt: skip
