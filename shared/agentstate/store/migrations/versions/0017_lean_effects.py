"""Effects at less cost: fewer index rows, checks that are cheap to run, one query for the balance of entries.

On Postgres a check is read anew by every statement, so each is written as the server keeps it: one constant list, no
casts. Nothing is allowed that was not, and nothing refused that was allowed.
"""

from __future__ import annotations

from alembic import op

revision = "0017_lean_effects"
down_revision = "0016_episodes"
branch_labels = None
depends_on = None

_ENDED = "'{succeeded,failed}'::text[]"
_CHECKS = {
    "state_known": "state = ANY ('{intent,ready,in_doubt,manual,succeeded,failed}'::text[])",
    "guarantee_known": "guarantee = ANY ('{keyed,natural,verifiable,blind}'::text[])",
    "outcome_when_ended": "(outcome IS NULL) = (resolved_at IS NULL)",
    "resolved_when_ended": f"(resolved_at IS NOT NULL) = (state = ANY ({_ENDED}))",
    "open_is_looked_at": "next_verify_at IS NOT NULL OR state <> ALL ('{intent,ready,in_doubt}'::text[])",
}


def upgrade() -> None:
    op.execute("DROP INDEX ix_effects_agent")
    op.execute(
        "CREATE INDEX ix_effects_agent ON effects (agent_id, service) WHERE state NOT IN ('succeeded', 'failed')"
    )
    if op.get_bind().dialect.name == "postgresql":
        _lean_checks()
        _newest_key()
        _one_look_at_entries()


def _lean_checks() -> None:
    for name, condition in _CHECKS.items():
        op.execute(f"ALTER TABLE effects DROP CONSTRAINT ck_effects_{name}")
        op.execute(f"ALTER TABLE effects ADD CONSTRAINT ck_effects_{name} CHECK ({condition})")


def _newest_key() -> None:
    """Make the key's index the newest: among indexes that cost the same the planner takes the newest.

    While the table has no statistics all indexes that begin with the agent cost the same, and a plan that was made
    then is kept: with any other it would walk through all effects of the agent to find one key.
    """
    op.execute("ALTER TABLE effects DROP CONSTRAINT uq_effects_agent_id_key")
    op.execute("ALTER TABLE effects ADD CONSTRAINT uq_effects_agent_id_key UNIQUE (agent_id, key)")


def _one_look_at_entries() -> None:
    """Entries that are in order are seen to be so by one query; only others are asked what is wrong."""
    op.execute(
        "CREATE OR REPLACE FUNCTION agentstate_entries_balance() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NOT EXISTS (SELECT FROM added JOIN accounts ON accounts.id = added.account_id "
        "GROUP BY added.txn_id, accounts.currency "
        "HAVING sum(added.amount) <> 0 OR min(added.seq - accounts.version) < 0) THEN RETURN NULL; END IF; "
        "IF EXISTS (SELECT FROM added JOIN accounts ON accounts.id = added.account_id "
        "GROUP BY added.txn_id, accounts.currency HAVING sum(added.amount) <> 0) THEN "
        "RAISE EXCEPTION 'the entries of a transaction do not sum to zero' USING ERRCODE = 'check_violation'; "
        "END IF; "
        "IF EXISTS (SELECT FROM added JOIN accounts ON accounts.id = added.account_id "
        "GROUP BY accounts.id HAVING max(added.seq) < accounts.version) THEN "
        "RAISE EXCEPTION 'entries is append-only: a number that an account has passed is refused' "
        "USING ERRCODE = 'unique_violation'; "
        "END IF; RETURN NULL; END $$"
    )
