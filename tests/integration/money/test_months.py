"""The ledger by months on Postgres: whatever month an entry lies in, all is as it is in one table."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from agentstate.money import Attestor, Money, TransactionLedger
from agentstate.money.ledger.accounts import account_id
from agentstate.money.ledger.postings import AccountKey
from agentstate.store.partitions import MONTHS_AHEAD, create_partitions, describe_partitions
from agentstate.store.store import Store
from agentstate.store.tables.money import accounts
from bench.groups.balance import write_history

TICK = timedelta(microseconds=1)

BEGINS = [datetime(2025 + month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in range(13)]
BORDERS = sorted(moment for begin in BEGINS for moment in (begin - TICK, begin, begin + timedelta(days=9)))
"""13 months: the last microsecond before each begins, the first of it, and one in between."""

AVAILABLE = account_id("ag_1", AccountKey("casino", "available", "USDC"))


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    opened = Store.open(postgres_url)
    yield opened
    opened.close()


@pytest.fixture
def ledger(store: Store) -> TransactionLedger:
    return TransactionLedger(store, "ag_1")


def make(store: Store, *moments: datetime) -> list[bool]:
    statement = sa.text("SELECT agentstate_add_entries_month(:moment)")
    with store.transaction() as tx:
        return [tx.connection.execute(statement, {"moment": moment}).scalar_one() for moment in moments]


def parts(store: Store) -> dict[str, int]:
    """How many entries lie in each part."""
    query = sa.text("SELECT tableoid::regclass::text AS part, count(*) AS n FROM entries GROUP BY 1 ORDER BY 1")
    with store.read_connection() as connection:
        return {row.part: row.n for row in connection.execute(query)}


def refused(store: Store, statement: str, told: str, **values: Any) -> None:
    with pytest.raises(DBAPIError, match=told), store.transaction() as tx:
        tx.connection.execute(sa.text(statement), values)


def check_history(store: Store, ledger: TransactionLedger) -> None:
    """39 deposits of 1 USDC at `BORDERS`, in whatever parts they lie."""
    assert [ledger.balance("casino", as_of=moment).minor for moment in BORDERS] == [
        number * 1_000_000 for number in range(1, 40)
    ]
    assert not ledger.balance("casino", as_of=BORDERS[0] - TICK)
    # Long after the last entry, and long after the first months: no recent entry is there to be found.
    assert ledger.balance("casino", as_of=BORDERS[-1] + timedelta(days=900)) == ledger.balance("casino") == Money(39)
    assert ledger.balance_from_ledger(service="casino", whole=True) == 39
    pages, after = [], None
    while True:
        page = ledger.statement(bucket="available", after=after, limit=7)
        pages += page.lines
        after = page.next
        if after is None:
            break
    assert [line.seq for line in pages] == list(range(1, 40))
    assert [line.recorded_at for line in pages] == BORDERS
    attestation = Attestor(store).run(whole=True)
    assert (attestation.is_sound, attestation.entries) == (True, 78)


def test_thirteen_months_with_their_borders(store: Store, ledger: TransactionLedger) -> None:
    assert make(store, *BEGINS) == [True] * 13
    write_history(store, "ag_1", "casino", BORDERS, amount=Money(1))
    check_history(store, ledger)
    found = parts(store)
    assert found == {"entries_other": 2} | {f"entries_{begin:%Y_%m}": 6 for begin in BEGINS[:-1]} | {
        f"entries_{BEGINS[-1]:%Y_%m}": 4
    }


def test_months_that_were_never_made_refuse_nothing(store: Store, ledger: TransactionLedger) -> None:
    write_history(store, "ag_1", "casino", BORDERS, amount=Money(1))
    assert parts(store) == {"entries_other": 78}
    check_history(store, ledger)
    assert make(store, BEGINS[3]) == [False], "a month that has begun without a table stays where it is"
    check_history(store, ledger)


def test_a_posting_into_a_month_to_come_is_taken(store: Store, ledger: TransactionLedger) -> None:
    ledger.deposit("first", "casino", Money(1))
    later = datetime(2031, 5, 31, 23, 59, 59, 999999, tzinfo=UTC)
    with store.transaction() as tx:
        tx.connection.execute(sa.update(accounts).values(touched_at=later))
    posted = ledger.withdraw("second", "casino", Money(1))
    assert posted.recorded_at == later + TICK
    assert parts(store)["entries_other"] == 2
    assert Attestor(store).run().is_sound


def test_months_are_made_ahead_once_however_many_ask(store: Store) -> None:
    with store.transaction() as tx:
        names = [f"entries_{begin:%Y_%m}" for begin in _ahead()]
        for name in names[2:]:
            tx.connection.exec_driver_sql(f"DROP TABLE {name}")
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: create_partitions(store), range(4)))
    assert sum(made) == MONTHS_AHEAD - 1
    with store.read_connection() as connection:
        found = describe_partitions(connection)
    assert found is not None
    assert found.parts == (*sorted(names), "entries_other")
    assert (found.next_is_made, found.others, create_partitions(store)) == (True, 0, 0)


def _ahead() -> list[datetime]:
    now = datetime.now(UTC)
    counted = [now.year * 12 + now.month - 1 + ahead for ahead in range(MONTHS_AHEAD + 1)]
    return [datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC) for number in counted]


def test_sqlite_has_no_months(sqlite_url: str) -> None:
    store = Store.open(sqlite_url)
    assert create_partitions(store) == 0
    with store.read_connection() as connection:
        assert describe_partitions(connection) is None
    store.close()


def test_a_number_is_given_once_in_whatever_month(store: Store, ledger: TransactionLedger) -> None:
    make(store, *BEGINS[:2])
    write_history(store, "ag_1", "casino", BORDERS[1:5], amount=Money(1))
    txn = ledger.recent(1)[0].id
    again = (
        "INSERT INTO entries (account_id, seq, txn_id, amount, balance_after, recorded_at, hash) VALUES "
        "(:account, :seq, :txn, 1, 1, :at, ''), (:account, :seq + 1000, :txn, -1, 1, :at, '')"
    )
    low = again.replace(":seq + 1000", ":seq - 1")
    values = {"account": AVAILABLE, "txn": txn}
    # In the month where it lies already the month's key refuses it, in another one the account that has passed it.
    refused(store, again, "_pkey", **values, seq=1, at=BORDERS[1])
    refused(store, low, "has passed", **values, seq=3, at=BEGINS[1] + timedelta(days=20))
    refused(store, "UPDATE accounts SET version = 1", "cannot go back from its entry 4 to 1")


def test_no_part_can_be_rewritten_by_its_own_name(store: Store, ledger: TransactionLedger) -> None:
    ledger.deposit("d", "casino", Money(1))
    ledger_parts = [name for name in [*parts(store), "entries_other"] if name != "entries"]
    for part in ledger_parts:
        refused(store, f"TRUNCATE {part}", "append-only")
    here = ledger_parts[0]
    refused(store, f"UPDATE {here} SET amount = 5", "append-only")  # noqa: S608 a name of ours
    refused(store, f"DELETE FROM {here}", "append-only")  # noqa: S608 a name of ours
    one = f"SELECT account_id, seq + 1, txn_id, amount, 2, recorded_at, hash FROM {here} WHERE amount > 0"  # noqa: S608
    alone = f"INSERT INTO {here} {one}"
    refused(store, alone, "do not sum to zero")
    refused(store, "INSERT INTO entries SELECT * FROM entries WHERE seq = 1", "_pkey")


@pytest.mark.parametrize("column", ["account_id", "txn_id"])
def test_accounts_and_transactions_of_entries_have_to_be_there(
    store: Store, ledger: TransactionLedger, column: str
) -> None:
    posted = ledger.deposit("d", "casino", Money(1))
    known = {"account_id": AVAILABLE, "txn_id": posted.id} | {column: UUID(int=1)}
    line = "(:account_id, {}, :txn_id, {}, 1, now(), '')"
    pair = f"{line.format(2, 5)}, {line.format(3, -5)}"
    refused(store, f"INSERT INTO entries VALUES {pair}", "foreign key", **known)  # noqa: S608 made of texts of ours
