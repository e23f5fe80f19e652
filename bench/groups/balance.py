"""The balance of an account with a million entries against one with a thousand: it has to cost the same."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from agentstate.money import Money, TransactionLedger
from agentstate.store.store import Store
from bench.ground import BenchStack
from bench.history import write_history
from bench.timing import compare_calls
from deploy.local.stack.results import Row, at_most

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=390)
"""Thirteen months."""

SHORT = 1_000
_LINES = 100
_CENT = Money.from_minor(10_000)
_STEP = 7_919
"""Moments are taken in steps of this many parts of the span: a prime, so that they fall everywhere."""


def measure_rows(ground: BenchStack) -> Iterator[Row]:
    """Balance, and balance at a time in the history, on both databases."""
    long = ground.choose_size(1_000_000, 20_000)
    for name, url in (("Postgres", ground.make_postgres()), ("SQLite", ground.make_sqlite())):
        store = Store.open(url)
        began = time.monotonic()
        if store.database.is_server:
            _create_partitions(store)
        histories = {count: _make_history(store, count) for count in (SHORT, long)}
        ground.report(f"{name}: histories of {SHORT:,} and {long:,} entries in {time.monotonic() - began:.0f} s")
        what = f"{long:,} entries against {SHORT:,}"
        yield _balance_row(ground, f"{name}: balance, {what}", histories[long], histories[SHORT], _read_now)
        yield _balance_row(
            ground, f"{name}: balance at a time, {what}", histories[long], histories[SHORT], _read_at_moments
        )
        store.close()


def _balance_row(
    ground: BenchStack,
    name: str,
    long: TransactionLedger,
    short: TransactionLedger,
    reading: Callable[[TransactionLedger], Callable[[], object]],
) -> Row:
    found = compare_calls(reading(long), reading(short), rounds=ground.choose_size(60, 3), calls=20)
    reference = f"the short history: {found.reference_s * 1e3:.2f} ms"
    return at_most(name, round(found.ratio, 2), 1.5, "x", reference)


def _read_now(ledger: TransactionLedger) -> Callable[[], object]:
    return lambda: ledger.balance("casino")


def _read_at_moments(ledger: TransactionLedger) -> Callable[[], object]:
    steps = itertools.count(1)

    def at_some_time() -> object:
        part = next(steps) * _STEP % 100_000
        return ledger.balance("casino", as_of=BEGIN + SPAN * part / 100_000)

    return at_some_time


def _make_history(store: Store, count: int) -> TransactionLedger:
    agent = f"ag_{count}"
    moments = [BEGIN + SPAN * number / count for number in range(1, count + 1)]
    write_history(store, agent, "casino", moments, amount=_CENT, lines=_LINES, unwatched=True)
    ledger = TransactionLedger(store, agent)
    assert ledger.balance("casino").minor == _CENT.minor * count
    assert ledger.balance("casino", as_of=moments[count // 2 - 1]).minor == _CENT.minor * count // 2
    return ledger


def _create_partitions(store: Store) -> None:
    statement = sa.text("SELECT agentstate_add_entries_month(:moment)")
    with store.transaction() as tx:
        for month in range(14):
            moment = datetime(BEGIN.year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
            tx.connection.execute(statement, {"moment": moment})
