"""Versioned state on Postgres and SQLite: no save is lost, no blob is wiped, what was saved stays.

The number in a test's name is that of the defect that it shows not to happen.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import DatabaseError

from agentstate.errors import (
    AmountInvalid,
    ConfigurationError,
    Conflict,
    InvalidInput,
    KeyReused,
    NotFound,
    SchemaOutdated,
    TooLarge,
)
from agentstate.money.amounts import Money
from agentstate.money.ledger.ledger import TransactionLedger
from agentstate.money.reconciliation.portfolio_snapshots import SnapshotTaker
from agentstate.state import versions
from agentstate.state.agent_db import AgentDB, migrate_slice
from agentstate.state.agent_state import CURRENT_SCHEMA, AgentState
from agentstate.store.store import Store
from agentstate.store.tables import metadata
from agentstate.store.tables.base import db_time
from agentstate.store.tables.state import agent_state_versions, agent_states

V1 = {"balance": Decimal("1.50"), "session_count": 2, "unknown": ["kept"]}


_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def store(module_database_url: str) -> Iterator[Store]:
    opened = Store.open(module_database_url, pool_size=10)
    yield opened
    opened.close()


@pytest.fixture
def db(store: Store) -> AgentDB:
    return AgentDB(store)


@pytest.fixture
def agent_id() -> str:
    """A new agent."""
    return f"ag_state_{next(_numbers)}"


def written_by_another_version(store: Store, agent_id: str, blob: dict[str, Any], schema: int) -> None:
    """A save as another version of agentstate makes it."""
    with store.transaction() as tx:
        now = versions.lock_head(tx, agent_id)
        versions.append_version(tx, agent_id, now, schema_version=schema, state=blob, cause=versions.SAVE)


def side_by_side(number: int, work: Callable[[], None]) -> list[BaseException]:
    """Do `work` in threads that begin together; what they raised."""
    gate, raised = threading.Barrier(number), []

    def run() -> None:
        try:
            gate.wait()
            work()
        except BaseException as error:  # noqa: BLE001 handed to the test
            raised.append(error)

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


@contextmanager
def statements(store: Store) -> Iterator[list[tuple[str, Any]]]:
    """What is executed on the store meanwhile."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: Any) -> None:
        seen.append((statement, parameters))

    sa.event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(store.engine, "before_cursor_execute", note)


# The ledger


@pytest.mark.guide_defect(21)
def test_an_amount_of_zero_is_refused_in_words_and_never_unknown(db: AgentDB, agent_id: str) -> None:
    db.save_state(agent_id, AgentState(agent_id=agent_id))
    for nothing in (Decimal(0), "0.00", None):
        with pytest.raises(AmountInvalid):
            db.append_transaction(agent_id, "bet", nothing, {})  # type: ignore[arg-type]


@pytest.mark.guide_defect(22)
def test_no_transaction_of_an_agent_that_is_not_there(db: AgentDB, agent_id: str, store: Store) -> None:
    with pytest.raises(NotFound, match=agent_id):
        db.append_transaction(agent_id, "bet", "1", {})
    assert TransactionLedger(store, agent_id).recent() == []
    row = {"agent_id": agent_id, "version": 1, "schema_version": 3, "state": {}, "cause": "save"}
    ghost = sa.insert(agent_state_versions).values({**row, "saved_at": db_time()})
    with pytest.raises(DatabaseError, match=r"(?i)foreign key"), store.transaction() as tx:
        tx.connection.execute(ghost)


@pytest.mark.guide_defect(23)
def test_exact_values_in_the_payload(db: AgentDB, agent_id: str, store: Store) -> None:
    db.save_state(agent_id, AgentState(agent_id=agent_id))
    payload = {"odds": Decimal("1.90"), "cost": Money("2"), "pair": (1, {"$": ["decimal", "x"]})}
    db.append_transaction(agent_id, "deposit", Decimal(5), payload, key="d1")
    found = TransactionLedger(store, agent_id).find("d1")
    assert found is not None
    assert found.meta == {"payload": payload}


