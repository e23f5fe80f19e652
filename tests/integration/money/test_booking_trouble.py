"""A receipt that arrived is booked: whatever the server refuses for now is tried again, and kept until it works."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from agentstate.errors import EffectError, EffectInDoubt, InvalidInput
from agentstate.money import (
    AgentEffects,
    Breaks,
    EffectRules,
    Effects,
    EffectState,
    Guarantee,
    Line,
    Money,
    OperationRegistry,
    TransactionLedger,
    call,
    spend,
)
from agentstate.money.effects.operation import Intent, Operation
from agentstate.store.store import Store, Transaction
from tests.worlds.books import buckets, let_time_pass

FIVE = Money(5)
HASTY = EffectRules(record_tries=2, record_pause_s=0.05)


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Store]:
    opened = Store.open(postgres_url, pool_size=10)
    yield opened
    opened.close()


@pytest.fixture
def books(postgres: Store) -> TransactionLedger:
    made = TransactionLedger(postgres, "ag_trouble")
    made.deposit("start", "casino", Money(100))
    return made


@pytest.fixture
def effects(postgres_url: str, books: TransactionLedger) -> Iterator[AgentEffects]:
    """Effects whose sessions wait 200 ms for a lock and 400 ms for a statement."""
    store = Store.open(postgres_url)

    def set_timeouts(connection: Any, _record: Any) -> None:
        connection.autocommit = True
        connection.execute("SET lock_timeout = 200")
        connection.execute("SET statement_timeout = 400")
        connection.autocommit = False

    sa.event.listen(store.engine, "connect", set_timeouts)
    yield AgentEffects(Effects(store, secret=b"test", rules=HASTY), books.agent_id)
    store.close()


@contextmanager
def locked_accounts(store: Store, agent_id: str) -> Iterator[None]:
    """Another transaction holds all accounts of the agent."""
    with store.transaction() as tx:
        rows = sa.text("SELECT id FROM accounts WHERE agent_id = :agent FOR UPDATE")
        tx.connection.execute(rows, {"agent": agent_id}).all()
        yield


class Locking:
    """A call that happens; when its answer comes, the accounts are locked by somebody else."""

    def __init__(self, store: Store, agent_id: str) -> None:
        self.count = 0
        self._lock = locked_accounts(store, agent_id)

    def __call__(self, _key: str) -> dict[str, int]:
        self.count += 1
        self._lock.__enter__()
        return {"bet_id": self.count}

    def release(self) -> None:
        self._lock.__exit__(None, None, None)


@pytest.mark.parametrize("guarantee", [Guarantee.BLIND, Guarantee.KEYED])
@pytest.mark.parametrize("by", ["caller", "sweep"])
def test_a_receipt_that_meets_a_locked_row_is_kept_and_booked(
    postgres: Store, books: TransactionLedger, effects: AgentEffects, guarantee: Guarantee, by: str
) -> None:
    send = Locking(postgres, books.agent_id)
    bet = call(send, service="casino", guarantee=guarantee, hold=FIVE, postings=lambda _r: spend("casino", Money(2)))
    with pytest.raises(EffectInDoubt, match="receipt is kept"):
        effects.execute_once("bet:1", bet)
    send.release()
    assert effects.get("bet:1").state is EffectState.IN_DOUBT
    assert buckets(books) == {"available": "95", "in_flight": "5"}
    if by == "sweep":
        let_time_pass(postgres, books.agent_id)
        # A worker does not know the function, and needs it not.
        [swept] = Effects(postgres).resolver.sweep()
        assert swept.state is EffectState.SUCCEEDED
    assert effects.execute_once("bet:1", bet) == {"bet_id": 1}
    assert send.count == 1
    assert buckets(books) == {"available": "98"}
    assert Breaks(postgres).find(agent_id=books.agent_id) == []


def raise_once(statement: str) -> Callable[[Transaction, Any], None]:
    """A follow-up that makes the server refuse its transaction the first time."""
    pending = [statement]

    def follow_up(tx: Transaction, _receipt: Any) -> None:
        if pending:
            tx.connection.exec_driver_sql(pending.pop())

    return follow_up


def raising(sqlstate: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION 'as told' USING ERRCODE = '{sqlstate}'; END $$"


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("SELECT pg_sleep(5)", id="statement timeout"),
        pytest.param(raising("40P01"), id="deadlock"),
        pytest.param(raising("40001"), id="serialization failure"),
        pytest.param(raising("53200"), id="out of memory"),
        pytest.param("SELECT pg_terminate_backend(pg_backend_pid())", id="connection killed"),
    ],
)
def test_what_the_server_refuses_for_now_is_tried_again(
    postgres: Store, books: TransactionLedger, effects: AgentEffects, statement: str
) -> None:
    bet = call(lambda _key: {"bet_id": 1}, service="casino", hold=FIVE, follow_up=raise_once(statement))
    assert effects.execute_once("bet:1", bet) == {"bet_id": 1}
    assert effects.get("bet:1").state is EffectState.SUCCEEDED
    assert buckets(books) == {"available": "95"}
    assert Breaks(postgres).find(agent_id=books.agent_id) == []


def test_a_real_deadlock_is_no_fault_of_the_postings(
    postgres: Store, books: TransactionLedger, effects: AgentEffects
) -> None:
    met = threading.Barrier(2, timeout=60)
    lock = "SELECT pg_advisory_xact_lock({})".format

    def cross(first: int, second: int) -> Callable[[Transaction, Any], None]:
        pending = [first]

        def follow_up(tx: Transaction, _receipt: Any) -> None:
            if pending:
                tx.connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
                tx.connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                tx.connection.exec_driver_sql(lock(pending.pop()))
                met.wait()
                tx.connection.exec_driver_sql(lock(second))

        return follow_up

    other = TransactionLedger(postgres, "ag_other")
    other.deposit("start", "casino", FIVE)
    engine = effects._engine

    def run(agent_id: str, first: int, second: int) -> Any:
        bet = call(lambda _key: {}, service="casino", hold=FIVE, follow_up=cross(first, second))
        return AgentEffects(engine, agent_id).execute_once("bet:1", bet)

    threads = [
        threading.Thread(target=run, args=arguments) for arguments in (("ag_other", 1, 2), (books.agent_id, 2, 1))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [engine.get(agent, "bet:1").state for agent in ("ag_other", books.agent_id)] == [EffectState.SUCCEEDED] * 2
    assert Breaks(postgres).find() == []


def test_an_overflow_is_a_fault_of_the_postings(
    postgres: Store, books: TransactionLedger, effects: AgentEffects
) -> None:
    def follow_up(tx: Transaction, _receipt: Any) -> None:
        tx.connection.exec_driver_sql("SELECT 9223372036854775807::bigint + 1")

    with pytest.raises(EffectError, match="postings could not be made"):
        effects.execute_once("bet:1", call(lambda _key: {}, service="casino", hold=FIVE, follow_up=follow_up))
    assert effects.get("bet:1").state is EffectState.SUCCEEDED
    assert [found.kind for found in Breaks(postgres).find(agent_id=books.agent_id)] == ["unposted"]


class Bet(Operation[Any]):
    """A registered bet whose postings are wrong until they are corrected."""

    name = "casino.mended"
    service = "casino"
    guarantee = Guarantee.BLIND
    needs_outside = False
    cost = Money(2)
    mended = False

    def params(self) -> dict[str, Any]:
        return {}

    def hold(self) -> Money:
        return FIVE

    def send(self, outside: Any, intent: Intent) -> Any:
        return {"bet_id": 1}

    def postings(self, receipt: Any) -> list[Line]:
        lines = spend("casino", self.cost)
        return lines if Bet.mended else lines[:1]


@pytest.fixture
def mended(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.setattr(Bet, "mended", False)
    return lambda: monkeypatch.setattr(Bet, "mended", True)


def test_an_unposted_success_is_booked_once_its_postings_are_right(
    store: Store, ledger: TransactionLedger, mended: Callable[[], None]
) -> None:
    registry = OperationRegistry()
    registry.add(Bet)
    effects = AgentEffects(Effects(store, registry=registry), ledger.agent_id)
    with pytest.raises(EffectError, match="agentstate effects book"):
        effects.execute_once("bet:1", Bet())
    with pytest.raises(InvalidInput):
        effects.book("bet:1")
    assert buckets(ledger) == {"available": "95", "in_flight": "5"}
    mended()
    assert effects.book("bet:1").state is EffectState.SUCCEEDED
    assert buckets(ledger) == {"available": "98"}
    assert Breaks(store).find(agent_id=ledger.agent_id) == []
    effects.book("bet:1")
    assert buckets(ledger) == {"available": "98"}


def test_an_unposted_call_of_ones_own_is_booked_by_lines(store: Store, ledger: TransactionLedger) -> None:
    effects = AgentEffects(Effects(store), ledger.agent_id)
    wrong = call(lambda _key: {}, service="casino", hold=FIVE, postings=lambda _r: spend("casino", FIVE)[:1])
    with pytest.raises(EffectError, match="postings could not be made"):
        effects.execute_once("bet:1", wrong)
    with pytest.raises(InvalidInput, match="give the lines"):
        effects.book("bet:1")
    effects.book("bet:1", lines=spend("casino", Money(1)))
    assert buckets(ledger) == {"available": "99"}
    assert Breaks(store).find(agent_id=ledger.agent_id) == []


def test_only_a_success_can_be_booked(store: Store, ledger: TransactionLedger) -> None:
    def lost(_key: str) -> None:
        raise TimeoutError

    effects = AgentEffects(Effects(store), ledger.agent_id)
    with pytest.raises(EffectInDoubt):
        effects.execute_once("bet:1", call(lost, service="casino", hold=FIVE))
    with pytest.raises(InvalidInput, match="only one that has succeeded"):
        effects.book("bet:1", lines=spend("casino", FIVE))
