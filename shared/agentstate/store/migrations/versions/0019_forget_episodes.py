"""Episodes stay append-only, but for an agent that is forgotten: all of them go, and a tombstone tells so.

A row may be removed when a tombstone of its agent covers it. On Postgres tombstones are written by one function, which
removes what they cover in the same step; the application's role can call it, and can neither remove an episode nor
write a tombstone by any other way.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agentstate.store.tables.base import UtcDateTime

revision = "0019_forget_episodes"
down_revision = "0018_tallies"
branch_labels = None
depends_on = None

_TOLD = "is append-only: DELETE is refused, unless the whole agent is forgotten"


def upgrade() -> None:
    op.create_table(
        "episode_tombstones",
        sa.Column("agent_id", sa.String(128), primary_key=True),
        sa.Column("life", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("to_seq", sa.BigInteger(), nullable=False),
        sa.Column("removed", sa.BigInteger(), nullable=False),
        sa.Column("forgotten_at", UtcDateTime(), nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        _keep_tombstones_on_postgres()
        _remove_what_is_covered_on_postgres()
        _forget_on_postgres()
    else:
        _on_sqlite()


def _keep_tombstones_on_postgres() -> None:
    op.execute(
        "CREATE TRIGGER episode_tombstones_append_only BEFORE UPDATE OR DELETE ON episode_tombstones "
        "FOR EACH ROW EXECUTE FUNCTION agentstate_append_only()"
    )
    op.execute(
        "CREATE TRIGGER episode_tombstones_no_truncate BEFORE TRUNCATE ON episode_tombstones "
        "FOR EACH STATEMENT EXECUTE FUNCTION agentstate_append_only()"
    )


def _schema() -> str:
    """Ours, for functions that must not take another's table of the same name, such as a temporary one, for ours."""
    found: str = op.get_bind().execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    return found


def _remove_what_is_covered_on_postgres() -> None:
    op.execute(
        f"""CREATE FUNCTION agentstate_forgotten_only() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {_schema()}, pg_temp AS $$
        BEGIN
            IF EXISTS (SELECT FROM (SELECT agent_id, max(seq) AS seq FROM gone GROUP BY agent_id) AS last
                WHERE last.seq > coalesce((SELECT max(to_seq) FROM episode_tombstones AS stone
                    WHERE stone.agent_id = last.agent_id), 0))
            THEN
                RAISE EXCEPTION '% {_TOLD}', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NULL;
        END $$"""  # noqa: S608 made of texts of ours
    )
    op.execute("DROP TRIGGER episodes_append_only ON episodes")
    op.execute(
        "CREATE TRIGGER episodes_append_only BEFORE UPDATE ON episodes "
        "FOR EACH ROW EXECUTE FUNCTION agentstate_append_only()"
    )
    # One look for a statement: an agent may have a million of them.
    op.execute(
        "CREATE TRIGGER episodes_forgotten_only AFTER DELETE ON episodes REFERENCING OLD TABLE AS gone "
        "FOR EACH STATEMENT EXECUTE FUNCTION agentstate_forgotten_only()"
    )


def _forget_on_postgres() -> None:
    # The lock is the one that `agentstate.memory.facts.tombstones` takes shared while it adds episodes of the agent.
    op.execute(
        f"""CREATE FUNCTION agentstate_forget_episodes(forgotten text) RETURNS integer
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = {_schema()}, pg_temp AS $$
        DECLARE
            upto bigint;
            many bigint;
            next_life integer;
        BEGIN
            PERFORM pg_advisory_xact_lock(x'61676570'::integer, hashtext(forgotten));
            SELECT coalesce(max(life), 0) + 1, coalesce(max(to_seq), 0) INTO next_life, upto
                FROM episode_tombstones WHERE agent_id = forgotten;
            SELECT count(*), greatest(upto, max(seq)) INTO many, upto FROM episodes WHERE agent_id = forgotten;
            INSERT INTO episode_tombstones (agent_id, life, to_seq, removed, forgotten_at)
                VALUES (forgotten, next_life, upto, many, clock_timestamp());
            DELETE FROM episodes WHERE agent_id = forgotten AND seq <= upto;
            RETURN next_life;
        END $$"""  # noqa: S608 made of texts of ours
    )
    op.execute("REVOKE ALL ON FUNCTION agentstate_forget_episodes(text) FROM PUBLIC")


def _on_sqlite() -> None:
    op.execute("DROP TRIGGER episodes_no_delete")
    op.execute(
        f"""CREATE TRIGGER episodes_no_delete BEFORE DELETE ON episodes
        WHEN OLD.seq > coalesce((SELECT max(to_seq) FROM episode_tombstones WHERE agent_id = OLD.agent_id), 0)
        BEGIN SELECT RAISE(ABORT, 'episodes {_TOLD}'); END"""  # noqa: S608 made of texts of ours
    )
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER episode_tombstones_no_{verb.lower()} BEFORE {verb} ON episode_tombstones BEGIN "
            f"SELECT RAISE(ABORT, 'episode_tombstones is append-only: {verb} is refused'); END"
        )
    op.execute(
        "CREATE TRIGGER episode_tombstones_no_replace BEFORE INSERT ON episode_tombstones WHEN EXISTS (SELECT 1 FROM "
        "episode_tombstones WHERE agent_id = NEW.agent_id AND life = NEW.life) BEGIN SELECT RAISE(IGNORE); END"
    )


def downgrade() -> None:
    raise NotImplementedError("accepted facts are never migrated away; restore a backup instead")
