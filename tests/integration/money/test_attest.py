"""Attesting on both databases: sound books give a root, and whatever was changed behind them is named."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from agentstate.errors import Unavailable
from agentstate.money import Attestor, Breaks, Damage, Money, TransactionLedger
from agentstate.money.audit import attest
from agentstate.money.ledger.accounts import account_id
from agentstate.money.ledger.postings import AccountKey
from agentstate.store.store import Store
from agentstate.store.tables.money import account_snapshots, accounts, attestations, entries

ONE = Money(1)
AVAILABLE = AccountKey("casino", "available", "USDC")


@pytest.fixture
def store(request: pytest.FixtureRequest, engine_name: str) -> Iterator[Store]:
    """A database of its own: attesting is about all of it."""
    opened = Store.open(request.getfixturevalue(f"{engine_name}_url"))
    yield opened
    opened.close()


@pytest.fixture(params=["postgres", "sqlite"])
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ledger(store: Store) -> TransactionLedger:
    """Ten postings: available has 10 entries and 91 USDC."""
    made = TransactionLedger(store, "ag_1")
    made.deposit("start", "casino", Money(100))
    for number in range(9):
        made.withdraw(f"w{number}", "casino", ONE)
    TransactionLedger(store, "ag_2").deposit("d", "wallet", ONE)
    return made


@contextmanager
def unguarded(store: Store) -> Iterator[sa.Connection]:
    """A transaction that no trigger watches: what an intruder with the owner's rights has."""
    with store.transaction() as tx:
        if tx.database.name == "postgresql":
            tx.connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            yield tx.connection
            return
        triggers = tx.connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").all()
        for name, _ in triggers:
            tx.connection.exec_driver_sql(f"DROP TRIGGER {name}")
        yield tx.connection
        for _, sql in triggers:
            tx.connection.exec_driver_sql(sql)


def entry(seq: int) -> Any:
    return (entries.c.account_id == account_id("ag_1", AVAILABLE)) & (entries.c.seq == seq)


ACCOUNT = accounts.c.id == account_id("ag_1", AVAILABLE)


def deleted(seq: int) -> Callable[[sa.Connection], Any]:
    return lambda connection: connection.execute(sa.delete(entries).where(entry(seq)))


def changed(seq: int, **values: Any) -> Callable[[sa.Connection], Any]:
    return lambda connection: connection.execute(sa.update(entries).where(entry(seq)).values(values))


def rewound(connection: sa.Connection) -> None:
    """The last entry removed, and the account row made to fit."""
    before = connection.execute(sa.select(entries).where(entry(9))).one()
    connection.execute(sa.delete(entries).where(entry(10)))
    values = {"version": 9, "balance": before.balance_after, "head": before.hash}
    connection.execute(sa.update(accounts).where(ACCOUNT).values(values))


TAMPERINGS = [
    pytest.param(changed(4, amount=-2_000_000), 4, "says a balance", id="amount"),
    pytest.param(changed(4, balance_after=1), 4, "says a balance", id="balance of an entry"),
    pytest.param(changed(4, recorded_at=sa.text("(SELECT max(recorded_at) FROM entries)")), 4, "seal", id="time"),
    pytest.param(changed(4, hash=bytes(32)), 4, "seal", id="seal"),
    pytest.param(deleted(4), 4, "is missing", id="entry deleted"),
    pytest.param(deleted(10), 10, "is missing", id="last entry deleted"),
    pytest.param(
        lambda c: c.execute(sa.update(accounts).where(ACCOUNT).values(balance=5)), 10, "account says", id="balance"
    ),
    pytest.param(lambda c: c.execute(sa.update(accounts).where(ACCOUNT).values(head=b"x")), 10, "head", id="head"),
    pytest.param(lambda c: c.execute(sa.update(accounts).where(ACCOUNT).values(version=9)), 10, "beyond", id="version"),
]


def found_at(damages: tuple[Damage, ...]) -> set[tuple[Any, ...]]:
    return {(damage.agent_id, damage.service, damage.bucket, damage.seq) for damage in damages}


def test_sound_books_give_one_root_until_something_is_posted(store: Store, ledger: TransactionLedger) -> None:
    attestor = Attestor(store)
    first, second = attestor.run(), attestor.run()
    assert (first.is_sound, first.accounts, first.entries, second.entries <= 20) == (True, 4, 22, True)
    assert first.root == second.root
    assert first.seal != second.seal
    ledger.withdraw("more", "casino", ONE)
    third = attestor.run()
    assert third.root != first.root
    assert attestor.run(whole=True).root == third.root
    assert [attestation.number for attestation in attestor.history()] == [4, 3, 2, 1]


