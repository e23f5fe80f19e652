"""Measurements at the end of a run: from the tables, the services' own record, Redis, Flower, and the agents' notes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.memory.conversation.turns import conversation_id
from agentstate.memory.facts.counts import count_conversations, count_memories
from agentstate.money.amounts import Money
from agentstate.money.reconciliation.breaks import Breaks
from agentstate.providers.summaries.evidence import find_unsupported_figures
from agentstate.providers.summaries.summarizer import SourceTurn, format_turn
from agentstate.runtime import Runtime
from agentstate.services.cache.reading import Quality
from agentstate.settings import Settings
from agentstate.state import codec
from agentstate.store.tables import effects, jobs, memories, portfolio_snapshots, recon_cursors, summaries, turns
from agentstate.store.tables.base import db_time
from deploy.local.demo import audits
from deploy.local.demo.agents import QUESTIONS, SESSION
from deploy.local.demo.faults import PLANTED_AGENT
from deploy.local.demo.findings import Answer, EffectCount, Findings, FlowerView, MemoryCount, OpenedBreak, WorkTimes
from deploy.local.demo.receipts import RECEIPTS, Acknowledgement, read_receipts
from deploy.local.demo.workers import DemoStack
from deploy.local.sandbox.client import SandboxClient

STRANGER = "ag_stranger"
"""An agent that no service knows: all of its amounts are unknown."""
SOON_S = 600.0
"""Work that is due later than that, such as the lessons of today, is an appointment and not open."""
_MOST = 1_000


@dataclass(frozen=True, kw_only=True)
class RunCourse:
    """The course of the run: its agents, the injected faults, and the work left open."""

    agents: Sequence[str]
    seed: int
    injected: Mapping[str, int]
    disruptions: Sequence[str]
    open: Sequence[str]
    failures: Sequence[str]


def gather_findings(stack: DemoStack, runtime: Runtime, course: RunCourse) -> Findings:
    """Take all measurements, now."""
    answers = tuple(_ask_questions(runtime, course.agents))
    with SandboxClient(stack.urls["sandbox"]) as sandbox:
        truth = sandbox.read_truth()
    flower, pages = ask_flower(runtime.settings, stack.urls["flower"])
    leaks, recalls = audits.find_leaks(runtime, course.agents, course.seed)
    misplaced, points = audits.find_index_leaks(runtime)
    secrets, places = audits.find_secrets(
        audits.read_secrets(stack.folder), audits.list_places(runtime, stack.folder, pages)
    )
    receipts = list(read_receipts(stack.folder.path / RECEIPTS))
    with runtime.store.read_connection() as connection:
        conversations = count_conversations(connection)
        slot = portfolio_snapshots.c.slot
        ours = {(row.agent_id, row.remote_key) for row in connection.execute(sa.select(effects))}
        unknown = [
            f"{agent}: {key}"
            for agent, key in _count_seen(truth)
            if (agent, key) not in ours and agent != PLANTED_AGENT
        ]
        taken = sa.select(slot, sa.func.count().label("rows")).group_by(slot).order_by(slot)
        return Findings(
            work=tuple(_measure_work(connection)),
            memories=tuple(
                MemoryCount(agent_id=found.agent_id, stored=found.stored, searchable=found.searchable)
                for found in count_memories(connection)
            ),
            answers=answers,
            turns=sum(found.turns for found in conversations),
            summaries=sum(found.summaries for found in conversations),
            summarized=sum(found.summarized for found in conversations),
            effects=tuple(_count_effects(connection, truth)),
            unknown_effects=tuple(unknown),
            balances=tuple(audits.compare_balances(connection, truth)),
            breaks=tuple(_list_breaks(runtime)),
            unmatched=tuple(_list_unmatched(connection)),
            snapshots={row.slot: row.rows for row in connection.execute(taken)},
            acknowledged=dict(Counter(item.kind for item in receipts)),
            lost=tuple(list_lost(connection, receipts)),
            ledger_faults=tuple(audits.find_ledger_faults(connection)),
            entries=int(connection.execute(sa.text("SELECT count(*) FROM entries")).scalar_one()),
            rewritten=tuple(audits.find_accepted_rewrites(runtime.store)),
            invented=(*_list_invented(connection), *_unknown_as_number(runtime)),
            leaked=(*leaks, *misplaced),
            recalls=recalls,
            points=points,
            secrets=tuple(secrets),
            places=places,
            keys=tuple(audits.list_our_keys(runtime)),
            flower=flower,
            injected=dict(course.injected),
            disruptions=tuple(course.disruptions),
            open=tuple(course.open),
            failures=tuple(course.failures),
        )


def count_progress(runtime: Runtime) -> dict[str, int]:
    """A few numbers that grow, for the display while it runs."""
    with runtime.store.read_connection() as connection:

        def count_rows(statement: str) -> int:
            return int(connection.execute(sa.text(statement)).scalar_one())

        return {
            "effects": count_rows("SELECT count(*) FROM effects WHERE state IN ('succeeded', 'failed')"),
            "open": count_rows("SELECT count(*) FROM effects WHERE state NOT IN ('succeeded', 'failed')"),
            "memories": count_rows("SELECT count(*) FROM memories"),
            "searchable": count_rows("SELECT count(*) FROM memories WHERE state = 'searchable'"),
            "turns": count_rows("SELECT count(*) FROM turns"),
            "summaries": count_rows("SELECT count(*) FROM summaries"),
            "jobs done": count_rows("SELECT count(*) FROM jobs WHERE status = 'done'"),
            "snapshots": count_rows("SELECT count(*) FROM portfolio_snapshots"),
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the sorted `values` lie; 0 without any."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def _measure_work(connection: Connection) -> Iterator[WorkTimes]:
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
        yield WorkTimes(
            kind=kind, count=len(times), unfinished=unfinished[kind], later=later[kind], p50_s=p50, p95_s=p95
        )


def _ask_questions(runtime: Runtime, agents: Sequence[str]) -> Iterator[Answer]:
    for number, question in enumerate(QUESTIONS):
        agent = agents[number * 4 % len(agents)]
        for hit in runtime.memory.of(agent).recall(question, 2):
            retrievers = ", ".join(f"{name} {score.score:.2f}" for name, score in sorted(hit.why.retrievers.items()))
            yield Answer(agent_id=agent, question=question, content=hit.content, score=hit.score, retrievers=retrievers)


def _count_effects(connection: Connection, truth: Mapping[str, Any]) -> Iterator[EffectCount]:
    seen = _count_seen(truth)
    for row in connection.execute(sa.select(effects).order_by(effects.c.created_at)):
        ended = row.resolved_at or row.created_at
        yield EffectCount(
            agent_id=row.agent_id,
            key=row.key,
            operation=row.operation,
            state=row.state,
            seen=seen[row.agent_id, row.remote_key],
            resumed=row.fence > 1,
            attempts=row.attempt,
            open_s=(ended - row.created_at).total_seconds(),
        )


def _count_seen(truth: Mapping[str, Any]) -> Counter[tuple[str, str]]:
    """Return the number of effects in the services' record, by agent and request key."""
    seen: Counter[tuple[str, str]] = Counter()
    for row in truth["effects"]:
        seen[row["agent_id"], row["request_key"]] += row["count"]
    return seen


