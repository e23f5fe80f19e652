"""The services' own operations, done once through the running sandbox: our books against its truth."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from agentstate.errors import EffectFailed, EffectInDoubt
from agentstate.money import (
    AgentEffects,
    Effects,
    EffectState,
    Money,
    Reconciler,
    ReconRules,
    ServiceAccounts,
    SnapshotTaker,
    TransactionLedger,
)
from agentstate.services.cache.source import GatewaySource
from agentstate.services.cache.state_cache import StateCache
from agentstate.services.http.gateway import Gateway
from agentstate.services.observing import CacheReader, GatewayReader
from agentstate.services.operations.receipts import Receipt, balance_lines
from agentstate.services.operations.registry import OPERATIONS
from agentstate.store.store import Store
from tests.worlds.books import buckets, let_time_pass
from tests.worlds.effects import execute_named

_numbers = itertools.count(1)


class Player:
    """An enrolled agent with books."""

    def __init__(self, store: Store, gateway: Gateway) -> None:
        self.gateway = gateway
        self.agent_id = f"ag_player_{next(_numbers)}"
        self.ledger = TransactionLedger(store, self.agent_id)
        self.engine = Effects(store, registry=OPERATIONS, outside=lambda: gateway, secret=b"test")
        self.effects = AgentEffects(self.engine, self.agent_id)
        ServiceAccounts(store).enrol(self.agent_id, "casino", self.agent_id)
        self.do("register", "casino.register")

    def do(self, key: str, operation: str, **params: Any) -> Any:
        return execute_named(self.effects, key, operation, params)


@pytest.fixture
def players(store: Store, gateway: Gateway) -> tuple[Player, Player]:
    """Two agents with 100 dollars each at the casino."""
    both = (Player(store, gateway), Player(store, gateway))
    for player in both:
        player.do("start", "casino.deposit", amount=Decimal(100))
    return both


@pytest.fixture
def reconciler(store: Store, gateway: Gateway) -> Iterator[Reconciler]:
    return Reconciler(store, GatewayReader(gateway), ReconRules(lag_s=0.0))


def true_balance(sandbox: Any, player: Player) -> Money:
    return Money.from_minor(sandbox.client.read_balance(player.agent_id))


@pytest.mark.parametrize("fault", ["commit_then_drop", "500_after_effect", "truncate_json"])
def test_a_bet_whose_answer_is_lost_is_found_and_booked(
    sandbox: Any, store: Store, players: tuple[Player, Player], reconciler: Reconciler, fault: str
) -> None:
    player = players[0]
    sandbox.client.set_faults({"fault": fault, "times": 1, "service": "casino"})
    with pytest.raises(EffectInDoubt):
        player.do("bet:1", "casino.bet", amount=Decimal("2.50"), side="heads")
    assert reconciler.reconcile(player.agent_id, "casino").status in {"timing", "matched"}
    effect = player.effects.get("bet:1")
    found = player.effects.resolve("bet:1")
    assert found.state is EffectState.SUCCEEDED
    assert sandbox.client.count_effects(player.agent_id, "casino.bet") == {effect.remote_key: 1}
    assert player.ledger.balance("casino") == true_balance(sandbox, player)
    assert player.ledger.balance("casino", bucket="in_flight") == Money.zero()
    assert reconciler.reconcile(player.agent_id, "casino").status == "matched"


def test_a_deposit_whose_answer_is_lost_comes_in_once(
    sandbox: Any, store: Store, gateway: Gateway, players: tuple[Player, Player]
) -> None:
    player = players[0]
    sandbox.client.set_faults({"fault": "commit_then_drop", "times": 1, "service": "casino"})
    with pytest.raises(EffectInDoubt):
        player.do("d", "casino.deposit", amount=Decimal(7))
    let_time_pass(store, player.agent_id)
    player.effects.resolve("d")
    assert player.ledger.balance("casino") == true_balance(sandbox, player) == Money(107)


def test_a_refused_bet_costs_nothing(sandbox: Any, players: tuple[Player, Player]) -> None:
    with pytest.raises(EffectFailed):
        players[0].do("bet:1", "casino.bet", amount=Decimal("90.00"), side="heads")
    assert buckets(players[0].ledger) == {"available": "100"}
    assert true_balance(sandbox, players[0]) == Money(100)


def test_an_escrow_moves_money_between_the_books_of_two_agents(
    sandbox: Any, players: tuple[Player, Player], reconciler: Reconciler
) -> None:
    creator, worker = players
    made = creator.do("e", "escrow.create", counterparty=worker.agent_id, amount=Decimal(10), description="work")
    assert buckets(creator.ledger) == {"available": "90"}
    assert buckets(creator.ledger, "escrow") == {"escrow_locked": "10"}
    creator.do("r", "escrow.release", escrow_id=made.reference)
    assert buckets(creator.ledger, "escrow") == {"fees": "0.1"}
    assert buckets(worker.ledger) == {"available": "109.9"}
    for player in players:
        assert player.ledger.balance("casino") == true_balance(sandbox, player)
        assert reconciler.reconcile(player.agent_id, "escrow").status == "matched"


def test_the_other_services_are_booked_as_they_show(
    store: Store, gateway: Gateway, players: tuple[Player, Player], reconciler: Reconciler
) -> None:
    player = players[0]
    player.do("t", "trading.deposit", amount=Decimal(1000))
    opened = player.do("o", "trading.open", coin="ETH", side="long", size=Decimal(100), leverage=2)
    player.do("c", "trading.close", position_id=opened.reference)
    player.do("n", "domains.deposit", amount=Decimal(100))
    player.do("b", "domains.register", domain=f"{player.agent_id.replace('_', '-')}.com")
    player.do("f", "faucet.claim")
    for service in ("casino", "trading", "domains"):
        finding = reconciler.reconcile(player.agent_id, service)
        assert (service, finding.status, finding.difference) == (service, "matched", Money.zero())
    assert player.ledger.balance("trading", bucket="fees").minor > 0
    cache = StateCache(GatewaySource(gateway))
    cache.get(player.agent_id, "casino")
    taker = SnapshotTaker(store, CacheReader(cache))
    taker.take_agents("slot", [player.agent_id])
    snapshot = taker.find(player.agent_id)
    assert snapshot is not None
    assert {name: leg["status"] for name, leg in snapshot.legs.items()} == {
        "casino": "fresh", "domains": "booked", "trading": "booked",
    }  # fmt: skip
    assert snapshot.legs["casino"]["difference"] == Decimal(0)


def test_a_receipt_without_amounts_moves_nothing() -> None:
    assert balance_lines("wallet", Receipt(reference="0x1")) == []