@pytest.mark.parametrize(("tamper", "seq", "reason"), TAMPERINGS)
def test_tampering_is_named_by_account_and_entry(
    store: Store, ledger: TransactionLedger, tamper: Any, seq: int, reason: str
) -> None:
    with unguarded(store) as connection:
        tamper(connection)
    attestation = Attestor(store).run()
    [damage] = [damage for damage in attestation.damages if "sum to" not in damage.reason]
    assert found_at((damage,)) == {("ag_1", "casino", "available", seq)}
    assert reason in damage.reason
    assert attestation.accounts == 3
    assert any(found.kind == "ledger_damaged" for found in Breaks(store).find(agent_id="ag_1"))


@pytest.mark.parametrize(("tamper", "seq", "reason"), TAMPERINGS)
def test_tampering_below_an_attested_point_is_found_by_the_whole(
    store: Store, ledger: TransactionLedger, tamper: Any, seq: int, reason: str
) -> None:
    assert Attestor(store).run().is_sound
    with unguarded(store) as connection:
        tamper(connection)
    attestation = Attestor(store).run(whole=True)
    assert ("ag_1", "casino", "available", seq) in found_at(attestation.damages)


def test_a_history_cut_short_with_its_account_is_found(store: Store, ledger: TransactionLedger) -> None:
    with unguarded(store) as connection:
        rewound(connection)
    [damage] = Attestor(store).run().damages
    assert (damage.agent_id, damage.service, damage.seq) == ("ag_1", "casino", 10)
    assert "withdrawal 'w8'" in damage.reason


def test_an_attested_history_cut_short_is_found_at_once(store: Store, ledger: TransactionLedger) -> None:
    assert Attestor(store).run().is_sound
    with unguarded(store) as connection:
        rewound(connection)
    reasons = [damage.reason for damage in Attestor(store).run().damages]
    assert any("entry 10" in reason and "attested" in reason for reason in reasons)


def test_a_changed_attestation_is_found(store: Store, ledger: TransactionLedger) -> None:
    Attestor(store).run()
    with unguarded(store) as connection:
        connection.execute(sa.update(attestations).values(root=bytes(32)))
    [damage] = Attestor(store).run().damages
    assert (damage.seq, damage.reason) == (1, "attestation 1 was changed or removed")


@pytest.mark.parametrize("table", ["account_snapshots", "attestations"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET {} = {}", "DELETE FROM {}"])
def test_what_was_attested_cannot_be_changed(store: Store, ledger: TransactionLedger, table: str, verb: str) -> None:
    Attestor(store).run()
    column = "seq" if table == "account_snapshots" else "number"
    with pytest.raises(DBAPIError, match="append-only"), store.transaction() as tx:
        tx.connection.exec_driver_sql(verb.format(table, column, column))


def test_points_are_stored_on_the_way_and_sums_go_on_from_them(
    store: Store, ledger: TransactionLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attest, "SNAPSHOT_EVERY", 4)
    Attestor(store).run()
    mine = account_snapshots.c.account_id == account_id("ag_1", AVAILABLE)
    with store.read_connection() as connection:
        stored = connection.execute(
            sa.select(account_snapshots.c.seq, account_snapshots.c.balance).where(mine).order_by("seq")
        ).all()
    assert [tuple(row) for row in stored] == [(4, 97_000_000), (8, 93_000_000), (10, 91_000_000)]
    ledger.withdraw("more", "casino", ONE)
    assert ledger.balance_from_ledger() == ledger.balance_from_ledger(whole=True) == Decimal(90)
    with unguarded(store) as connection:
        changed(2, amount=-3_000_000)(connection)
    assert (ledger.balance_from_ledger(), ledger.balance_from_ledger(whole=True)) == (Decimal(90), Decimal(88))


@pytest.mark.parametrize("limit", ["stopping", "within_s"])
def test_a_stopped_run_keeps_what_it_recomputed(store: Store, ledger: TransactionLedger, limit: str) -> None:
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(Unavailable, match="goes on"):
        Attestor(store, **{limit: {"stopping": stopping, "within_s": 0.0}[limit]}).run()  # type: ignore[arg-type]
    attestor = Attestor(store)
    assert attestor.history() == []
    assert attestor.run().entries <= 20


def test_attesting_beside_posting_finds_nothing_wrong(store: Store, ledger: TransactionLedger) -> None:
    done = threading.Event()

    def post() -> None:
        number = 0
        while not done.is_set():
            ledger.append({"amount_usdc": "0.01", "service": "casino"}, key=f"p{(number := number + 1)}")

    posting = threading.Thread(target=post)
    posting.start()
    try:
        assert all(Attestor(store).run(whole=True).is_sound for _ in range(5))
    finally:
        done.set()
        posting.join()