def _list_breaks(runtime: Runtime) -> Iterator[OpenedBreak]:
    for found in Breaks(runtime.store).find(only_open=False, limit=_MOST):
        yield OpenedBreak(
            agent_id=found.agent_id,
            service=found.service,
            kind=found.kind,
            state=found.state,
            amount=found.amount.amount if found.amount else None,
            resolution=found.resolution,
        )


def _list_unmatched(connection: Connection) -> list[str]:
    table = recon_cursors.c
    other = sa.or_(table.status.is_(None), table.status != "matched")
    found = connection.execute(
        sa.select(table.agent_id, table.service, table.status).where(other, table.agent_id != PLANTED_AGENT)
    )
    return [f"the last comparison of {row.service} of {row.agent_id} is {row.status}" for row in found]


def _list_invented(connection: Connection) -> Iterator[str]:
    """Figures of summaries that neither their turns nor the summary before them hold; snapshots with made-up totals."""
    before: dict[Any, Any] = {}
    for made in connection.execute(sa.select(summaries).order_by(summaries.c.conversation_id, summaries.c.number)):
        # Its source is the summary before with its facts, and the turns.
        said = sa.select(turns).where(
            turns.c.conversation_id == made.conversation_id, turns.c.number.between(made.covers_from, made.covers_to)
        )
        read = (
            SourceTurn(number=row.number, role=row.role, speaker=row.speaker or "", text=row.text, at=row.said_at)
            for row in connection.execute(said.order_by(turns.c.number))
        )
        last = before.get(made.conversation_id)
        facts = [str(fact["text"]) for fact in last.facts or ()] if last else []
        source = "\n".join([last.text if last else "", *facts, *map(format_turn, read)])
        before[made.conversation_id] = made
        for figure in find_unsupported_figures(made.text, source):
            yield f"summary {made.number} of {made.agent_id} says {figure}, its source does not"
    for row in connection.execute(sa.select(portfolio_snapshots)):
        unknown = any(leg["amount"] is None for leg in row.legs.values())
        doubtful = unknown or any(leg["status"] == "stale" for leg in row.legs.values())
        if (unknown and row.total is not None) or (row.total is None and not doubtful):
            yield f"snapshot {row.slot} of {row.agent_id} has total {row.total} with unknown legs: {unknown}"


