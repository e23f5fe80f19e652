"""The tables of jobs, and of tallies: sums over the whole fleet of events that are too frequent for a row each."""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.store.tables.base import Json, db_time, metadata, name_column, time_column

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("queue", sa.String(32), nullable=False),
    sa.Column("lane", sa.SmallInteger(), nullable=False),
    name_column("agent_id", nullable=True),
    sa.Column("payload", Json, nullable=False),
    # One job ever for this kind, agent and key (kept until the job is expired), as a caller's idempotency key.
    sa.Column("dedupe_key", sa.String(200), nullable=True),
    # One job waiting for this kind and key; a running one does not count, since it may have read too early.
    sa.Column("coalesce_key", sa.String(200), nullable=True),
    sa.Column("status", sa.String(12), nullable=False, server_default="ready"),
    sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("max_attempts", sa.Integer(), nullable=False),
    sa.Column("fence", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("lease_owner", sa.String(128), nullable=True),
    time_column("lease_until", nullable=True),
    time_column("due_at", nullable=False),
    # When the last wake-up was sent; the sweep sends another when it got lost.
    time_column("woken_at", nullable=True),
    sa.Column("error", sa.Text(), nullable=True),
    sa.Column("result", Json, nullable=True),
    sa.Column("trace", sa.String(64), nullable=True),
    time_column("created_at", nullable=False, default=db_time()),
    time_column("started_at", nullable=True),
    time_column("finished_at", nullable=True),
    sa.CheckConstraint("status IN ('ready', 'running', 'done', 'dead', 'discarded')", name="status_known"),
    sa.CheckConstraint("(status = 'running') = (lease_until IS NOT NULL)", name="lease_while_running"),
    sa.CheckConstraint(
        "(status IN ('done', 'dead', 'discarded')) = (finished_at IS NOT NULL)", name="finished_when_ended"
    ),
)

sa.Index(
    "uq_jobs_dedupe",
    jobs.c.kind,
    sa.func.coalesce(jobs.c.agent_id, ""),
    jobs.c.dedupe_key,
    unique=True,
    postgresql_where=jobs.c.dedupe_key.is_not(None),
    sqlite_where=jobs.c.dedupe_key.is_not(None),
)
_waiting = sa.and_(jobs.c.coalesce_key.is_not(None), jobs.c.status == sa.literal_column("'ready'"))
sa.Index(
    "uq_jobs_coalesce", jobs.c.kind, jobs.c.coalesce_key, unique=True, postgresql_where=_waiting, sqlite_where=_waiting
)
_open = jobs.c.status.in_([sa.literal_column("'ready'"), sa.literal_column("'running'")])
sa.Index("ix_jobs_open", jobs.c.status, jobs.c.due_at, postgresql_where=_open, sqlite_where=_open)
sa.Index("ix_jobs_ended", jobs.c.status, jobs.c.finished_at)
sa.Index("ix_jobs_agent", jobs.c.agent_id, jobs.c.created_at)


counters = sa.Table(
    "tallies",
    metadata,
    # What is counted, of whom, and which part of it: ("state_reads", "casino", "hit").
    sa.Column("what", sa.String(32), primary_key=True),
    sa.Column("subject", sa.String(200), primary_key=True),
    sa.Column("part", sa.String(32), primary_key=True),
    # Processes add to one of several rows, so that they seldom wait for one another; the sum counts.
    sa.Column("slot", sa.SmallInteger(), primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger(), nullable=False),
)
