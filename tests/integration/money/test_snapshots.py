"""Portfolio snapshots: one cut of the books, once a slot, and unknown stays unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from agentstate.errors import Conflict, EffectInDoubt, InvalidInput, RedisUnavailable
from agentstate.money import (
    AgentEffects,
    Effects,
    Guarantee,
    Money,
    Observation,
    ServiceAccounts,
    SnapshotTaker,
    TransactionLedger,
    call,
    earn,
    move,
    spend,
)
from agentstate.store.store import Store


class Seen:
    """What the cache holds."""

    def __init__(self) -> None:
        self.shown: dict[str, Observation] = {}
        self.down = False

    def show(self, service: str, balance: str, *, worth: str | None = None, age_s: float = 1.0) -> None:
        self.shown[service] = Observation(
            service=service,
            balances={"USDC": Decimal(balance)},
            worth={} if worth is None else {"USDC": Decimal(worth)},
            as_of=datetime.now(UTC) - timedelta(seconds=age_s),
        )

    def read_last_seen(self, _agent_id: str, services: Sequence[str]) -> Mapping[str, Observation]:
        if self.down:
            raise RedisUnavailable
        return {service: self.shown[service] for service in services if service in self.shown}


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def taker(store: Store, seen: Seen) -> SnapshotTaker:
    return SnapshotTaker(store, seen)


@pytest.fixture
def fleet(store: Store) -> ServiceAccounts:
    return ServiceAccounts(store)


def taken(taker: SnapshotTaker, agent_id: str, slot: str = "s1") -> Any:
    taker.take_agents(slot, [agent_id])
    return taker.find(agent_id)


def test_the_books_tell_what_is_owned_and_the_cache_what_was_seen(
    taker: SnapshotTaker, fleet: ServiceAccounts, seen: Seen, ledger: TransactionLedger
) -> None:
    fleet.enrol(ledger.agent_id, "casino", "ag_x")
    seen.show("casino", "99.50")
    snapshot = taken(taker, ledger.agent_id)
    assert (snapshot.total, snapshot.low, snapshot.high) == (Money(100),) * 3
    leg = snapshot.legs["casino"]
    assert (leg["status"], leg["amount"], leg["observed"], leg["difference"]) == (
        "fresh", Decimal(100), Decimal("99.5"), Decimal("-0.5"),
    )  # fmt: skip
    assert leg["as_of"].tzinfo is not None


def test_money_that_moves_or_is_in_flight_is_counted_once(
    store: Store, taker: SnapshotTaker, ledger: TransactionLedger
) -> None:
    def send(_key: str) -> None:
        raise TimeoutError

    with pytest.raises(EffectInDoubt):
        AgentEffects(Effects(store), ledger.agent_id).execute_once(
            "b", call(send, service="casino", guarantee=Guarantee.KEYED, hold=Money(5))
        )
    ledger.post("lock", move(Money(20), ("casino", "available"), ("escrow", "escrow_locked")))
    ledger.transfer("t", Money(30), source=("casino", "available"), target=("trading", "available"))
    snapshot = taken(taker, ledger.agent_id)
    assert snapshot.total == Money(100)
    assert {name: leg["amount"] for name, leg in snapshot.legs.items()} == {"casino": 70, "trading": 30}
    assert snapshot.legs["casino"]["parts"] == {
        "available": 45, "in_flight": 5, "escrow_locked": 20, "suspense": 0,
    }  # fmt: skip
    assert snapshot.legs["casino"]["status"] == "booked"


def test_an_unknown_leg_makes_the_total_unknown_and_never_zero(
    taker: SnapshotTaker, fleet: ServiceAccounts, seen: Seen, ledger: TransactionLedger
) -> None:
    for service in ("casino", "domains"):
        fleet.enrol(ledger.agent_id, service, "ag_x")
    snapshot = taken(taker, ledger.agent_id)
    assert (snapshot.total, snapshot.low, snapshot.high) == (None, Money(100), None)
    assert (snapshot.legs["domains"]["status"], snapshot.legs["domains"]["amount"]) == ("unknown", None)
    seen.show("domains", "12.34", age_s=3_600)
    later = taken(taker, ledger.agent_id, "s2")
    assert (later.total, later.low, later.high) == (None, Money(100), None)
    assert (later.legs["domains"]["status"], later.legs["domains"]["amount"]) == ("stale", Decimal("12.34"))
    seen.show("domains", "12.34", age_s=5)
    assert taken(taker, ledger.agent_id, "s3").total == Money("112.34")


def test_every_currency_is_in_the_snapshot(
    taker: SnapshotTaker, fleet: ServiceAccounts, seen: Seen, ledger: TransactionLedger
) -> None:
    fleet.enrol(ledger.agent_id, "casino", "ag_x")
    ledger.post("btc", earn("casino", Money("2", "BTC")))
    ledger.reserve("hold", "casino", Money("0.5", "BTC"))
    ledger.post("gone", earn("casino", Money("1", "USD")))
    ledger.post("spent", spend("casino", Money("1", "USD")))
    shown = {"USDC": "100", "BTC": "1.25", "SOL": "3", "USDT": "0", "NOSUCH": "1"}
    seen.shown["casino"] = Observation(
        service="casino",
        balances={code: Decimal(amount) for code, amount in shown.items()},
        as_of=datetime.now(UTC) - timedelta(seconds=1),
    )
    snapshot = taken(taker, ledger.agent_id)
    others = snapshot.legs["casino"]["others"]
    assert sorted(others) == ["BTC", "SOL"]
    btc = others["BTC"]
    assert (btc["status"], btc["amount"], btc["parts"]["in_flight"], btc["difference"]) == (
        "fresh", Decimal(2), Decimal("0.5"), Decimal("-0.25"),
    )  # fmt: skip
    assert (snapshot.total_in("BTC"), snapshot.total_in("SOL")) == (Money("2", "BTC"), Money("3", "SOL"))
    assert (snapshot.total_in("USDC"), snapshot.total_in("USD")) == (Money(100), Money.zero("USD"))
    seen.shown["casino"] = replace(seen.shown["casino"], as_of=datetime.now(UTC) - timedelta(hours=1))
    later = taken(taker, ledger.agent_id, "s2")
    assert (later.total_in("BTC"), later.total_in("SOL")) == (Money("2", "BTC"), None)


def test_what_the_books_tell_is_not_older_because_the_service_was_seen_long_ago(
    taker: SnapshotTaker, fleet: ServiceAccounts, seen: Seen, ledger: TransactionLedger
) -> None:
    fleet.enrol(ledger.agent_id, "casino", "ag_x")
    seen.show("casino", "99.50", age_s=3_600)
    assert taken(taker, ledger.agent_id).total == Money(100)
    ledger.deposit("d", "trading", Money(50))
    fleet.enrol(ledger.agent_id, "trading", "ag_x")
    seen.show("trading", "50", worth="47.25", age_s=3_600)  # positions, as they stood an hour ago
    positions = taken(taker, ledger.agent_id, "s2")
    assert (positions.total, positions.low, positions.high) == (None, Money(100), None)


def test_open_positions_are_owned_too(taker: SnapshotTaker, seen: Seen, ledger: TransactionLedger) -> None:
    ledger.deposit("d", "trading", Money(50))
    seen.show("trading", "50", worth="47.25")
    ServiceAccounts(taker._store).enrol(ledger.agent_id, "trading", "ag_x")
    assert taken(taker, ledger.agent_id).total == Money("147.25")


def test_a_cache_that_is_down_does_not_stop_a_snapshot(
    taker: SnapshotTaker, fleet: ServiceAccounts, seen: Seen, ledger: TransactionLedger
) -> None:
    fleet.enrol(ledger.agent_id, "casino", "ag_x")
    seen.down = True
    assert taken(taker, ledger.agent_id).legs["casino"]["status"] == "booked"


def test_a_slot_has_one_snapshot_of_an_agent(taker: SnapshotTaker, ledger: TransactionLedger) -> None:
    assert taker.take_agents("s1", [ledger.agent_id]) == 1
    ledger.deposit("d", "casino", Money(1))
    assert taker.take_agents("s1", [ledger.agent_id]) == 0
    assert taker.take_agents("s2", [ledger.agent_id]) == 1
    assert [snapshot.total for snapshot in taker.list(ledger.agent_id)] == [Money(101), Money(100)]
    with pytest.raises(InvalidInput, match="slot"):
        taker.take_agents("s" * 65, [ledger.agent_id])


def test_the_fleet_is_taken_in_slices_that_can_be_taken_again(
    store: Store, taker: SnapshotTaker, fleet: ServiceAccounts
) -> None:
    names = [f"slice_{number:02}" for number in range(7)]
    for name in names:
        fleet.enrol(name, "casino", name)
        TransactionLedger(store, name).deposit("d", "casino", Money(1))
    first = taker.take_slice("slot", after="slice_", limit=3)
    assert (first.taken, first.known, first.next_after) == (3, 0, "slice_02")
    assert taker.take_slice("slot", after="slice_", limit=3).known == 3
    second = taker.take_slice("slot", after="slice_02", limit=3)
    assert second.next_after == "slice_05"
    assert taker.take_slice("slot", after="slice_05", limit=50).next_after is None
    assert all(len(taker.list(name)) == 1 for name in names)


def test_an_agent_is_enrolled_once(fleet: ServiceAccounts) -> None:
    assert fleet.enrol("ag_enrolled", "casino", "ag_1")
    assert not fleet.enrol("ag_enrolled", "casino", "ag_1")
    with pytest.raises(Conflict, match="is ag_1 at casino"):
        fleet.enrol("ag_enrolled", "casino", "ag_2")
    assert fleet.list_accounts("ag_enrolled") == {"casino": "ag_1"}
    with pytest.raises(InvalidInput):
        fleet.enrol("ag enrolled", "casino", "ag_1")