@pytest.mark.guide_defect(24)
def test_an_old_blob_is_stored_in_the_newest_schema(db: AgentDB, agent_id: str) -> None:
    db.save_state(agent_id, V1)
    state = db.load_state(agent_id)
    assert state is not None
    assert (state.schema_version, state.portfolio) == (CURRENT_SCHEMA, {"usdc": Decimal("1.50")})
    assert state.extra == {"unknown": ["kept"]}
    [version] = db.list_versions(agent_id)
    assert version.schema_version == version.state["schema_version"] == CURRENT_SCHEMA


@pytest.mark.guide_defect(25)
def test_nothing_is_wiped_when_the_version_is_left_out(db: AgentDB, agent_id: str) -> None:
    portfolio = {"usdc": Decimal(250), "eth": Decimal(2)}
    db.save_state(agent_id, {"agent_id": agent_id, "portfolio": portfolio, "session_count": 1, "preferences": {}})
    state = db.load_state(agent_id)
    assert state is not None
    assert state.portfolio == portfolio
    with pytest.raises(InvalidInput, match="schema_version"):
        db.save_state(agent_id, {"session_count": 2}, version=state.version)
    assert db.load_state(agent_id) == state


def one_more(state: AgentState) -> AgentState:
    return replace(state, session_count=state.session_count + 1)


@pytest.mark.guide_defect(26)
def test_no_update_is_lost_by_compare_and_set(db: AgentDB, agent_id: str) -> None:
    db.save_state(agent_id, AgentState(agent_id=agent_id))

    def work() -> None:
        done = 0
        while done < 20:
            state = db.load_state(agent_id)
            assert state is not None
            try:
                db.save_state(agent_id, one_more(state))
            except Conflict:
                continue
            done += 1

    assert side_by_side(4, work) == []
    state = db.load_state(agent_id)
    assert state is not None
    assert (state.session_count, state.version) == (80, 81)


@pytest.mark.guide_defect(26)
def test_no_update_is_lost_by_update_state(db: AgentDB, agent_id: str) -> None:
    db.save_state(agent_id, AgentState(agent_id=agent_id))
    assert side_by_side(4, lambda: [db.update_state(agent_id, one_more) for _ in range(50)] and None) == []
    state = db.load_state(agent_id)
    assert state is not None
    assert (state.session_count, state.version) == (200, 201)
    assert [version.version for version in db.list_versions(agent_id, limit=300)] == list(range(201, 0, -1))


def test_a_stale_save_is_told_both_versions_and_changes_nothing(db: AgentDB, agent_id: str) -> None:
    first = db.save_state(agent_id, AgentState(agent_id=agent_id, portfolio={"usdc": "1"}))
    second = db.save_state(agent_id, replace(first, portfolio={"usdc": "2"}))
    third = db.save_state(agent_id, replace(second, portfolio={"usdc": "3"}))
    with pytest.raises(Conflict, match="at version 3, this save has seen version 1"):
        db.save_state(agent_id, replace(first, portfolio={"usdc": "4"}))
    with pytest.raises(Conflict, match="has seen version 0"):
        db.save_state(agent_id, {"schema_version": 3, "portfolio": {}})
    with pytest.raises(Conflict, match="has seen version 9"):
        db.save_state(agent_id, third, version=9)
    assert db.load_state(agent_id) == third


def test_of_many_first_saves_one_wins(db: AgentDB, agent_id: str) -> None:
    raised = side_by_side(8, lambda: db.save_state(agent_id, AgentState(agent_id=agent_id)) and None)
    assert [type(error) for error in raised] == [Conflict] * 7
    assert len(db.list_versions(agent_id)) == 1


@pytest.mark.guide_defect(27)
def test_a_store_in_memory_alone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="memory"):
        Store.open("sqlite:///:memory:")


