"""On Postgres the ledger's entries lie in a table for each month; on SQLite they stay in one.

Nothing about an entry changes: the old rows are copied as they are, in one transaction, while postings wait.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentstate.store.tables.base import UtcDateTime

revision = "0011_partitions"
down_revision = "0010_updates"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    # The store's connections give a statement 30 s; copying a long history takes what it takes.
    op.execute("SET LOCAL statement_timeout = 0")
    op.execute("LOCK TABLE accounts, entries IN ACCESS EXCLUSIVE MODE")
    _put_aside()
    _entries()
    _months()
    op.execute("INSERT INTO entries SELECT * FROM entries_before")
    op.execute("DROP TABLE entries_before")
    _relations()
    _forward_only()


def _put_aside() -> None:
    op.execute("ALTER TABLE entries RENAME TO entries_before")
    for name in ("ix_entries_txn_id", "ix_entries_time", "pk_entries"):
        op.execute(f"ALTER INDEX {name} RENAME TO {name}_before")


def _entries() -> None:
    op.create_table(
        "entries",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("txn_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("balance_after", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("amount <> 0", name="moves"),
        sa.CheckConstraint("seq > 0", name="seq_positive"),
        postgresql_partition_by="RANGE (recorded_at)",
    )
    op.create_index("ix_entries_txn_id", "entries", ["txn_id"])
    op.create_index("ix_entries_time", "entries", ["account_id", "recorded_at"])
    # What no month was made for lands here, so that no posting is ever refused for the want of a table.
    op.execute("CREATE TABLE entries_other (LIKE entries INCLUDING CONSTRAINTS)")
    op.execute("ALTER TABLE entries_other ADD PRIMARY KEY (account_id, seq)")
    op.execute("ALTER TABLE entries ATTACH PARTITION entries_other DEFAULT")


def _months() -> None:
    schema = op.get_bind().execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    # The owner's rights, because the application's role may make no tables, and must not.
    op.execute(
        f"""CREATE FUNCTION agentstate_add_entries_month(moment timestamptz) RETURNS boolean
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp SET lock_timeout = '5s' AS $$
        DECLARE
            first timestamp := date_trunc('month', moment AT TIME ZONE 'UTC');
            low timestamptz := first AT TIME ZONE 'UTC';
            high timestamptz := (first + interval '1 month') AT TIME ZONE 'UTC';
            name text := 'entries_' || to_char(first, 'YYYY_MM');
        BEGIN
            PERFORM pg_advisory_xact_lock(x'61676e75'::bigint);
            IF to_regclass(name) IS NOT NULL THEN
                RETURN false;
            END IF;
            IF EXISTS (SELECT 1 FROM entries_other WHERE recorded_at >= low AND recorded_at < high) THEN
                RETURN false;
            END IF;
            EXECUTE format('CREATE TABLE %I (LIKE entries INCLUDING CONSTRAINTS)', name);
            EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (account_id, seq)', name);
            EXECUTE format('ALTER TABLE entries ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, low, high);
            PERFORM agentstate_guard_entries_part(name);
            RETURN true;
        END $$"""  # noqa: S608 made of texts of ours
    )
    # Statement triggers are those of the table that is named: nobody gets around them by naming a month.
    op.execute(
        """CREATE FUNCTION agentstate_guard_entries_part(part text) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            EXECUTE format('CREATE TRIGGER entries_no_truncate BEFORE TRUNCATE ON %I '
                'FOR EACH STATEMENT EXECUTE FUNCTION agentstate_append_only()', part);
            EXECUTE format('CREATE TRIGGER entries_balance AFTER INSERT ON %I REFERENCING NEW TABLE AS added '
                'FOR EACH STATEMENT EXECUTE FUNCTION agentstate_entries_balance()', part);
        END $$"""
    )
    op.execute("REVOKE ALL ON FUNCTION agentstate_add_entries_month(timestamptz) FROM PUBLIC")
    op.execute("REVOKE ALL ON FUNCTION agentstate_guard_entries_part(text) FROM PUBLIC")
    op.execute("SELECT agentstate_guard_entries_part('entries_other')")
    op.execute(
        "SELECT agentstate_add_entries_month(month) FROM (SELECT DISTINCT date_trunc('month', "
        "recorded_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' FROM entries_before) AS found (month)"
    )
    op.execute(
        "SELECT agentstate_add_entries_month(now() + make_interval(months => ahead)) "
        "FROM generate_series(0, 3) AS ahead"
    )


def _relations() -> None:
    op.execute("ALTER TABLE entries ADD CONSTRAINT fk_entries_account_id FOREIGN KEY (account_id) REFERENCES accounts")
    op.execute(
        "ALTER TABLE entries ADD CONSTRAINT fk_entries_txn_id FOREIGN KEY (txn_id) REFERENCES ledger_transactions"
    )
    op.execute(
        "CREATE TRIGGER entries_append_only BEFORE UPDATE OR DELETE ON entries "
        "FOR EACH ROW EXECUTE FUNCTION agentstate_append_only()"
    )
    op.execute(
        "CREATE TRIGGER entries_no_truncate BEFORE TRUNCATE ON entries "
        "FOR EACH STATEMENT EXECUTE FUNCTION agentstate_append_only()"
    )
    op.execute(
        "CREATE TRIGGER entries_balance AFTER INSERT ON entries REFERENCING NEW TABLE AS added "
        "FOR EACH STATEMENT EXECUTE FUNCTION agentstate_entries_balance()"
    )


def _forward_only() -> None:
    """A month's own key cannot see the other months, so the account row keeps old numbers from being given again."""
    op.execute(
        "CREATE OR REPLACE FUNCTION agentstate_entries_balance() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF EXISTS (SELECT 1 FROM added JOIN accounts ON accounts.id = added.account_id "
        "GROUP BY added.txn_id, accounts.currency HAVING sum(added.amount) <> 0) THEN "
        "RAISE EXCEPTION 'the entries of a transaction do not sum to zero' USING ERRCODE = 'check_violation'; "
        "END IF; "
        "IF EXISTS (SELECT 1 FROM added JOIN accounts ON accounts.id = added.account_id "
        "GROUP BY accounts.id HAVING max(added.seq) < accounts.version) THEN "
        "RAISE EXCEPTION 'entries is append-only: a number that an account has passed is refused' "
        "USING ERRCODE = 'unique_violation'; "
        "END IF; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE FUNCTION agentstate_account_forward() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'account % cannot go back from its entry % to %', OLD.id, OLD.version, NEW.version "
        "USING ERRCODE = 'restrict_violation'; END $$"
    )
    op.execute(
        "CREATE TRIGGER accounts_forward BEFORE UPDATE ON accounts FOR EACH ROW "
        "WHEN (NEW.version < OLD.version) EXECUTE FUNCTION agentstate_account_forward()"
    )


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
