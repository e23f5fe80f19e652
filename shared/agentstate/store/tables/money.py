"""The tables of money: accounts and entries, attestations, effects, breaks, reconciliation, and portfolios.

Amounts are whole minor units. `ledger_transactions`, `entries`, `account_snapshots` and `attestations` are append-only
by triggers, so that no code path, ours included, rewrites history; an account row only carries the newest state of its
chain.
"""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.store.tables.base import Json, db_time, metadata, name_column, time_column
from agentstate.store.tables.minor_units import MinorUnits

currencies = sa.Table(
    "currencies",
    metadata,
    sa.Column("code", sa.String(16), primary_key=True),
    # Digits after the point, for ever: amounts are stored in units of it.
    sa.Column("scale", sa.SmallInteger(), nullable=False),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    name_column("agent_id", nullable=False),
    sa.Column("service", sa.String(64), nullable=False),
    sa.Column("bucket", sa.String(32), nullable=False),
    sa.Column("currency", sa.ForeignKey("currencies.code"), nullable=False),
    # The balance never goes below it; NULL for counter-accounts, which may.
    sa.Column("floor", MinorUnits(), nullable=True),
    sa.Column("balance", MinorUnits(), nullable=False, server_default=sa.text("0")),
    # Number of entries, the last one's time and its hash: the head of the chain, under the row's own lock.
    sa.Column("version", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("head", sa.LargeBinary(), nullable=True),
    time_column("touched_at", nullable=False, default=db_time()),
    sa.UniqueConstraint("agent_id", "service", "bucket", "currency"),
    sa.CheckConstraint("floor IS NULL OR balance >= floor", name="above_floor").ddl_if(dialect="postgresql"),
    # Text, an amount beyond 64 bits, is above every number.
    sa.CheckConstraint(
        "floor IS NULL OR (balance >= floor AND (typeof(balance) <> 'text' OR balance NOT LIKE '-%'))",
        name="above_floor",
    ).ddl_if(dialect="sqlite"),
    # Room on each page for the next version of a row: its balance changes with every posting.
    postgresql_with={"fillfactor": 70},
)

ledger_transactions = sa.Table(
    "ledger_transactions",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    name_column("agent_id", nullable=False),
    # Who chose the key: `caller`, or a part of agentstate, so that a caller's key never meets one of ours.
    sa.Column("scope", sa.String(16), nullable=False),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("params_sha", sa.LargeBinary(), nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("effect_id", sa.Uuid(), nullable=True),
    # The hold that this transaction settles or voids: once only.
    sa.Column("resolves", sa.ForeignKey("ledger_transactions.id"), nullable=True),
    time_column("effective_at", nullable=False),
    time_column("recorded_at", nullable=False),
    sa.Column("meta", Json, nullable=True),
    sa.UniqueConstraint("agent_id", "scope", "key"),
    sa.UniqueConstraint("resolves"),
)
sa.Index("ix_ledger_transactions_recent", ledger_transactions.c.agent_id, ledger_transactions.c.recorded_at)
_of_effect = ledger_transactions.c.effect_id.is_not(None)
sa.Index(
    "ix_ledger_transactions_effect",
    ledger_transactions.c.effect_id,
    postgresql_where=_of_effect,
    sqlite_where=_of_effect,
)

entries = sa.Table(
    "entries",
    metadata,
    sa.Column("account_id", sa.ForeignKey("accounts.id"), primary_key=True),
    # 1, 2, 3, ... per account without a gap: the order of the account's history.
    sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("txn_id", sa.ForeignKey("ledger_transactions.id"), nullable=False, index=True),
    sa.Column("amount", MinorUnits(), nullable=False),
    sa.Column("balance_after", MinorUnits(), nullable=False),
    time_column("recorded_at", nullable=False),
    sa.Column("hash", sa.LargeBinary(), nullable=False),
    sa.CheckConstraint("amount <> 0", name="moves"),
    sa.CheckConstraint("seq > 0", name="seq_positive"),
)
sa.Index("ix_entries_time", entries.c.account_id, entries.c.recorded_at)


def _effect_checks() -> list[sa.CheckConstraint]:
    """Return the checks of an effect's row; a result is present by the state, never by its truth value.

    Said twice: Postgres reads a check anew for every statement, and constant lists are read fastest.
    """
    plain = {
        "state_known": "state IN ('intent', 'ready', 'in_doubt', 'manual', 'succeeded', 'failed')",
        "guarantee_known": "guarantee IN ('keyed', 'natural', 'verifiable', 'blind')",
        "outcome_when_ended": "(state IN ('succeeded', 'failed')) = (outcome IS NOT NULL)",
        "resolved_when_ended": "(state IN ('succeeded', 'failed')) = (resolved_at IS NOT NULL)",
        "open_is_looked_at": "state NOT IN ('intent', 'ready', 'in_doubt') OR next_verify_at IS NOT NULL",
    }
    constant = {
        "state_known": "state = ANY ('{intent,ready,in_doubt,manual,succeeded,failed}'::text[])",
        "guarantee_known": "guarantee = ANY ('{keyed,natural,verifiable,blind}'::text[])",
        "outcome_when_ended": "(outcome IS NULL) = (resolved_at IS NULL)",
        "resolved_when_ended": "(resolved_at IS NOT NULL) = (state = ANY ('{succeeded,failed}'::text[]))",
        "open_is_looked_at": "next_verify_at IS NOT NULL OR state <> ALL ('{intent,ready,in_doubt}'::text[])",
    }
    return [
        sa.CheckConstraint(condition, name=name).ddl_if(dialect=dialect)
        for dialect, conditions in (("sqlite", plain), ("postgresql", constant))
        for name, condition in conditions.items()
    ]


effects = sa.Table(
    "effects",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    name_column("agent_id", nullable=False),
    sa.Column("key", sa.String(200), nullable=False),
    sa.Column("service", sa.String(64), nullable=False),
    sa.Column("operation", sa.String(128), nullable=False),
    sa.Column("params", Json, nullable=False),
    sa.Column("params_sha", sa.LargeBinary(), nullable=False),
    # What the remote knows this effect by; made from the caller's key, so that a lost database makes it again.
    sa.Column("remote_key", sa.String(64), nullable=False),
    sa.Column("guarantee", sa.String(12), nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("attempt", sa.Integer(), nullable=False, server_default="1"),
    sa.Column("fence", sa.BigInteger(), nullable=False, server_default="1"),
    sa.Column("lease_owner", sa.String(128), nullable=True),
    time_column("lease_until", nullable=True),
    # Longest duration of the call, and how long after it "absent" is not yet conclusive; milliseconds.
    sa.Column("deadline_ms", sa.Integer(), nullable=False),
    sa.Column("settle_ms", sa.Integer(), nullable=False),
    # What the remote showed before the call, for operations that carry no reference of ours.
    sa.Column("baseline", Json, nullable=True),
    # Effects of one agent with the same serial key are never open together.
    sa.Column("serial_key", sa.String(200), nullable=True),
    # The ledger transaction that holds the money; written in the same transaction, after this row.
    sa.Column("hold_id", sa.Uuid(), nullable=True),
    sa.Column("outcome", Json, nullable=True),
    sa.Column("verify_attempts", sa.Integer(), nullable=False, server_default="0"),
    time_column("next_verify_at", nullable=True),
    # Why it stands where it stands, in words.
    sa.Column("note", sa.Text(), nullable=True),
    time_column("created_at", nullable=False, default=db_time()),
    time_column("called_at", nullable=False),
    time_column("resolved_at", nullable=True),
    # When it was thinned to a tombstone: parameters and result are gone, the key stays used.
    time_column("expired_at", nullable=True),
    sa.UniqueConstraint("agent_id", "key"),
    *_effect_checks(),
)
_effect_open = sa.text("state IN ('intent', 'ready', 'in_doubt')")
sa.Index("ix_effects_due", effects.c.next_verify_at, postgresql_where=_effect_open, sqlite_where=_effect_open)
_effect_serial = sa.text("serial_key IS NOT NULL AND state NOT IN ('succeeded', 'failed')")
sa.Index(
    "uq_effects_serial",
    effects.c.agent_id,
    effects.c.serial_key,
    unique=True,
    postgresql_where=_effect_serial,
    sqlite_where=_effect_serial,
)
_effect_whole = sa.text("resolved_at IS NOT NULL AND expired_at IS NULL")
sa.Index("ix_effects_whole", effects.c.resolved_at, postgresql_where=_effect_whole, sqlite_where=_effect_whole)
_effect_open_or_stuck = sa.text("state NOT IN ('succeeded', 'failed')")
sa.Index(
    "ix_effects_agent",
    effects.c.agent_id,
    effects.c.service,
    postgresql_where=_effect_open_or_stuck,
    sqlite_where=_effect_open_or_stuck,
)
sa.Index("ix_effects_recent", effects.c.agent_id, effects.c.created_at)

effect_evidence = sa.Table(
    "effect_evidence",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("effect_id", sa.ForeignKey("effects.id"), nullable=False, index=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("fence", sa.BigInteger(), nullable=False),
    sa.Column("detail", Json, nullable=True),
    time_column("recorded_at", nullable=False, default=db_time()),
)

breaks = sa.Table(
    "breaks",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    name_column("agent_id", nullable=False),
    sa.Column("service", sa.String(64), nullable=False),
    # What makes two sightings the same break; one open break for each.
    sa.Column("fingerprint", sa.String(200), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("currency", sa.String(16), nullable=True),
    sa.Column("amount", MinorUnits(), nullable=True),
    sa.Column("state", sa.String(16), nullable=False, server_default="open"),
    sa.Column("effect_id", sa.Uuid(), nullable=True),
    sa.Column("txn_id", sa.Uuid(), nullable=True),
    sa.Column("evidence", Json, nullable=False),
    sa.Column("resolution", sa.Text(), nullable=True),
    sa.Column("sightings", sa.Integer(), nullable=False, server_default="1"),
    time_column("opened_at", nullable=False, default=db_time()),
    time_column("seen_at", nullable=False, default=db_time()),
    time_column("resolved_at", nullable=True),
    sa.CheckConstraint("state IN ('open', 'assigned', 'escalated', 'resolved', 'auto_resolved')", name="state_known"),
    sa.CheckConstraint(
        "(state IN ('resolved', 'auto_resolved')) = (resolved_at IS NOT NULL)", name="resolved_when_ended"
    ),
)
_break_open = breaks.c.resolved_at.is_(None)
sa.Index("uq_breaks_open", breaks.c.fingerprint, unique=True, postgresql_where=_break_open, sqlite_where=_break_open)
sa.Index("ix_breaks_agent", breaks.c.agent_id, breaks.c.service, breaks.c.state)

recon_cursors = sa.Table(
    "recon_cursors",
    metadata,
    name_column("agent_id", primary_key=True),
    sa.Column("service", sa.String(64), primary_key=True),
    time_column("next_due_at", nullable=False, default=db_time()),
    sa.Column("lease_owner", sa.String(128), nullable=True),
    time_column("lease_until", nullable=True),
    sa.Column("fence", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("strikes", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("status", sa.String(12), nullable=True),
    time_column("checked_at", nullable=True),
    time_column("matched_at", nullable=True),
    # How far the service's own events have been read.
    sa.Column("watermark", Json, nullable=True),
)
sa.Index("ix_recon_cursors_due", recon_cursors.c.next_due_at)

recon_runs = sa.Table(
    "recon_runs",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    name_column("agent_id", nullable=False),
    sa.Column("service", sa.String(64), nullable=False),
    sa.Column("currency", sa.String(16), nullable=False),
    sa.Column("status", sa.String(12), nullable=False),
    sa.Column("expected", MinorUnits(), nullable=False),
    sa.Column("observed", MinorUnits(), nullable=True),
    sa.Column("difference", MinorUnits(), nullable=True),
    sa.Column("evidence", Json, nullable=False),
    time_column("started_at", nullable=False),
    time_column("finished_at", nullable=False, default=db_time()),
    sa.CheckConstraint("status IN ('matched', 'timing', 'break', 'stale')", name="status_known"),
    # A service that did not answer has no balance, least of all zero.
    sa.CheckConstraint("(status = 'stale') = (observed IS NULL)", name="stale_is_unknown"),
)
sa.Index("ix_recon_runs_agent", recon_runs.c.agent_id, recon_runs.c.service, recon_runs.c.finished_at)


account_snapshots = sa.Table(
    "account_snapshots",
    metadata,
    sa.Column("account_id", sa.ForeignKey("accounts.id"), primary_key=True),
    # The entry up to which the account was recomputed, with the balance and the seal that it ended at.
    sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("balance", MinorUnits(), nullable=False),
    sa.Column("head", sa.LargeBinary(), nullable=False),
)

attestations = sa.Table(
    "attestations",
    metadata,
    sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
    # How many accounts the root stands for, and how many entries were recomputed for it.
    sa.Column("accounts", sa.BigInteger(), nullable=False),
    sa.Column("entries", sa.BigInteger(), nullable=False),
    # Merkle root over the heads of all sound accounts; the seal chains it to the attestation before.
    sa.Column("root", sa.LargeBinary(), nullable=False),
    sa.Column("seal", sa.LargeBinary(), nullable=False),
    sa.Column("damages", Json, nullable=False),
    time_column("started_at", nullable=False),
    time_column("finished_at", nullable=False),
)


service_accounts = sa.Table(
    "service_accounts",
    metadata,
    name_column("agent_id", primary_key=True),
    sa.Column("service", sa.String(64), primary_key=True),
    # The service's own name for the agent.
    sa.Column("account", sa.String(128), nullable=False),
    time_column("created_at", nullable=False, default=db_time()),
)

portfolio_snapshots = sa.Table(
    "portfolio_snapshots",
    metadata,
    name_column("agent_id", primary_key=True),
    # The beat's slot, such as 2026-08-01T10:05:00Z: one snapshot of an agent for each, however often it is taken.
    sa.Column("slot", sa.String(64), primary_key=True),
    time_column("taken_at", nullable=False),
    sa.Column("legs", Json, nullable=False),
    sa.Column("currency", sa.String(16), nullable=False),
    # Minor units. `total` is NULL when a leg is unknown; then `low` and `high` bound it, NULL being no bound.
    sa.Column("total", MinorUnits(), nullable=True),
    sa.Column("low", MinorUnits(), nullable=True),
    sa.Column("high", MinorUnits(), nullable=True),
    sa.CheckConstraint("total IS NULL OR (low = total AND high = total)", name="known_has_no_width"),
)
sa.Index("ix_portfolio_snapshots_slot", portfolio_snapshots.c.slot, portfolio_snapshots.c.agent_id)
sa.Index("ix_portfolio_snapshots_time", portfolio_snapshots.c.agent_id, portfolio_snapshots.c.taken_at)
