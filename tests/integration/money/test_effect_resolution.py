"""Workers resolve what other processes began, by the name of the operation alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from agentstate.errors import ConfigurationError, EffectInDoubt, InvalidInput, NotFound, ServiceRejected
from agentstate.ids import new_id
from agentstate.money import (
    Absent,
    AgentEffects,
    Applied,
    Breaks,
    EffectRules,
    Effects,
    EffectState,
    Guarantee,
    Intent,
    Line,
    Money,
    Operation,
    OperationRegistry,
    ServiceAccounts,
    TransactionLedger,
    Unknown,
    earn,
    move,
    spend,
)
from agentstate.money.ledger.postings import Credit
from agentstate.store.store import Store
from tests.worlds.books import buckets, let_time_pass
from tests.worlds.effects import execute_named

FIVE = Money(5)


class Bets:
    """A table whose answers and verdicts a test sets, for the operation `casino.bet`; counts calls by tag."""

    def __init__(self, guarantee: Guarantee = Guarantee.VERIFIABLE) -> None:
        self.guarantee = guarantee
        self.answer: Any = TimeoutError("no answer")
        self.verdict: Any = Unknown("not asked")
        self.calls: list[str] = []
        self.told: list[Any] = []
        self.pays: str | None = None

    def call(self, tag: str) -> Any:
        self.calls.append(tag)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def make_class(self) -> type[Operation[Any]]:
        """Return the operation of this table."""
        return type("Bet", (Bet,), {"bets": self, "guarantee": self.guarantee})


class Bet(Operation[Any]):
    """The operation of a table."""

    name = "casino.bet"
    service = "casino"
    settle_s = 0.0
    bets: Bets

    def __init__(self, side: str) -> None:
        if side == "edge":
            raise InvalidInput("a coin has two sides")
        self.side = side

    def params(self) -> dict[str, Any]:
        return {"side": self.side}

    def send(self, outside: Any, intent: Intent) -> Any:
        return self.bets.call(intent.remote_key)

    def verify(self, outside: Any, intent: Intent) -> Any:
        self.bets.told.append((outside, intent.agent_id, intent.remote_key, intent.params, intent.baseline))
        return self.bets.verdict

    def read_baseline(self, outside: Any, agent_id: str) -> Any:
        return {"seen": len(self.bets.calls)}

    def hold(self) -> Money | None:
        return FIVE

    def postings(self, receipt: Any) -> Sequence[Line]:
        return [*spend("casino", FIVE), *earn("casino", Money(receipt["won"]))]

    def credits(self, receipt: Any) -> Sequence[Credit]:
        return [Credit(self.bets.pays, earn("casino", Money(1)))] if self.bets.pays else []


def make_registry(*tables: Bets) -> OperationRegistry:
    registry = OperationRegistry()
    for table in tables:
        registry.add(table.make_class())
    return registry


class House:
    """One agent, its bets, and the worker that resolves them."""

    def __init__(self, store: Store, ledger: TransactionLedger, guarantee: Guarantee, **rules: Any) -> None:
        self.bets, self.ledger, self.store = Bets(guarantee), ledger, store
        engine = Effects(store, registry=make_registry(self.bets), outside=lambda: "gw", rules=EffectRules(**rules))
        self.effects = AgentEffects(engine, ledger.agent_id)
        self.resolver = engine.resolver

    def begin(self) -> EffectState:
        """A bet whose answer is lost."""
        with pytest.raises(EffectInDoubt):
            execute_named(self.effects, "bet:1", "casino.bet", {"side": "heads"})
        return self.state

    def resolve(self, *, later: bool = True) -> EffectState:
        if later:
            let_time_pass(self.store, self.ledger.agent_id)
        return self.resolver.resolve(self.effects.get("bet:1").id).state

    @property
    def state(self) -> EffectState:
        return self.effects.get("bet:1").state


@pytest.fixture
def house(store: Store, ledger: TransactionLedger) -> House:
    return House(store, ledger, Guarantee.VERIFIABLE)


def test_what_is_found_is_booked_from_its_receipt(house: House) -> None:
    house.begin()
    house.bets.verdict = Applied({"won": "12"})
    assert house.resolve(later=False) is EffectState.SUCCEEDED
    assert buckets(house.ledger) == {"available": "107"}
    assert execute_named(house.effects, "bet:1", "casino.bet", {"side": "heads"}) == {"won": "12"}
    assert len(house.bets.calls) == 1
    effect = house.effects.get("bet:1")
    assert house.bets.told == [("gw", house.ledger.agent_id, effect.remote_key, {"side": "heads"}, {"seen": 0})]


def test_what_is_absent_waits_for_its_caller_with_its_money_held(house: House) -> None:
    house.begin()
    house.bets.verdict = Absent("not in the export")
    assert house.resolve(later=False) is EffectState.IN_DOUBT
    assert house.resolve() is EffectState.READY
    assert buckets(house.ledger) == {"available": "95", "in_flight": "5"}
    house.bets.answer = {"won": "0.01"}
    execute_named(house.effects, "bet:1", "casino.bet", {"side": "heads"})
    assert len(set(house.bets.calls)) == 1
    assert buckets(house.ledger) == {"available": "95.01"}


def test_what_is_absent_and_never_asked_for_again_fails(house: House) -> None:
    house.begin()
    house.bets.verdict = Absent()
    assert house.resolve() is EffectState.READY
    assert house.resolve(later=False) is EffectState.READY
    assert house.resolve() is EffectState.FAILED
    assert buckets(house.ledger) == {"available": "100"}
    assert len(house.bets.calls) == 1


def test_what_cannot_be_told_is_looked_at_again_and_then_left_to_a_human(
    store: Store, ledger: TransactionLedger
) -> None:
    house = House(store, ledger, Guarantee.VERIFIABLE, looks=3)
    house.begin()
    assert [house.resolve() for _ in range(3)] == [EffectState.IN_DOUBT, EffectState.IN_DOUBT, EffectState.MANUAL]
    assert [found.kind for found in Breaks(store).find(agent_id=ledger.agent_id)] == ["effect_manual"]
    assert house.resolve() is EffectState.MANUAL
    assert len(house.bets.told) == 3
    assert house.effects.decide("bet:1", happened=True, receipt={"won": "1"}, who="ana").state is EffectState.SUCCEEDED
    assert buckets(ledger) == {"available": "96"}
    assert Breaks(store).find(agent_id=ledger.agent_id) == []
    with pytest.raises(InvalidInput, match="already"):
        house.effects.decide("bet:1", happened=False, who="ana")


def test_a_human_may_find_that_nothing_happened(store: Store, ledger: TransactionLedger) -> None:
    house = House(store, ledger, Guarantee.BLIND)
    assert house.begin() is EffectState.MANUAL
    assert (
        house.effects.decide("bet:1", happened=False, who="ana", reason="no such transfer").state is EffectState.FAILED
    )
    assert buckets(ledger) == {"available": "100"}


def test_a_keyed_operation_is_repeated_by_the_worker(store: Store, ledger: TransactionLedger) -> None:
    house = House(store, ledger, Guarantee.KEYED)
    house.begin()
    assert house.resolve(later=False) is EffectState.IN_DOUBT
    house.bets.answer = {"won": "1"}
    assert house.resolve() is EffectState.SUCCEEDED
    assert len(set(house.bets.calls)) == 1
    assert house.bets.told == []
    assert buckets(ledger) == {"available": "96"}


def test_a_natural_operation_is_repeated_only_when_it_is_absent(store: Store, ledger: TransactionLedger) -> None:
    house = House(store, ledger, Guarantee.NATURAL)
    house.begin()
    house.resolve()
    assert len(house.bets.calls) == 1
    house.bets.verdict, house.bets.answer = Absent(), ServiceRejected("it is gone", code="gone")
    assert house.resolve() is EffectState.FAILED
    assert len(house.bets.calls) == 2
    assert buckets(ledger) == {"available": "100"}


def test_an_operation_that_is_not_known_here_is_left_to_those_who_know(store: Store, house: House) -> None:
    house.begin()
    let_time_pass(store, house.ledger.agent_id)
    other = Effects(store, registry=OperationRegistry(), outside=lambda: "gw").resolver
    effect = other.resolve(house.effects.get("bet:1").id)
    assert (effect.state, effect.verify_attempts) == (EffectState.IN_DOUBT, 1)
    assert "not known here" in str(effect.note)
    with pytest.raises(NotFound):
        other.resolve(new_id())


def test_the_sweep_takes_up_what_its_process_left(store: Store, house: House) -> None:
    """An intent whose process died: the lease runs out, and the sweep looks it up."""

    class Died(BaseException):
        pass

    class Dying(Bets):
        def call(self, tag: str) -> Any:
            effect = house.effects.get("bet:1")
            assert effect.state is EffectState.INTENT
            assert house.resolver.resolve(effect.id).fence == effect.fence
            let_time_pass(store, house.ledger.agent_id)
            house.bets.verdict = Applied({"won": "2"})
            swept = house.resolver.sweep(limit=1_000)
            assert effect.id in {found.id for found in swept}
            raise Died

    with pytest.raises(Died):
        execute_named(
            AgentEffects(Effects(store, registry=make_registry(Dying())), house.ledger.agent_id),
            "bet:1",
            "casino.bet",
            {"side": "heads"},
        )
    assert house.state is EffectState.SUCCEEDED
    assert buckets(house.ledger) == {"available": "97"}


def test_one_effect_that_cannot_be_booked_does_not_stop_the_sweep(store: Store, house: House) -> None:
    house.begin()
    let_time_pass(store, house.ledger.agent_id)
    house.bets.verdict = Applied({"lost": "the amount"})
    house.resolver.sweep(limit=1_000)
    assert house.state is EffectState.SUCCEEDED
    assert [found.kind for found in Breaks(store).find(agent_id=house.ledger.agent_id)] == ["unposted"]


def test_another_agent_of_the_fleet_is_credited_in_the_same_commit(store: Store, house: House) -> None:
    house.begin()
    friend = f"{house.ledger.agent_id}_friend"
    ServiceAccounts(store).enrol(friend, "casino", friend)
    house.bets.pays, house.bets.verdict = friend, Applied({"won": "1"})
    house.resolve()
    credited = TransactionLedger(store, friend)
    assert credited.balance("casino") == Money(1)
    assert credited.recent(1)[0].effect_id == house.effects.get("bet:1").id


def test_an_agent_outside_the_fleet_has_no_books_here(store: Store, house: House) -> None:
    house.begin()
    house.bets.pays, house.bets.verdict = "ag_somebody_else", Applied({"won": "1"})
    house.resolve()
    assert TransactionLedger(store, "ag_somebody_else").recent() == []


def test_parameters_are_checked_before_anything_is_written(house: House) -> None:
    with pytest.raises(InvalidInput, match="two sides"):
        execute_named(house.effects, "bet:1", "casino.bet", {"side": "edge"})
    with pytest.raises(NotFound, match=r"known are casino\.bet"):
        execute_named(house.effects, "bet:1", "casino.spin", {})
    assert (house.effects.list(), house.bets.calls) == ([], [])


def test_names_and_classes_of_operations_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="two operations"):
        make_registry(Bets(), Bets())
    odd = Bets()
    odd.guarantee = "sometimes"  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match="sometimes"):
        make_registry(odd)


def test_escrow_money_stays_the_agents(house: House) -> None:
    locked = move(FIVE, ("casino", "available"), ("escrow", "escrow_locked"))
    house.ledger.post("lock", locked)
    assert buckets(house.ledger) == {"available": "95"}
    assert buckets(house.ledger, "escrow") == {"escrow_locked": "5"}
