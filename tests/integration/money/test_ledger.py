"""The ledger on both databases: posted once, balanced, append-only, never below its floors."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from agentstate.errors import (
    AmountInvalid,
    ConfigurationError,
    Conflict,
    InsufficientFunds,
    InvalidInput,
    KeyReused,
    NotFound,
    StoreBusy,
    Unbalanced,
)
from agentstate.money import Bucket, Line, Money, TransactionLedger, earn, spend
from agentstate.money.ledger.writer import hash_entry
from agentstate.runtime import Runtime
from agentstate.settings import Settings
from agentstate.store.store import Store
from agentstate.store.tables.money import accounts, entries, ledger_transactions
from tests.worlds.books import buckets

ONE = Money(1)
TRANSFERS = Path(__file__).with_name("transfers.py")


def counts(store: Store, agent_id: str) -> tuple[int, int]:
    """The agent's transactions and entries."""
    mine = ledger_transactions.c.agent_id == agent_id
    with store.read_connection() as connection:
        transactions = connection.execute(sa.select(sa.func.count(ledger_transactions.c.id)).where(mine)).scalar_one()
        lines = sa.select(sa.func.count()).select_from(entries).join(ledger_transactions).where(mine)
        return transactions, connection.execute(lines).scalar_one()


def test_a_posting_is_made_once_however_often_it_is_asked_for(store: Store, ledger: TransactionLedger) -> None:
    first = ledger.withdraw("w", "casino", ONE)
    again = ledger.withdraw("w", "casino", ONE)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.id == first.id
    assert ledger.balance("casino") == Money(99)
    assert counts(store, ledger.agent_id) == (2, 4)


def test_a_key_stands_for_one_posting(ledger: TransactionLedger) -> None:
    ledger.withdraw("w", "casino", ONE)
    with pytest.raises(KeyReused, match="another posting"):
        ledger.withdraw("w", "casino", Money(2))
    with pytest.raises(KeyReused):
        ledger.deposit("w", "casino", ONE)
    assert ledger.balance("casino") == Money(99)


def test_keys_of_two_agents_are_apart(store: Store, ledger: TransactionLedger) -> None:
    other = TransactionLedger(store, f"{ledger.agent_id}_other")
    assert not other.deposit("start", "casino", ONE).replayed
    assert other.balance("casino") == ONE
    assert [posted.key for posted in other.recent()] == ["start"]


def test_equal_postings_with_keys_of_their_own_all_count(ledger: TransactionLedger) -> None:
    for number in range(5):
        ledger.append({"type": "bet", "amount_usdc": "-10", "service": "casino", "timestamp": 5}, key=f"b{number}")
    assert ledger.balance("casino") == Money(50)
    assert ledger.balance_from_ledger() == Decimal(50)


def test_nothing_goes_below_its_floor_and_nothing_is_left_behind(store: Store, ledger: TransactionLedger) -> None:
    before = counts(store, ledger.agent_id)
    with pytest.raises(InsufficientFunds, match=r"has 100\.00 USDC .*1\.00 USDC too little"):
        ledger.withdraw("w", "casino", Money(101))
    assert counts(store, ledger.agent_id) == before
    assert not ledger.withdraw("w", "casino", Money(100)).replayed
    assert ledger.withdraw("w", "casino", Money(100)).replayed


def test_the_database_itself_keeps_balances_above_their_floor(store: Store, ledger: TransactionLedger) -> None:
    with pytest.raises(DBAPIError, match="above_floor"), store.transaction() as tx:
        tx.connection.execute(sa.update(accounts).where(accounts.c.bucket == "available").values(balance=-1))


def test_lines_that_do_not_sum_to_zero_are_refused(store: Store, ledger: TransactionLedger) -> None:
    with pytest.raises(Unbalanced):
        ledger.post("x", [Line("casino", "available", ONE), Line("casino", "external", Money.from_minor(-1))])
    assert counts(store, ledger.agent_id) == (1, 2)


