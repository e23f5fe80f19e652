"""The state of all parts: availability, queues, workers. A part that is down affects only its own lines.

Everything is plain JSON; `None` means unknown, and is never a zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.doctor import database, qdrant, redis_server
from agentstate.doctor.finding import Finding, Verdict
from agentstate.doctor.registry import run_check
from agentstate.doctor.system import System
from agentstate.errors import AgentStateError
from agentstate.jobs.job import JobStatus
from agentstate.jobs.spec import QUEUES
from agentstate.memory.facts.counts import count_conversations, count_memories
from agentstate.providers import choose_embedder, choose_summarizer
from agentstate.store.tables import jobs
from agentstate.store.tables.base import db_time

Document = dict[str, Any]

_MEMORIES = ("stored", "searchable", "pending", "dead")
_CONVERSATIONS = ("conversations", "turns", "summarized", "summaries")


def collect_overview(system: System) -> Document:
    """Collect the data of `agentstate status`; raise ConfigurationError when the settings cannot be read."""
    settings = system.settings
    parts = {
        "database": _describe_part(system, database.check_database),
        "redis": _describe_part(system, lambda it: redis_server.check_version(it, settings.redis_url)),
        "broker": _describe_part(system, lambda it: redis_server.check_version(it, settings.broker_url)),
        "qdrant": _describe_part(system, qdrant.check_qdrant),
    }
    stored = _count_stored(system) if parts["database"]["up"] else None
    parts["database"]["problem"] = parts["database"]["problem"] or (stored or {}).pop("problem", None)
    return {
        "ok": all(part["up"] and part["problem"] is None for part in parts.values()),
        "parts": parts,
        "queues": None,
        "memories": None,
        "conversations": None,
        "schedules": None,
        **(stored or {}),
        "index": _describe_index(system) if parts["qdrant"]["up"] else None,
        "embedder": _describe_provider(lambda: choose_embedder(settings).describe()),
        "summarizer": _describe_provider(lambda: choose_summarizer(settings).describe()),
        "workers": _list_workers(system) if parts["broker"]["up"] else None,
    }


def _describe_part(system: System, examine: Callable[[System], Finding]) -> Document:
    finding = run_check(examine, system)
    up = finding.verdict is not Verdict.FAIL
    return {"up": up, "found": finding.found, "problem": None if up else finding.found}


def _count_stored(system: System) -> Document:
    """Return the counts from the durable store, or the problem that prevents them."""
    schema = run_check(database.check_schema, system)
    if schema.verdict is Verdict.FAIL:
        return {"problem": f"{schema.found}. {schema.remedy}"}
    with system.connect_store() as connection:
        return {
            "queues": _read_queues(connection),
            "memories": _sum_counts([asdict(counts) for counts in count_memories(connection)], _MEMORIES),
            "conversations": _sum_counts(
                [asdict(counts) for counts in count_conversations(connection)], _CONVERSATIONS
            ),
            "schedules": _read_schedules(connection),
        }


def _sum_counts(by_agent: list[Document], names: tuple[str, ...]) -> Document:
    return {"agents": len(by_agent), **{name: sum(row[name] for row in by_agent) for name in names}}


def _read_queues(connection: Connection) -> Document:
    """Count jobs by queue and status; and the seconds that the oldest due job has waited."""
    oldest = sa.func.min(sa.case((jobs.c.status == JobStatus.READY, jobs.c.due_at)), type_=jobs.c.due_at.type)
    query = sa.select(jobs.c.queue, jobs.c.status, sa.func.count(), oldest).group_by(jobs.c.queue, jobs.c.status)
    now = connection.execute(sa.select(db_time())).scalar_one()
    found: Document = {queue: _empty_queue() for queue in QUEUES}
    for queue, status, count, due_at in connection.execute(query):
        row = found.setdefault(queue, _empty_queue())
        row[status] = count
        if due_at is not None and due_at < now:
            row["oldest_due_s"] = round((now - due_at).total_seconds(), 1)
    return found


def _empty_queue() -> Document:
    return {**{str(status): 0 for status in JobStatus}, "oldest_due_s": None}


def _read_schedules(connection: Connection) -> Document:
    """Return the time of each schedule's last submitted slot, and its age in seconds."""
    latest = sa.func.max(jobs.c.created_at, type_=jobs.c.created_at.type)
    query = sa.select(jobs.c.kind, latest).where(jobs.c.dedupe_key.startswith("slot:")).group_by(jobs.c.kind)
    now = connection.execute(sa.select(db_time())).scalar_one()
    return {
        kind: {"last": last.isoformat(), "age_s": round((now - last).total_seconds(), 1)}
        for kind, last in connection.execute(query.order_by(jobs.c.kind))
    }


def _describe_index(system: System) -> Document | None:
    try:
        engine = qdrant.engine_of(system.query_qdrant("/"))
        collections = qdrant.points_by_collection(system)
    except AgentStateError:
        return None
    return {"engine": engine or "server", "points": sum(collections.values()), "collections": collections}


def _describe_provider(describe: Callable[[], Any]) -> Document:
    try:
        return asdict(describe())
    except AgentStateError as error:
        return {"name": None, "text": error.message, "ok": False}


def _list_workers(system: System) -> list[Document] | None:
    try:
        found = redis_server.workers_by_name(system)
    except AgentStateError:
        return None
    return [{"name": name, "queues": queues} for name, queues in found.items()]
