"""What the guide's ledger on a sorted set gets wrong, one test for each defect, on both databases."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from redis import Redis

from agentstate.errors import AmountInvalid, InsufficientFunds, InvalidInput, KeyReused
from agentstate.money import Money, TransactionLedger
from agentstate.store.store import Store
from tests.worlds.books import ROOT

BET = {"type": "bet", "amount_usdc": "-10", "service": "casino"}


def appended(ledger: TransactionLedger, *amounts: str, **fields: Any) -> None:
    for amount in amounts:
        ledger.append({**BET, "amount_usdc": amount, **fields})


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """The SQL that is executed meanwhile."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        seen.append(statement)

    sa.event.listen(store.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(store.engine, "before_cursor_execute", note)


@pytest.mark.guide_defect(60)
def test_equal_bets_at_one_time_all_count(ledger: TransactionLedger) -> None:
    appended(ledger, *["-10"] * 5, timestamp=1_700_000_000)
    assert ledger.balance_from_ledger() == Decimal(50)


@pytest.mark.guide_defect(61)
def test_equal_bets_without_a_time_all_count(ledger: TransactionLedger) -> None:
    appended(ledger, *["-10"] * 5)
    assert ledger.balance_from_ledger() == Decimal(50)


@pytest.mark.guide_defect(62)
def test_a_retry_with_a_new_time_counts_once(ledger: TransactionLedger) -> None:
    deposit = {"amount_usdc": "10", "service": "casino"}
    ledger.append({**deposit, "timestamp": 1}, key="d")
    assert ledger.append({**deposit, "timestamp": 1}, key="d").replayed
    with pytest.raises(KeyReused):
        ledger.append({**deposit, "timestamp": 2}, key="d")
    assert ledger.balance("casino") == Money(110)


@pytest.mark.guide_defect(63)
def test_an_empty_ledger_has_an_exact_zero(store: Store, ledger: TransactionLedger) -> None:
    empty = TransactionLedger(store, f"{ledger.agent_id}_empty")
    assert (type(empty.balance_from_ledger()), empty.balance_from_ledger()) == (Decimal, Decimal(0))
    assert empty.balance("casino") == Money.zero()


@pytest.mark.guide_defect(64)
def test_a_float_is_no_amount(ledger: TransactionLedger) -> None:
    with pytest.raises(AmountInvalid, match="float"):
        ledger.append({**BET, "amount_usdc": -0.1})
    appended(ledger, *["-0.1"] * 10)
    assert ledger.balance_from_ledger() == Decimal(99)


@pytest.mark.guide_defect(65)
def test_entries_of_one_time_keep_the_order_they_came_in(ledger: TransactionLedger) -> None:
    appended(ledger, "100", "-20", "-7", timestamp=1_700_000_000)
    newest = [posted.lines for posted in ledger.recent(3)]
    shown = [next(line.amount for line in lines if line.bucket == "available") for lines in newest]
    assert shown == [Money(-7), Money(-20), Money(100)]


@pytest.mark.guide_defect(66)
def test_times_that_are_close_stay_apart(ledger: TransactionLedger) -> None:
    moment = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
    for microseconds in range(3):
        appended(ledger, "-1", timestamp=moment + timedelta(microseconds=microseconds))
    kept = [posted.effective_at for posted in ledger.recent(3)]
    assert kept == [moment + timedelta(microseconds=number) for number in (2, 1, 0)]
    with pytest.raises(InvalidInput, match="no time"):
        appended(ledger, "-1", timestamp=1_700_000_000_000_000_001)


@pytest.mark.guide_defect(67)
def test_an_iso_time_is_a_time(ledger: TransactionLedger) -> None:
    appended(ledger, "-1", timestamp="2026-01-01T12:00:00Z")
    assert ledger.recent(1)[0].effective_at == datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.guide_defect(68)
def test_a_misspelt_amount_is_refused(ledger: TransactionLedger) -> None:
    with pytest.raises(InvalidInput, match="has no amount_usdc"):
        ledger.append({"type": "bet", "amount_usd": "-10", "service": "casino"})
    assert ledger.balance("casino") == Money(100)


@pytest.mark.guide_defect(69)
@pytest.mark.parametrize("amount", ["NaN", Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity")])
def test_what_is_no_number_never_gets_in(ledger: TransactionLedger, amount: Any) -> None:
    with pytest.raises(AmountInvalid):
        ledger.append({**BET, "amount_usdc": amount})
    assert ledger.balance_from_ledger() == Decimal(100)


@pytest.mark.guide_defect(70)
def test_long_sums_keep_every_digit(ledger: TransactionLedger) -> None:
    large = "45000000000000000000000000000000"
    appended(ledger, f"{large}.000001", f"{large}.000002", "0.000004")
    assert ledger.balance_from_ledger() == Decimal("90000000000000000000000000000100.000007")
    with pytest.raises(AmountInvalid, match="beyond"):
        appended(ledger, "20000000000000000000000000000000.000000")
    with pytest.raises(AmountInvalid):
        appended(ledger, "12345678901234567890123456789012345678")
    assert ledger.balance("casino") == Money("90000000000000000000000000000100.000007")


@pytest.mark.guide_defect(71)
def test_recent_gives_as_many_as_asked_and_history_stays(ledger: TransactionLedger) -> None:
    appended(ledger, *["-1"] * 3)
    assert [len(ledger.recent(n)) for n in (0, 1, 3, 99)] == [0, 1, 3, 4]
    with pytest.raises(InvalidInput):
        ledger.recent(-1)


@pytest.mark.guide_defect(72)
def test_a_balance_reads_one_row_however_long_the_history_is(store: Store, ledger: TransactionLedger) -> None:
    appended(ledger, *["-1"] * 20)
    with statements(store) as seen:
        assert ledger.balance("casino") == Money(80)
    [read] = [text for text in seen if "SELECT" in text.upper()]
    assert "accounts.id =" in read
    assert "entries" not in read


@pytest.mark.guide_defect(73)
def test_what_was_posted_outlives_a_kill(module_database_url: str, store: Store, ledger: TransactionLedger) -> None:
    program = (
        "import os, signal, sys\n"
        "from agentstate.money import Money, TransactionLedger\n"
        "from agentstate.store.store import Store\n"
        "TransactionLedger(Store.open(sys.argv[1]), sys.argv[2]).withdraw('w', 'casino', Money(10))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "shared")}
    command = [sys.executable, "-c", program, module_database_url, ledger.agent_id]
    assert subprocess.run(command, env=environment, check=False, timeout=60).returncode == -signal.SIGKILL
    assert ledger.balance_from_ledger() == Decimal(90)
    assert ledger.withdraw("w", "casino", Money(10)).replayed


@pytest.mark.guide_defect(74)
def test_an_emptied_redis_takes_no_money_along(ledger: TransactionLedger, redis_url: str) -> None:
    with Redis.from_url(redis_url, socket_timeout=5) as redis:
        redis.flushdb()
    assert ledger.balance("casino") == Money(100)


@pytest.mark.guide_defect(75)
def test_money_comes_from_somewhere_once_in_one_currency_and_not_beyond_what_is_there(
    ledger: TransactionLedger,
) -> None:
    assert ledger.balance("casino", bucket="external") == Money(-100)
    assert ledger.balance("casino", "BTC") == Money.zero("BTC")
    with pytest.raises(InsufficientFunds):
        ledger.withdraw("w", "casino", Money("100.000001"))
    assert ledger.deposit("start", "casino", Money(100)).replayed
    assert ledger.balance("casino") == Money(100)
