"""Amounts and totals beyond 64 bits: tokens with 18 digits and more are counted exactly, on both databases."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from agentstate.errors import AmountInvalid, InsufficientFunds, LimitExceeded
from agentstate.ids import new_hex, new_id
from agentstate.money import (
    AgentEffects,
    Attestor,
    Breaks,
    Effects,
    Guarantee,
    Guards,
    Money,
    Observation,
    Reconciler,
    TransactionLedger,
    call,
    earn,
    export_ledger,
    import_ledger,
    register_currency,
    spend,
)
from agentstate.money.amounts import MAX_MINOR
from agentstate.store.store import Store
from agentstate.store.tables.base import metadata
from agentstate.store.tables.minor_units import MinorUnits, minor_max, minor_negation, minor_size, minor_sum
from agentstate.store.tables.money import accounts, entries

register_currency("WETH", 18)
register_currency("YOCTO", 24)
NINE = Money("9", "WETH")
LARGE = Money("12345678901234.000000000000000001", "WETH")


@pytest.fixture
def ledger(store: Store) -> TransactionLedger:
    return TransactionLedger(store, f"ag_{new_hex()}")


def test_the_turnover_of_an_account_passes_64_bits(ledger: TransactionLedger, store: Store) -> None:
    for number in range(20):
        ledger.post(f"in:{number}", earn("wallet", NINE))
        ledger.post(f"out:{number}", spend("wallet", NINE - Money("1", "WETH")))
    assert ledger.balance("wallet", "WETH") == Money("20", "WETH")
    assert ledger.balance("wallet", "WETH", bucket="external") == Money("-20", "WETH")
    for number in range(20, 25):
        ledger.post(f"in:{number}", earn("wallet", LARGE))
    total = Money("20", "WETH") + LARGE * 5
    assert ledger.balance("wallet", "WETH") == total
    assert ledger.balance("wallet", "WETH", bucket="external") == -total
    assert ledger.balance("wallet", "WETH", as_of=datetime.now(UTC)) == total
    assert ledger.balance_from_ledger("WETH", whole=True) == total.amount
    assert Attestor(store).run().is_sound
    assert ledger.balance_from_ledger("WETH") == total.amount
    assert [line.balance for line in ledger.statement("wallet", bucket="available", limit=100).lines][-1] == total


def test_a_shortage_is_told_exactly(ledger: TransactionLedger) -> None:
    ledger.post("in", earn("wallet", LARGE))
    with pytest.raises(InsufficientFunds, match=r"0\.000000000000000001 WETH too little"):
        ledger.post("out", spend("wallet", LARGE + Money.from_minor(1, "WETH")))
    ledger.post("all", spend("wallet", LARGE))
    assert not ledger.balance("wallet", "WETH")


def test_beyond_the_largest_balance_nothing_is_posted(ledger: TransactionLedger) -> None:
    most = Money.from_minor(MAX_MINOR, "YOCTO")
    ledger.post("in", earn("wallet", most))
    with pytest.raises(AmountInvalid):
        ledger.post("more", earn("wallet", Money.from_minor(1, "YOCTO")))
    assert ledger.balance("wallet", "YOCTO") == most
    with pytest.raises(AmountInvalid):
        Money.from_minor(MAX_MINOR + 1, "YOCTO")


def test_effects_hold_and_settle_them_and_guards_count_them_exactly(store: Store, ledger: TransactionLedger) -> None:
    ledger.post("in", earn("dex", LARGE * 4))
    effects = AgentEffects(Effects(store), ledger.agent_id)
    Guards(store, ledger.agent_id).limit(total=LARGE * 2, loss=LARGE * 3, in_flight=LARGE * 2, service="dex")

    def swap(price: Money) -> Sequence[object]:
        return effects.execute_once(
            f"swap:{price.minor}",
            call(
                lambda _key: {"price": price},
                service="dex",
                guarantee=Guarantee.BLIND,
                hold=price,
                postings=lambda receipt: spend("dex", receipt["price"]),
            ),
        )

    swap(LARGE)
    swap(LARGE - Money.from_minor(1, "WETH"))
    with pytest.raises(LimitExceeded) as refused:
        swap(Money.from_minor(2, "WETH"))
    assert refused.value.used == LARGE * 2 - Money.from_minor(1, "WETH")
    swap(Money.from_minor(1, "WETH"))
    assert ledger.balance("dex", "WETH") == LARGE * 2
    assert ledger.balance("dex", "WETH", bucket="in_flight") == Money.zero("WETH")


def test_a_difference_of_one_unit_is_a_break(store: Store, ledger: TransactionLedger) -> None:
    ledger.post("in", earn("dex", LARGE))

    class Shown:
        def read_balance(self, agent_id: str, service: str) -> Observation:
            del agent_id
            amount = LARGE + Money.from_minor(1, "WETH")
            balances = {"USDC": Money("0").amount, "WETH": amount.amount}
            return Observation(service=service, balances=balances, as_of=datetime.now(UTC))

    finding = Reconciler(store, Shown()).reconcile(ledger.agent_id, "dex")
    by_currency = {each.expected.currency: each for each in (finding, *finding.others)}
    assert by_currency["WETH"].difference == Money.from_minor(1, "WETH")
    assert by_currency["WETH"].expected == LARGE
    assert [each.amount for each in Breaks(store, ledger.agent_id).find()] in ([], [Money.from_minor(1, "WETH")])


def test_they_are_exported_and_imported(store: Store, ledger: TransactionLedger) -> None:
    ledger.post("in", earn("wallet", LARGE * 3))
    ledger.post("out", spend("wallet", LARGE))
    copies = [
        replace(each, agent_id=f"{ledger.agent_id}b", id=new_id()) for each in export_ledger(store, ledger.agent_id)
    ]
    assert import_ledger(store, lambda: copies).posted == 2
    assert TransactionLedger(store, f"{ledger.agent_id}b").balance("wallet", "WETH") == LARGE * 2


def test_the_functions_of_amounts_are_exact(store: Store) -> None:
    pick = random.Random(7)
    values = [pick.randint(-MAX_MINOR // 100, MAX_MINOR // 100) for _ in range(60)] + [0, 1, -1, 2**63, -(2**63)]
    given = sa.union_all(*(sa.select(sa.literal(value, MinorUnits()).label("n")) for value in values)).subquery().c.n
    row = sa.select(
        minor_sum(given),
        minor_sum(minor_negation(given)),
        minor_sum(minor_size(given)),
        minor_sum(minor_max(given, sa.literal(0, MinorUnits()))),
    )
    with store.read_connection() as connection:
        assert tuple(connection.execute(row).one()) == (
            sum(values),
            -sum(values),
            sum(map(abs, values)),
            sum(max(value, 0) for value in values),
        )
        nothing = sa.select(minor_sum(accounts.c.balance)).where(accounts.c.agent_id == "ag_nobody")
        assert connection.execute(nothing).scalar_one() is None


def test_every_column_of_amounts_is_wide_enough() -> None:
    narrow = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if column.name in {"amount", "balance", "balance_after", "floor", "maximum", "total", "low", "high"}
        and not isinstance(column.type, MinorUnits)
    }
    assert narrow == set()
    assert isinstance(entries.c.amount.type, MinorUnits)
