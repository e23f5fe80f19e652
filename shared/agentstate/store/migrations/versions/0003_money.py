"""Accounts, ledger, effects, breaks and reconciliation; the ledger append-only by the database's own rules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentstate.store.tables.base import Json, UtcDateTime

revision = "0003_money"
down_revision = "0002_memory"
branch_labels = None
depends_on = None

_APPEND_ONLY = ("ledger_transactions", "entries", "effect_evidence")


def upgrade() -> None:
    _accounts()
    _ledger()
    _effects()
    _evidence()
    _breaks()
    _reconciliation()
    if op.get_bind().dialect.name == "postgresql":
        _guard_on_postgres()
    else:
        _guard_on_sqlite()


def _accounts() -> None:
    op.create_table(
        "currencies",
        sa.Column("code", sa.String(16), primary_key=True),
        sa.Column("scale", sa.SmallInteger(), nullable=False),
    )
    op.create_table(
        "accounts",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("bucket", sa.String(32), nullable=False),
        sa.Column("currency", sa.String(16), sa.ForeignKey("currencies.code"), nullable=False),
        sa.Column("floor", sa.BigInteger(), nullable=True),
        sa.Column("balance", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("version", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("head", sa.LargeBinary(), nullable=True),
        sa.Column("touched_at", UtcDateTime(), nullable=False),
        sa.UniqueConstraint("agent_id", "service", "bucket", "currency"),
        sa.CheckConstraint("floor IS NULL OR balance >= floor", name="above_floor"),
    )


def _ledger() -> None:
    op.create_table(
        "ledger_transactions",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("params_sha", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("effect_id", sa.Uuid(), nullable=True),
        sa.Column("resolves", sa.Uuid(), sa.ForeignKey("ledger_transactions.id"), nullable=True),
        sa.Column("effective_at", UtcDateTime(), nullable=False),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
        sa.Column("meta", Json, nullable=True),
        sa.UniqueConstraint("agent_id", "scope", "key"),
        sa.UniqueConstraint("resolves"),
    )
    op.create_index("ix_ledger_transactions_recent", "ledger_transactions", ["agent_id", "recorded_at"])
    _partial_index("ix_ledger_transactions_effect", "ledger_transactions", ["effect_id"], "effect_id IS NOT NULL")
    op.create_table(
        "entries",
        sa.Column("account_id", sa.Uuid(), sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("txn_id", sa.Uuid(), sa.ForeignKey("ledger_transactions.id"), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("balance_after", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("amount <> 0", name="moves"),
        sa.CheckConstraint("seq > 0", name="seq_positive"),
    )
    op.create_index("ix_entries_txn_id", "entries", ["txn_id"])
    op.create_index("ix_entries_time", "entries", ["account_id", "recorded_at"])


def _effects() -> None:
    op.create_table(
        "effects",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("operation", sa.String(128), nullable=False),
        sa.Column("params", Json, nullable=False),
        sa.Column("params_sha", sa.LargeBinary(), nullable=False),
        sa.Column("remote_key", sa.String(64), nullable=False),
        sa.Column("guarantee", sa.String(12), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("fence", sa.BigInteger(), nullable=False, server_default="1"),
        sa.Column("lease_owner", sa.String(128), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("deadline_ms", sa.Integer(), nullable=False),
        sa.Column("settle_ms", sa.Integer(), nullable=False),
        sa.Column("baseline", Json, nullable=True),
        sa.Column("serial_key", sa.String(200), nullable=True),
        sa.Column("hold_id", sa.Uuid(), nullable=True),
        sa.Column("outcome", Json, nullable=True),
        sa.Column("verify_attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("next_verify_at", UtcDateTime(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("called_at", UtcDateTime(), nullable=False),
        sa.Column("resolved_at", UtcDateTime(), nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.UniqueConstraint("agent_id", "key"),
        *_effect_checks(),
    )
    _partial_index("ix_effects_due", "effects", ["next_verify_at"], "state IN ('intent', 'ready', 'in_doubt')")
    one_open = "serial_key IS NOT NULL AND state NOT IN ('succeeded', 'failed')"
    _partial_index("uq_effects_serial", "effects", ["agent_id", "serial_key"], one_open, unique=True)
    op.create_index("ix_effects_agent", "effects", ["agent_id", "service", "state"])


def _effect_checks() -> list[sa.CheckConstraint]:
    conditions = {
        "state_known": "state IN ('intent', 'ready', 'in_doubt', 'manual', 'succeeded', 'failed')",
        "guarantee_known": "guarantee IN ('keyed', 'natural', 'verifiable', 'blind')",
        "outcome_when_ended": "(state IN ('succeeded', 'failed')) = (outcome IS NOT NULL)",
        "resolved_when_ended": "(state IN ('succeeded', 'failed')) = (resolved_at IS NOT NULL)",
        "open_is_looked_at": "state NOT IN ('intent', 'ready', 'in_doubt') OR next_verify_at IS NOT NULL",
    }
    return [sa.CheckConstraint(condition, name=name) for name, condition in conditions.items()]


def _evidence() -> None:
    op.create_table(
        "effect_evidence",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("effect_id", sa.Uuid(), sa.ForeignKey("effects.id"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("detail", Json, nullable=True),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_effect_evidence_effect_id", "effect_evidence", ["effect_id"])


def _breaks() -> None:
    op.create_table(
        "breaks",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("currency", sa.String(16), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(16), nullable=False, server_default="open"),
        sa.Column("effect_id", sa.Uuid(), nullable=True),
        sa.Column("txn_id", sa.Uuid(), nullable=True),
        sa.Column("evidence", Json, nullable=False),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("sightings", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("opened_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("resolved_at", UtcDateTime(), nullable=True),
        sa.CheckConstraint(
            "state IN ('open', 'assigned', 'escalated', 'resolved', 'auto_resolved')", name="state_known"
        ),
        sa.CheckConstraint(
            "(state IN ('resolved', 'auto_resolved')) = (resolved_at IS NOT NULL)", name="resolved_when_ended"
        ),
    )
    _partial_index("uq_breaks_open", "breaks", ["fingerprint"], "resolved_at IS NULL", unique=True)
    op.create_index("ix_breaks_agent", "breaks", ["agent_id", "service", "state"])


def _reconciliation() -> None:
    op.create_table(
        "recon_cursors",
        sa.Column("agent_id", sa.String(128), primary_key=True),
        sa.Column("service", sa.String(64), primary_key=True),
        sa.Column("next_due_at", UtcDateTime(), nullable=False),
        sa.Column("lease_owner", sa.String(128), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("strikes", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("status", sa.String(12), nullable=True),
        sa.Column("checked_at", UtcDateTime(), nullable=True),
        sa.Column("matched_at", UtcDateTime(), nullable=True),
        sa.Column("watermark", Json, nullable=True),
    )
    op.create_index("ix_recon_cursors_due", "recon_cursors", ["next_due_at"])
    op.create_table(
        "recon_runs",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("agent_id", sa.String(128), nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("currency", sa.String(16), nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("expected", sa.BigInteger(), nullable=False),
        sa.Column("observed", sa.BigInteger(), nullable=True),
        sa.Column("difference", sa.BigInteger(), nullable=True),
        sa.Column("evidence", Json, nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("status IN ('matched', 'timing', 'break', 'stale')", name="status_known"),
        sa.CheckConstraint("(status = 'stale') = (observed IS NULL)", name="stale_is_unknown"),
    )
    op.create_index("ix_recon_runs_agent", "recon_runs", ["agent_id", "service", "finished_at"])


def _partial_index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, postgresql_where=condition, sqlite_where=condition)


def _guard_on_postgres() -> None:
    op.execute(
        "CREATE FUNCTION agentstate_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION '% is append-only: % is refused; correct a mistake by a new transaction', "
        "TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation'; END $$"
    )
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION agentstate_append_only()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION agentstate_append_only()"
        )
    # All entries of a transaction are inserted by one statement, so the sum is checked once, over just those rows.
    op.execute(
        "CREATE FUNCTION agentstate_entries_balance() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF EXISTS (SELECT 1 FROM added JOIN accounts ON accounts.id = added.account_id "
        "GROUP BY added.txn_id, accounts.currency HAVING sum(added.amount) <> 0) THEN "
        "RAISE EXCEPTION 'the entries of a transaction do not sum to zero' USING ERRCODE = 'check_violation'; "
        "END IF; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER entries_balance AFTER INSERT ON entries REFERENCING NEW TABLE AS added "
        "FOR EACH STATEMENT EXECUTE FUNCTION agentstate_entries_balance()"
    )
    # Room on each page for the next version of an account row: its balance changes with every posting.
    op.execute("ALTER TABLE accounts SET (fillfactor = 70)")


def _guard_on_sqlite() -> None:
    for table in _APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN "
                f"SELECT RAISE(ABORT, '{table} is append-only: {verb} is refused; "
                "correct a mistake by a new transaction'); END"
            )
    # REPLACE deletes the row that it meets without telling the triggers on DELETE.
    op.execute(
        "CREATE TRIGGER entries_no_replace BEFORE INSERT ON entries WHEN EXISTS (SELECT 1 FROM entries "
        "WHERE account_id = NEW.account_id AND seq = NEW.seq) BEGIN "
        "SELECT RAISE(ABORT, 'entries is append-only: REPLACE is refused'); END"
    )
    # Here the row is skipped, as ON CONFLICT DO NOTHING asks for, whatever the statement asked for.
    op.execute(
        "CREATE TRIGGER ledger_transactions_no_replace BEFORE INSERT ON ledger_transactions WHEN EXISTS ("
        "SELECT 1 FROM ledger_transactions WHERE id = NEW.id OR resolves = NEW.resolves "
        "OR (agent_id = NEW.agent_id AND scope = NEW.scope AND key = NEW.key)) BEGIN SELECT RAISE(IGNORE); END"
    )


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