def test_postgres_refuses_unbalanced_entries_itself(postgres_url: str) -> None:
    store = Store.open(postgres_url)
    posted = TransactionLedger(store, "ag_1").deposit("d", "casino", ONE)
    with store.read_connection() as connection:
        account = connection.execute(sa.select(accounts.c.id).limit(1)).scalar_one()
    row = {"seq": 99, "amount": 5, "balance_after": 5, "recorded_at": datetime.now(UTC), "hash": b""}
    with pytest.raises(DBAPIError, match="sum to zero"), store.transaction() as tx:
        tx.connection.execute(sa.insert(entries).values(account_id=account, txn_id=posted.id, **row))
    store.close()


@pytest.mark.parametrize("table", ["entries", "ledger_transactions"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET recorded_at = recorded_at", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_history_cannot_be_changed(store: Store, ledger: TransactionLedger, table: str, verb: str) -> None:
    before = counts(store, ledger.agent_id)
    with pytest.raises(DBAPIError), store.transaction() as tx:
        tx.connection.exec_driver_sql(verb.format(table))
    assert counts(store, ledger.agent_id) == before


@pytest.mark.parametrize("table", ["entries", "ledger_transactions"])
def test_sqlite_cannot_replace_history(sqlite_url: str, table: str) -> None:
    store = Store.open(sqlite_url)
    posted = TransactionLedger(store, "ag_1").deposit("d", "casino", ONE)
    changed = "amount + 1" if table == "entries" else "'other'"
    column = "amount" if table == "entries" else "kind"
    names = [item.name for item in (entries if table == "entries" else ledger_transactions).columns]
    chosen = ", ".join(changed if name == column else f'"{name}"' for name in names)
    try:
        with store.transaction() as tx:
            tx.connection.exec_driver_sql(f"REPLACE INTO {table} SELECT {chosen} FROM {table}")  # noqa: S608 names of ours
    except DBAPIError as error:
        assert "append-only" in str(error)  # noqa: PT017 one of the two tables skips the row instead
    again = TransactionLedger(store, "ag_1").find("d")
    assert again is not None
    assert (again.kind, set(again.lines)) == (posted.kind, set(posted.lines))
    store.close()


def test_a_hold_is_settled_or_void_once(ledger: TransactionLedger) -> None:
    hold = ledger.reserve("h", "casino", Money(10))
    assert buckets(ledger) == {"available": "90", "in_flight": "10"}
    ledger.settle("s", hold.id, [*spend("casino", Money(10)), *earn("casino", Money(15))])
    assert buckets(ledger) == {"available": "105"}
    assert ledger.settle("s", hold.id, [*spend("casino", Money(10)), *earn("casino", Money(15))]).replayed
    for end in (ledger.settle, ledger.void):
        with pytest.raises(Conflict, match="has ended already, by a settle"):
            end("again", hold.id)
    assert buckets(ledger) == {"available": "105"}


def test_an_ended_hold_is_refused_even_when_another_is_open(ledger: TransactionLedger) -> None:
    hold = ledger.reserve("h", "casino", Money(10))
    ledger.reserve("h2", "casino", Money(10))
    ledger.void("v", hold.id)
    with pytest.raises(Conflict, match="by a void"):
        ledger.settle("s", hold.id)
    assert buckets(ledger) == {"available": "90", "in_flight": "10"}


def test_a_hold_is_its_agents_own(store: Store, ledger: TransactionLedger) -> None:
    hold = ledger.reserve("h", "casino", ONE)
    with pytest.raises(NotFound, match="has no hold"):
        TransactionLedger(store, f"{ledger.agent_id}_thief").void("v", hold.id)


def test_balances_can_be_asked_for_any_time(ledger: TransactionLedger) -> None:
    moments = [ledger.withdraw(f"w{number}", "casino", ONE).recorded_at for number in range(5)]
    assert moments == sorted(set(moments))
    shown = [ledger.balance("casino", as_of=moment).minor for moment in moments]
    assert shown == [Money(99 - number).minor for number in range(5)]
    assert ledger.balance("casino", as_of=moments[0] - timedelta(microseconds=1)) == Money(100)
    assert ledger.balance("casino", as_of=datetime(2020, 1, 1, tzinfo=UTC)) == Money.zero()
    with pytest.raises(InvalidInput, match="time zone"):
        ledger.balance("casino", as_of=datetime(2020, 1, 1))  # noqa: DTZ001 what is refused


def test_recent_gives_the_newest_first_and_no_more_than_asked(ledger: TransactionLedger) -> None:
    for number in range(3):
        ledger.withdraw(f"w{number}", "casino", ONE)
    assert [posted.key for posted in ledger.recent(3)] == ["w2", "w1", "w0"]
    assert not any(posted.replayed for posted in ledger.recent(3))
    assert ledger.recent(0) == []
    assert set(ledger.recent(1)[0].lines) == set(spend("casino", ONE))
    with pytest.raises(InvalidInput):
        ledger.recent(-1)


def test_plain_entries_keep_their_notes_and_their_time(ledger: TransactionLedger) -> None:
    entry = {"type": "bet", "amount_usdc": Decimal("-2.5"), "game": "dice", "timestamp": "2026-01-02T03:04:05+00:00"}
    posted = ledger.append({**entry, "service": "casino", "key": "k"})
    assert posted.effective_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert ledger.append({**entry, "service": "casino", "key": "k"}).replayed
    newest = ledger.recent(1)[0]
    assert (newest.kind, newest.meta) == ("bet", {"game": "dice"})


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ({"amount": "5"}, InvalidInput), ({"amount_usdc": 0.1}, AmountInvalid), ({"amount_usdc": "0"}, AmountInvalid),
        ({"amount_usdc": "NaN"}, AmountInvalid), ({"amount_usdc": "1", "odds": 0.5}, InvalidInput),
        ({"amount_usdc": "1", "timestamp": "yesterday"}, InvalidInput),
    ],
)  # fmt: skip
def test_wrong_entries_change_nothing(
    store: Store, ledger: TransactionLedger, entry: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        ledger.append(entry)
    assert counts(store, ledger.agent_id) == (1, 2)


def test_an_unused_account_is_empty_and_sums_are_decimals(ledger: TransactionLedger) -> None:
    assert ledger.balance("trading") == Money.zero()
    assert ledger.balance_from_ledger(service="trading") == Decimal(0)
    assert isinstance(ledger.balance_from_ledger(service="trading"), Decimal)


def test_large_amounts_keep_every_digit(ledger: TransactionLedger) -> None:
    most = Money("99999999999999999999999999999000.000001")
    ledger.deposit("big", "trading", most)
    assert ledger.balance("trading") == most
    assert ledger.balance_from_ledger(service="trading") == Decimal("99999999999999999999999999999000.000001")
    with pytest.raises(AmountInvalid, match="beyond"):
        ledger.deposit("bigger", "trading", most)
    assert ledger.balance("trading") == most


def test_each_entry_seals_the_one_before(store: Store, ledger: TransactionLedger) -> None:
    for number in range(4):
        ledger.withdraw(f"w{number}", "casino", ONE)
    with store.read_connection() as connection:
        for account in connection.execute(sa.select(accounts).where(accounts.c.agent_id == ledger.agent_id)).all():
            rows = connection.execute(
                sa.select(entries).where(entries.c.account_id == account.id).order_by(entries.c.seq)
            ).all()
            assert [row.seq for row in rows] == list(range(1, account.version + 1))
            head, total = None, 0
            for row in rows:
                total += row.amount
                head = hash_entry(
                    head,
                    account=account.id,
                    seq=row.seq,
                    txn=row.txn_id,
                    amount=row.amount,
                    balance_after=total,
                    recorded_at=row.recorded_at,
                )
                assert (row.hash, row.balance_after) == (head, total)
            assert (account.head, account.balance) == (head, total)


def test_a_posting_joins_the_callers_transaction(store: Store, ledger: TransactionLedger) -> None:
    def changes_its_mind() -> None:
        with store.transaction() as tx:
            ledger.withdraw("w", "casino", ONE, tx=tx)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        changes_its_mind()
    assert ledger.find("w") is None
    assert ledger.balance("casino") == Money(100)


def test_many_threads_post_at_once(store: Store, ledger: TransactionLedger) -> None:
    services = ["casino", "trading", "wallet", "domains"]
    for service in services[1:]:
        ledger.deposit(f"start:{service}", service, Money(100))

    def work(thread: int) -> None:
        own = TransactionLedger(store, ledger.agent_id)
        for number in range(6):
            source, target = services[(thread + number) % 4], services[(thread + 3 * number + 1) % 4]
            if source != target:
                ends = ((source, Bucket.AVAILABLE), (target, Bucket.AVAILABLE))
                own.transfer(f"{thread}:{number}", ONE, source=ends[0], target=ends[1])
            own.transfer(
                "the same for all", ONE, source=("casino", "available"), target=("trading", "available"), kind="once"
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert sum(ledger.balance(service).minor for service in services) == Money(400).minor
    assert ledger.balance_from_ledger() == Decimal(400)
    assert sum(posted.kind == "once" for posted in ledger.recent(200)) == 1


def test_a_currency_of_the_settings_is_known_to_who_opens_the_store(sqlite_url: str) -> None:
    runtime = Runtime(Settings.load(database_url=sqlite_url, currencies={"TESTETH": 9}))
    books = TransactionLedger(runtime.store, "ag_1")
    books.deposit("d", "wallet", Money("1.000000001", "TESTETH"))
    assert books.balance("wallet", "TESTETH").minor == 1_000_000_001
    runtime.close()
    other = Runtime(Settings.load(database_url=sqlite_url, currencies={"TESTETH": 18}))
    with pytest.raises(ConfigurationError, match="registered with scale 9"):
        _ = other.store


@pytest.mark.long
def test_eight_processes_that_post_twice_in_a_transaction_never_deadlock(
    store: Store, ledger: TransactionLedger
) -> None:
    for service in ("trading", "wallet"):
        ledger.deposit(f"start:{service}", service, Money(100))
    processes, each = 8, 12
    command = [sys.executable, str(TRANSFERS), store.engine.url.render_as_string(hide_password=False)]
    done = subprocess.run(
        [*command, ledger.agent_id, str(processes), str(each)], capture_output=True, text=True, timeout=120, check=True
    )
    assert json.loads(done.stdout) == []
    left = sum(ledger.balance(service).minor for service in ("casino", "trading", "wallet"))
    assert left == (Money(300) - Money("0.01") * (3 * processes * each)).minor


def test_a_deadlock_across_agents_is_an_error_to_retry(module_postgres_url: str) -> None:
    store, agents = Store.open(module_postgres_url), ["ag_deadlock_1", "ag_deadlock_2"]
    for agent in agents:
        TransactionLedger(store, agent).deposit("more", "casino", Money(100))
    both_locked = threading.Barrier(2)

    def pay_both(order: list[str]) -> str | None:
        try:
            with store.transaction() as tx:
                TransactionLedger(store, order[0]).withdraw(f"first:{order[0]}", "casino", ONE, tx=tx)
                both_locked.wait(30)
                TransactionLedger(store, order[1]).withdraw(f"second:{order[1]}", "casino", ONE, tx=tx)
        except StoreBusy as error:
            return error.message
        return None

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(pay_both, [agents, agents[::-1]]))
    assert outcomes.count(None) == 1
    assert "deadlock" in "".join(filter(None, outcomes))
    store.close()