def _unknown_as_number(runtime: Runtime) -> list[str]:
    """Amounts given for an agent of which nothing is known."""
    portfolio = runtime.cache.portfolio_snapshot(STRANGER)
    given = [
        f"{service} of {STRANGER}" for service, leg in portfolio.legs.items() if leg.quality is not Quality.UNKNOWN
    ]
    return given + ([f"a total of {Money.from_minor(portfolio.total)}"] if portfolio.total is not None else [])


_GONE = object()


def list_lost(connection: Connection, acknowledged: Iterable[Acknowledgement]) -> list[str]:
    """Return the acknowledgements that are missing in the stores, or stored with another value."""
    kept: dict[tuple[str, str, str], Any] = {}
    succeeded = sa.select(effects.c.agent_id, effects.c.key, effects.c.outcome).where(effects.c.state == "succeeded")
    for effect in connection.execute(succeeded):
        kept[effect.agent_id, "effect", effect.key] = effect.outcome["value"]
    for memory in connection.execute(sa.select(memories.c.agent_id, memories.c.id)):
        kept[memory.agent_id, "memory", str(memory.id)] = None
    said = sa.select(turns.c.agent_id, turns.c.conversation_id, turns.c.source_id, turns.c.number)
    for turn in connection.execute(said.where(turns.c.source_id.is_not(None))):
        if turn.conversation_id == conversation_id(turn.agent_id, SESSION):
            kept[turn.agent_id, "turn", turn.source_id] = turn.number
    # Jobs by their id, and those that came by the broker by their key too.
    done = sa.select(jobs.c.id, jobs.c.agent_id, jobs.c.dedupe_key).where(jobs.c.status == "done")
    for job in connection.execute(done):
        kept[job.agent_id, "job", str(job.id)] = None
        if job.dedupe_key:
            kept[job.agent_id, "submission", job.dedupe_key] = None

    lost = []
    for item in acknowledged:
        key = str(UUID(item.key)) if item.kind in {"memory", "job"} else item.key
        found = kept.get((item.agent_id, item.kind, key), _GONE)
        if found is _GONE:
            lost.append(f"{item.kind} {item.key} of {item.agent_id} is gone")
        elif item.value is not None and codec.dumps(found) != codec.dumps(item.value):
            lost.append(f"{item.kind} {item.key} of {item.agent_id} is there with another value")
    return lost


FLOWER_TIMEOUT_S = 20.0


def ask_flower(settings: Settings, url: str) -> tuple[FlowerView, dict[str, str]]:
    """Return the view of Flower, and its pages by name."""
    user, _, password = (settings.flower_basic_auth.get_secret_value() if settings.flower_basic_auth else "").partition(
        ":"
    )
    with httpx.Client(base_url=url, timeout=FLOWER_TIMEOUT_S, trust_env=False) as stranger:
        without = stranger.get("/api/tasks").status_code
    with httpx.Client(base_url=url, timeout=FLOWER_TIMEOUT_S, trust_env=False, auth=(user, password)) as client:
        workers = client.get("/workers", params={"json": "1"})
        tasks = client.get("/api/tasks")
        control = client.post("/api/worker/shutdown/io").status_code
    rows = workers.raise_for_status().json()["data"]
    fact = FlowerView(
        url=url,
        status_without_password=without,
        status_of_control=control,
        workers=tuple(sorted(row["hostname"].partition("@")[0] for row in rows if row.get("status"))),
        tasks=len(tasks.raise_for_status().json()),
    )
    return fact, {"Flower's workers": workers.text, "Flower's tasks": tasks.text}