@pytest.mark.guide_defect(28)
def test_sums_are_exact(db: AgentDB, agent_id: str, store: Store) -> None:
    db.save_state(agent_id, AgentState(agent_id=agent_id))
    for _ in range(10):
        db.append_transaction(agent_id, "faucet", Decimal("0.1"))
    db.append_transaction(agent_id, "win", "9007199254740.993001")
    ledger = TransactionLedger(store, agent_id)
    assert ledger.balance_from_ledger() == Decimal("9007199254741.993001")
    for beyond in ("123456789012345678901234567890123", Decimal("1E-18")):
        with pytest.raises(AmountInvalid):
            db.append_transaction(agent_id, "win", beyond)


@pytest.mark.guide_defect(29)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE agent_state_versions SET cause = 'x'",
        "DELETE FROM agent_state_versions",
        "UPDATE ledger_transactions SET kind = 'x'",
        "DELETE FROM ledger_transactions",
    ],
)
def test_history_cannot_be_changed(db: AgentDB, agent_id: str, store: Store, statement: str) -> None:
    db.save_state(agent_id, AgentState(agent_id=agent_id))
    db.append_transaction(agent_id, "faucet", "1")
    with pytest.raises(DatabaseError, match="append-only"), store.transaction() as tx:
        tx.connection.exec_driver_sql(statement)
    assert len(db.list_versions(agent_id)) == 1


@pytest.mark.guide_defect(29)
def test_nor_by_the_back_door(db: AgentDB, agent_id: str, store: Store) -> None:
    db.save_state(agent_id, AgentState(agent_id=agent_id))
    statement = (
        "TRUNCATE agent_state_versions CASCADE"
        if store.database.name == "postgresql"
        else "INSERT OR REPLACE INTO agent_state_versions SELECT * FROM agent_state_versions"
    )
    with pytest.raises(DatabaseError, match="append-only"), store.transaction() as tx:
        tx.connection.exec_driver_sql(statement)
    with pytest.raises(DatabaseError), store.transaction() as tx:
        tx.connection.execute(sa.delete(agent_states).where(agent_states.c.agent_id == agent_id))


@pytest.mark.guide_defect(30)
def test_a_retried_append_is_one_transaction(db: AgentDB, agent_id: str, store: Store) -> None:
    db.save_state(agent_id, AgentState(agent_id=agent_id))
    first, again = (db.append_transaction(agent_id, "faucet", "5", {"n": 1}, key="f1") for _ in range(2))
    assert (first.id, again.replayed) == (again.id, True)
    with pytest.raises(KeyReused):
        db.append_transaction(agent_id, "faucet", "6", {"n": 1}, key="f1")
    assert TransactionLedger(store, agent_id).balance_from_ledger() == 5


@pytest.mark.guide_defect(31)
@pytest.mark.parametrize("lookalike", [{"__decimal__": "abc"}, {"$": ["decimal", "abc"]}, {"$": {"$": []}}])
def test_data_that_looks_like_a_tag_stays_readable(db: AgentDB, agent_id: str, lookalike: Any) -> None:
    db.save_state(agent_id, AgentState(agent_id=agent_id, preferences={"odd": lookalike}, extra={"$": lookalike}))
    state = db.load_state(agent_id)
    assert state is not None
    assert (state.preferences, state.extra) == ({"odd": lookalike}, {"$": lookalike})


class NobodyReads:
    def read_last_seen(self, *_: Any) -> Any:
        raise AssertionError


@pytest.mark.guide_defect(32)
def test_reading_what_was_saved_takes_an_index_and_no_sorting(db: AgentDB, agent_id: str, store: Store) -> None:
    now = db_now(store)
    with statements(store) as seen:
        db.load_state(agent_id)
        db.load_state(agent_id, as_of=now)
        db.list_versions(agent_id, before=5)
        SnapshotTaker(store, NobodyReads()).find(agent_id)
    queries = [(statement, values) for statement, values in seen if statement.startswith("SELECT")]
    assert len(queries) == 4
    for statement, values in queries:
        plan = explained(store, statement, values)
        assert "INDEX" in plan.upper(), plan
        assert "SORT" not in plan.upper(), plan
        assert "B-TREE" not in plan.upper(), plan


