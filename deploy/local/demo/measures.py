"""Gathering the facts: from the tables, the services' truth, Redis, Flower, and what agents were told."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.memory.facts.counts import count_conversations, count_memories
from agentstate.money.amounts import Money
from agentstate.money.reconciliation.breaks import Breaks
from agentstate.providers.summaries.evidence import find_unsupported_figures
from agentstate.providers.summaries.summarizer import SourceTurn, format_turn
from agentstate.runtime import Runtime
from agentstate.services.cache.reading import Quality
from agentstate.store.tables import effects, jobs, memories, portfolio_snapshots, recon_cursors, summaries, turns
from agentstate.store.tables.base import db_time
from deploy.local.demo import ledgers, privacy, sentences, told
from deploy.local.demo.facts import Answer, BreakFact, EffectFact, Facts, MemoryFact, TaskFact
from deploy.local.demo.faults import PLANTED_AGENT
from deploy.local.demo.flower import ask_flower
from deploy.local.demo.quiet import SOON_S
from deploy.local.demo.receipts import read_receipts
from deploy.local.demo.stage import Stage
from deploy.local.sandbox.client import SandboxClient

STRANGER = "ag_stranger"
"""An agent that no service knows: all of its amounts are unknown."""
_MOST = 1_000


@dataclass(frozen=True, kw_only=True)
class Course:
    """What is known of the run itself."""

    agents: Sequence[str]
    seed: int
    injected: Mapping[str, int]
    killed: Sequence[str]
    open: Sequence[str]
    failures: Sequence[str]


def gather(stage: Stage, runtime: Runtime, course: Course) -> Facts:
    """All facts, now."""
    answers = tuple(_answers(runtime, course.agents))
    with SandboxClient(stage.urls["sandbox"]) as sandbox:
        truth = sandbox.read_truth()
    flower, pages = ask_flower(runtime.settings, stage.urls["flower"])
    leaks, recalls = privacy.leaked(runtime, course.agents, course.seed)
    misplaced, points = privacy.index_leaks(runtime)
    secrets, places = privacy.secrets_found(
        privacy.secrets_of(stage.folder), privacy.places(runtime, stage.folder, pages)
    )
    receipts = list(read_receipts(stage.folder.path / "told"))
    with runtime.store.read_connection() as connection:
        conversations = count_conversations(connection)
        return Facts(
            tasks=tuple(_tasks(connection)),
            memories=tuple(_memories(connection)),
            answers=answers,
            turns=sum(found.turns for found in conversations),
            summaries=sum(found.summaries for found in conversations),
            summarized=sum(found.summarized for found in conversations),
            effects=tuple(_effects(connection, truth)),
            unknown_effects=tuple(_unknown_effects(connection, truth)),
            balances=tuple(ledgers.balances(connection, truth)),
            breaks=tuple(_breaks(runtime)),
            unmatched=tuple(_unmatched(connection)),
            snapshots=_snapshots(connection),
            told=dict(Counter(item.what for item in receipts)),
            lost=tuple(told.lost(connection, receipts)),
            book_faults=tuple(ledgers.book_faults(connection)),
            entries=int(connection.execute(sa.text("SELECT count(*) FROM entries")).scalar_one()),
            rewritten=tuple(ledgers.rewrites_accepted(runtime.store)),
            invented=(*_invented(connection), *_unknown_as_number(runtime)),
            leaked=(*leaks, *misplaced),
            recalls=recalls,
            points=points,
            secrets=tuple(secrets),
            places=places,
            keys=tuple(privacy.our_keys(runtime)),
            flower=flower,
            injected=dict(course.injected),
            killed=tuple(course.killed),
            open=tuple(course.open),
            failures=tuple(course.failures),
        )


def counts(runtime: Runtime) -> dict[str, int]:
    """A few numbers that grow, for the display while it runs."""
    with runtime.store.read_connection() as connection:

        def number(statement: str) -> int:
            return int(connection.execute(sa.text(statement)).scalar_one())

        return {
            "effects": number("SELECT count(*) FROM effects WHERE state IN ('succeeded', 'failed')"),
            "open": number("SELECT count(*) FROM effects WHERE state NOT IN ('succeeded', 'failed')"),
            "memories": number("SELECT count(*) FROM memories"),
            "searchable": number("SELECT count(*) FROM memories WHERE state = 'searchable'"),
            "turns": number("SELECT count(*) FROM turns"),
            "summaries": number("SELECT count(*) FROM summaries"),
            "jobs done": number("SELECT count(*) FROM jobs WHERE status = 'done'"),
            "snapshots": number("SELECT count(*) FROM portfolio_snapshots"),
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the sorted `values` lie; 0 without any."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def _tasks(connection: Connection) -> Iterator[TaskFact]:
    table = jobs.c
    took: dict[str, list[float]] = defaultdict(list)
    unfinished: Counter[str] = Counter()
    later: Counter[str] = Counter()
    is_later = (table.due_at >= db_time(SOON_S)).label("is_later")
    columns = (table.kind, table.created_at, table.finished_at, table.status, is_later)
    for row in connection.execute(sa.select(*columns)):
        (later if row.is_later else unfinished)[row.kind] += int(row.status != "done")
        took[row.kind] += [(row.finished_at - row.created_at).total_seconds()] if row.status == "done" else []
    kind = "embedding (stored to searchable)"
    for stored_at, searchable_at in connection.execute(sa.select(memories.c.created_at, memories.c.searchable_at)):
        unfinished[kind] += int(searchable_at is None)
        took[kind] += [(searchable_at - stored_at).total_seconds()] if searchable_at else []
    for kind, times in sorted(took.items()):
        p50, p95 = percentile(times, 0.5), percentile(times, 0.95)
        yield TaskFact(
            kind=kind, count=len(times), unfinished=unfinished[kind], later=later[kind], p50_s=p50, p95_s=p95
        )


def _memories(connection: Connection) -> Iterator[MemoryFact]:
    for found in count_memories(connection):
        yield MemoryFact(agent_id=found.agent_id, stored=found.stored, searchable=found.searchable)


def _answers(runtime: Runtime, agents: Sequence[str]) -> Iterator[Answer]:
    for number, question in enumerate(sentences.QUESTIONS):
        agent = agents[number * 4 % len(agents)]
        for hit in runtime.memory.of(agent).recall(question, 2):
            retrievers = ", ".join(f"{name} {score.score:.2f}" for name, score in sorted(hit.why.retrievers.items()))
            yield Answer(agent_id=agent, question=question, content=hit.content, score=hit.score, retrievers=retrievers)


def _effects(connection: Connection, truth: Mapping[str, Any]) -> Iterator[EffectFact]:
    seen = _seen(truth)
    for row in connection.execute(sa.select(effects).order_by(effects.c.created_at)):
        ended = row.resolved_at or row.created_at
        yield EffectFact(
            agent_id=row.agent_id,
            key=row.key,
            operation=row.operation,
            state=row.state,
            seen=seen[row.agent_id, row.remote_key],
            resumed=row.fence > 1,
            attempts=row.attempt,
            open_s=(ended - row.created_at).total_seconds(),
        )


def _seen(truth: Mapping[str, Any]) -> Counter[tuple[str, str]]:
    """How often the services had the effect of each request key, by agent and key."""
    seen: Counter[tuple[str, str]] = Counter()
    for row in truth["effects"]:
        seen[row["agent_id"], row["request_key"]] += row["count"]
    return seen


def _unknown_effects(connection: Connection, truth: Mapping[str, Any]) -> list[str]:
    ours = {(row.agent_id, row.remote_key) for row in connection.execute(sa.select(effects))}
    strange = [named for named in _seen(truth) if named not in ours and named[0] != PLANTED_AGENT]
    return [f"{agent}: {key}" for agent, key in strange]


def _breaks(runtime: Runtime) -> Iterator[BreakFact]:
    for found in Breaks(runtime.store).find(only_open=False, limit=_MOST):
        yield BreakFact(
            agent_id=found.agent_id,
            service=found.service,
            kind=found.kind,
            state=found.state,
            amount=found.amount.amount if found.amount else None,
            resolution=found.resolution,
        )


def _unmatched(connection: Connection) -> list[str]:
    table = recon_cursors.c
    other = sa.or_(table.status.is_(None), table.status != "matched")
    found = connection.execute(
        sa.select(table.agent_id, table.service, table.status).where(other, table.agent_id != PLANTED_AGENT)
    )
    return [f"the last comparison of {row.service} of {row.agent_id} is {row.status}" for row in found]


def _snapshots(connection: Connection) -> dict[str, int]:
    slot = portfolio_snapshots.c.slot
    rows = connection.execute(sa.select(slot, sa.func.count().label("rows")).group_by(slot).order_by(slot))
    return {row.slot: row.rows for row in rows}


def _invented(connection: Connection) -> Iterator[str]:
    """Figures of summaries that neither their turns nor the summary before them hold; snapshots with made-up totals."""
    before: dict[Any, Any] = {}
    for made in connection.execute(sa.select(summaries).order_by(summaries.c.conversation_id, summaries.c.number)):
        source = _source(connection, made, before.get(made.conversation_id))
        before[made.conversation_id] = made
        for figure in find_unsupported_figures(made.text, source):
            yield f"summary {made.number} of {made.agent_id} says {figure}, its source does not"
    for row in connection.execute(sa.select(portfolio_snapshots)):
        unknown = any(leg["amount"] is None for leg in row.legs.values())
        doubtful = unknown or any(leg["status"] == "stale" for leg in row.legs.values())
        if (unknown and row.total is not None) or (row.total is None and not doubtful):
            yield f"snapshot {row.slot} of {row.agent_id} has total {row.total} with unknown legs: {unknown}"


def _source(connection: Connection, made: Any, before: Any) -> str:
    """What a summary was made from: the summary before with its facts, and the turns."""
    said = sa.select(turns).where(
        turns.c.conversation_id == made.conversation_id, turns.c.number.between(made.covers_from, made.covers_to)
    )
    read = (
        SourceTurn(number=row.number, role=row.role, speaker=row.speaker or "", text=row.text, at=row.said_at)
        for row in connection.execute(said.order_by(turns.c.number))
    )
    facts = "\n".join(str(fact["text"]) for fact in before.facts or ()) if before else ""
    return "\n".join([before.text if before else "", facts, *map(format_turn, read)])


def _unknown_as_number(runtime: Runtime) -> list[str]:
    """Amounts given for an agent of which nothing is known."""
    portfolio = runtime.cache.portfolio_snapshot(STRANGER)
    given = [
        f"{service} of {STRANGER}" for service, leg in portfolio.legs.items() if leg.quality is not Quality.UNKNOWN
    ]
    return given + ([f"a total of {Money.from_minor(portfolio.total)}"] if portfolio.total is not None else [])