def db_now(store: Store) -> datetime:
    with store.transaction() as tx:
        return tx.now()


def explained(store: Store, statement: str, values: Any) -> str:
    with store.transaction() as tx:
        if tx.database.name == "postgresql":
            # A table of a few rows is read whole, whatever indexes it has.
            tx.connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            tx.connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
        verb = "EXPLAIN" if tx.database.name == "postgresql" else "EXPLAIN QUERY PLAN"
        return "\n".join(str(row) for row in tx.connection.exec_driver_sql(f"{verb} {statement}", values))


@pytest.mark.guide_defect(33)
def test_the_connection_is_kept(module_database_url: str, agent_id: str) -> None:
    store, opened = Store.open(module_database_url), []
    sa.event.listen(store.engine, "connect", lambda *_: opened.append(1))
    db = AgentDB(store)
    for _ in range(20):
        db.update_state(agent_id, one_more)
    store.close()
    assert len(opened) == 1


@pytest.mark.guide_defect(34)
def test_order_is_by_number_whatever_the_clock_does(db: AgentDB, agent_id: str, store: Store) -> None:
    state = db.save_state(agent_id, AgentState(agent_id=agent_id))
    with store.transaction() as tx:
        # As after a clock that ran an hour ahead was set right.
        ahead = tx.now() + timedelta(hours=1)
        tx.connection.execute(sa.update(agent_states).where(agent_states.c.agent_id == agent_id).values(saved_at=ahead))
    db.save_state(agent_id, one_more(state))
    newest, oldest = db.list_versions(agent_id)
    assert (newest.version, oldest.version) == (2, 1)
    assert newest.saved_at == ahead
    found = db.load_state(agent_id, as_of=ahead)
    assert found is not None
    assert found.version == 2


# Time, schemas, limits


@pytest.mark.guide_defect(149)
def test_the_state_as_of_any_time_is_kept(db: AgentDB, agent_id: str) -> None:
    state = AgentState(agent_id=agent_id)
    for _ in range(3):
        state = db.save_state(agent_id, one_more(state))
    saves = db.list_versions(agent_id)[::-1]
    for number, save in enumerate(saves, 1):
        found = db.load_state(agent_id, version=number)
        assert found is not None
        assert (found.session_count, found.version) == (number, number)
        at = db.load_state(agent_id, as_of=save.saved_at)
        assert at is not None
        assert at.version >= number
    assert db.load_state(agent_id, as_of=saves[0].saved_at - timedelta(seconds=1)) is None
    assert db.load_state(agent_id, version=4) is None
    with pytest.raises(InvalidInput, match="zone"):
        db.load_state(agent_id, as_of=datetime(2026, 1, 1))  # noqa: DTZ001 that is the case


def test_history_has_pages(db: AgentDB, agent_id: str) -> None:
    for _ in range(5):
        db.update_state(agent_id, one_more)
    assert [save.version for save in db.list_versions(agent_id, limit=2)] == [5, 4]
    assert [save.version for save in db.list_versions(agent_id, limit=2, before=4)] == [3, 2]
    assert {save.cause for save in db.list_versions(agent_id)} == {"save"}
    for limit in (0, -1, 1_001):
        with pytest.raises(InvalidInput, match="limit"):
            db.list_versions(agent_id, limit=limit)


@pytest.mark.guide_defect(56)
def test_a_state_of_a_newer_version_is_neither_read_nor_replaced(db: AgentDB, agent_id: str, store: Store) -> None:
    blob = {"schema_version": CURRENT_SCHEMA + 1, "agent_id": agent_id, "portfolio": {}, "new": "thing"}
    written_by_another_version(store, agent_id, blob, CURRENT_SCHEMA + 1)
    with pytest.raises(SchemaOutdated, match="Update agentstate"):
        db.load_state(agent_id)
    with pytest.raises(SchemaOutdated, match="Update agentstate"):
        db.save_state(agent_id, AgentState(agent_id=agent_id), version=1)
    assert [save.state for save in db.list_versions(agent_id)] == [blob]


def test_stored_states_are_migrated_in_slices_and_what_cannot_be_is_left(store: Store, db: AgentDB) -> None:
    old = [f"am_{store.database.name}_{number}" for number in range(5)]
    for agent in old:
        written_by_another_version(store, agent, {**V1, "agent_id": agent}, 1)
    broken = f"am_{store.database.name}_broken"
    written_by_another_version(store, broken, {"agent_id": broken}, 1)
    before = {agent: db.load_state(agent) for agent in old}

    migrated, refused, after = 0, dict[str, str](), ""
    for _ in range(20):
        done = migrate_slice(store, after=after, limit=2)
        migrated, refused = migrated + done.migrated, {**refused, **done.refused}
        if done.next_after is None:
            break
        after = done.next_after
    assert migrated == len(old)
    assert list(refused) == [broken]
    for agent in old:
        newest, oldest = db.list_versions(agent)
        assert (newest.schema_version, newest.cause) == (CURRENT_SCHEMA, "migration")
        assert oldest.state == {**V1, "agent_id": agent}
        assert db.load_state(agent) == before[agent]
    [kept] = db.list_versions(broken)
    assert kept.state == {"agent_id": broken}
    assert migrate_slice(store).migrated == 0


def test_a_writer_who_has_seen_the_version_before_a_migration_is_told(store: Store, db: AgentDB, agent_id: str) -> None:
    written_by_another_version(store, agent_id, {**V1, "agent_id": agent_id}, 1)
    seen = db.load_state(agent_id)
    assert seen is not None
    assert migrate_slice(store).migrated == 1
    with pytest.raises(Conflict, match="version 2, this save has seen version 1"):
        db.save_state(agent_id, one_more(seen))


def test_secrets_and_strangers_and_large_states_are_refused(db: AgentDB, agent_id: str, store: Store) -> None:
    word = "_".join(("pf", "test", "abc123xyz"))
    with pytest.raises(InvalidInput, match=r"state\.preferences\.key_of_casino") as caught:
        db.save_state(agent_id, AgentState(agent_id=agent_id, preferences={"key_of_casino": word}))
    assert word not in str(caught.value)
    with pytest.raises(InvalidInput, match=r"state\.api_key"):
        db.save_state(agent_id, {"schema_version": 3, "portfolio": {}, "api_key": "abc"})
    with pytest.raises(InvalidInput, match="not of"):
        db.save_state(agent_id, AgentState(agent_id="ag_other"))
    with pytest.raises(TooLarge, match="100"):
        AgentDB(store, max_bytes=100).save_state(agent_id, AgentState(agent_id=agent_id, extra={"x": "y" * 100}))
    assert db.load_state(agent_id) is None
    db.save_state(agent_id, AgentState(agent_id=agent_id))
    with pytest.raises(InvalidInput, match=r"payload\.password"):
        db.append_transaction(agent_id, "bet", "1", {"password": "hunter2"})


def test_a_save_joins_the_callers_transaction(db: AgentDB, agent_id: str, store: Store) -> None:
    with store.transaction() as tx:
        db.save_state(agent_id, AgentState(agent_id=agent_id), tx=tx)
        db.append_transaction(agent_id, "faucet", "1", key="f1", tx=tx)
        assert db.load_state(agent_id, tx=tx) is not None
        tx.connection.rollback()
    assert db.load_state(agent_id) is None
    assert TransactionLedger(store, agent_id).find("f1") is None


def test_the_tables_are_those_of_the_revision(store: Store) -> None:
    ours = sa.MetaData(naming_convention=metadata.naming_convention)
    for table in (agent_states, agent_state_versions):
        table.to_metadata(ours)
    only = {"include_name": lambda name, kind, _: kind != "table" or name in ours.tables, "compare_type": True}
    with store.read_connection() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=only), ours) == []
