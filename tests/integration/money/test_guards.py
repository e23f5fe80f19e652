"""Durable rules on both databases: they hold for any number of processes, count what is open, and can be read."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentstate.errors import (
    AmountInvalid,
    EffectFailed,
    EffectInDoubt,
    Frozen,
    InvalidInput,
    LimitExceeded,
    NotFound,
    ServiceRejected,
    ServiceUnreachable,
)
from agentstate.ids import new_id
from agentstate.money import (
    Absent,
    AgentEffects,
    Applied,
    Breaks,
    Effects,
    EffectState,
    Guarantee,
    Guards,
    Money,
    TransactionLedger,
    call,
)
from agentstate.money.guards.authorize import measure_usage
from agentstate.money.guards.rules import GuardRequest, Rule, RuleKind
from agentstate.money.ledger.ledger import SETTLE, VOID
from agentstate.money.ledger.postings import Posting, earn, move, net_lines, reverse_lines, spend, spend_all
from agentstate.money.ledger.statement import HOLD
from agentstate.money.ledger.writer import write_posting
from agentstate.money.reconciliation.breaks import Sighting
from agentstate.store.store import Store
from agentstate.store.tables.base import db_time
from agentstate.store.tables.guards import freezes as freezes_table
from agentstate.store.tables.guards import guard_rules, guard_uses
from agentstate.store.tables.money import effects as effects_table
from tests.worlds.books import buckets, let_time_pass

ASKERS = 20
BETTORS = Path(__file__).with_name("bettors.py")


@pytest.fixture
def effects(store: Store, ledger: TransactionLedger) -> AgentEffects:
    return AgentEffects(Effects(store, secret=b"test"), ledger.agent_id)


@pytest.fixture
def guards(store: Store, ledger: TransactionLedger) -> Guards:
    return Guards(store, ledger.agent_id)


def bet(
    effects: AgentEffects, key: str, amount: Any = "5", send: Callable[[str], Any] | None = None, **options: Any
) -> Any:
    """A bet that is lost, unless told otherwise."""
    hold = None if amount is None else Money(amount)
    named = {"service": "casino", "name": "bet", "hold": hold, **options}
    return effects.execute_once(key, call(send or (lambda _key: {"won": False}), **named))


def raising(error: Exception) -> Callable[[str], Any]:
    def send(_key: str) -> Any:
        raise error

    return send


def let_effects_age(store: Store, agent_id: str, key: str, seconds: float) -> None:
    mine = (effects_table.c.agent_id == agent_id) & (effects_table.c.key == key)
    with store.transaction() as tx:
        tx.connection.execute(sa.update(effects_table).where(mine).values(created_at=db_time(-seconds)))


# Each limit by itself


def test_one_operation_costs_at_most_its_limit(
    effects: AgentEffects, guards: Guards, ledger: TransactionLedger
) -> None:
    guards.limit(per_operation="5", service="casino")
    bet(effects, "bet:1", "5")
    with pytest.raises(LimitExceeded) as caught:
        bet(effects, "bet:2", "5.000001", pytest.fail)
    error = caught.value
    assert (error.rule, error.limit, error.used, error.asked) == (
        "operation",
        Money(5),
        Money.from_minor(0),
        Money("5.000001"),
    )
    assert buckets(ledger) == {"available": "95"}
    with pytest.raises(NotFound):
        effects.get("bet:2")


@pytest.mark.guide_defect(112)
@pytest.mark.long
def test_a_hundred_bets_stop_at_the_total(effects: AgentEffects, guards: Guards) -> None:
    guards.limit(total="50", window_s=3_600)
    for number in range(71):
        bet(effects, f"bet:{number}", "0.70")
    for number in range(71, 100):
        with pytest.raises(LimitExceeded) as caught:
            bet(effects, f"bet:{number}", "0.70")
        assert caught.value.used == Money("49.70")


def test_an_amount_in_a_currency_that_no_limit_names_is_refused(
    effects: AgentEffects, guards: Guards, ledger: TransactionLedger
) -> None:
    ledger.post("start:btc", earn("casino", Money("2", "BTC")))
    guards.limit(per_operation="5", total="50", service="casino")
    assert "none of the limits on it names is refused" in guards.describe()
    with pytest.raises(LimitExceeded, match="would not count it") as caught:
        bet(effects, "bet:btc", None, pytest.fail, hold=Money("1", "BTC"))
    assert caught.value.limit in {Money(5), Money(50)}
    assert caught.value.asked == Money("1", "BTC")
    assert ledger.balance("casino", "BTC") == Money("2", "BTC")
    with pytest.raises(LimitExceeded), guards.use(Money("1", "USD"), service="casino"):
        pytest.fail("the block was run")


@pytest.mark.parametrize(
    "limits", [{"rate": 5}, {"per_operation": "5", "service": "trading"}, {"total": Money("1.5", "BTC")}]
)
def test_an_amount_is_allowed_where_no_limit_or_one_of_its_currency_binds(
    effects: AgentEffects, guards: Guards, ledger: TransactionLedger, limits: dict[str, Any]
) -> None:
    ledger.post("start:btc", earn("casino", Money("2", "BTC")))
    guards.limit(**limits)
    guards.limit(unexplained="10")
    bet(effects, "bet:btc", None, hold=Money("1", "BTC"))
    assert ledger.balance("casino", "BTC") == Money("1", "BTC")
    if "total" in limits:
        with pytest.raises(LimitExceeded):
            bet(effects, "bet:btc:2", None, pytest.fail, hold=Money("1", "BTC"))


def test_a_difference_that_no_limit_on_the_unexplained_counts_freezes(
    store: Store, effects: AgentEffects, guards: Guards
) -> None:
    guards.limit(unexplained="10")
    sighting = Sighting(
        agent_id=guards.agent_id, service="casino", kind="balance", subject="BTC", amount=Money("1", "BTC"), evidence={}
    )
    Breaks(store).report(sighting)
    with pytest.raises(Frozen):
        bet(effects, "bet:1", "1", pytest.fail)
    bet(effects, "bet:2", None, service="trading")
    guards.limit(unexplained=Money("2", "BTC"))
    bet(effects, "bet:3", "1")


def test_code_of_ones_own_is_awaited_under_the_rules(guards: Guards) -> None:
    async def run() -> None:
        async with guards.use_async("4", service="casino") as use:
            assert not use.is_released
        async with guards.use_async("4", service="casino") as use:
            use.release()
        with pytest.raises(LimitExceeded):
            async with guards.use_async("7", service="casino"):
                pytest.fail("the block was run")

        @guards.guard(service="casino")
        async def tip(amount: str) -> str:
            await asyncio.sleep(0)
            return amount

        assert await tip("5") == "5"
        with pytest.raises(LimitExceeded):
            await tip("2")

    guards.limit(total="10")
    asyncio.run(run())


def test_what_fell_out_of_the_window_counts_no_more(store: Store, effects: AgentEffects, guards: Guards) -> None:
    guards.limit(total="10", window_s=60)
    bet(effects, "bet:1", "6")
    with pytest.raises(LimitExceeded):
        bet(effects, "bet:2", "5")
    let_effects_age(store, effects.agent_id, "bet:1", 61)
    bet(effects, "bet:2", "5")


def test_a_bet_that_failed_for_certain_costs_nothing(effects: AgentEffects, guards: Guards) -> None:
    guards.limit(total="10")
    with pytest.raises(EffectFailed):
        bet(effects, "bet:1", "10", raising(ServiceRejected("closed", code="closed")))
    bet(effects, "bet:2", "10")


def test_what_is_in_doubt_counts_however_old_it_is(store: Store, effects: AgentEffects, guards: Guards) -> None:
    guards.limit(total="10", window_s=60)
    with pytest.raises(EffectInDoubt):
        bet(effects, "bet:1", "6", raising(TimeoutError()))
    let_effects_age(store, effects.agent_id, "bet:1", 3_600)
    with pytest.raises(LimitExceeded) as caught:
        bet(effects, "bet:2", "5")
    assert caught.value.used == Money(6)


def test_an_effect_without_a_hold_counts_by_what_it_took(effects: AgentEffects, guards: Guards) -> None:
    guards.limit(total="10")
    bet(effects, "buy:1", None, postings=lambda _receipt: spend("casino", Money(8)))
    bet(effects, "faucet:1", None, postings=lambda _receipt: earn("casino", Money(50)))
    with pytest.raises(LimitExceeded) as caught:
        bet(effects, "bet:1", "3")
    assert caught.value.used == Money(8)


def test_losses_less_winnings_are_limited(effects: AgentEffects, guards: Guards) -> None:
    guards.limit(loss="10")
    win = [*spend("casino", Money(4)), *earn("casino", Money(7))]
    bet(effects, "bet:1", "6")
    bet(effects, "bet:2", "4", postings=lambda _receipt: win)
    with pytest.raises(LimitExceeded) as caught:
        bet(effects, "bet:3", "8")
    assert (caught.value.rule, caught.value.used) == ("loss", Money(3))
    bet(effects, "bet:3", "7")
    with pytest.raises(LimitExceeded):
        bet(effects, "bet:4", "0.000001")


def test_money_in_flight_counts_as_lost_until_it_is_known(effects: AgentEffects, guards: Guards) -> None:
    guards.limit(loss="10")
    with pytest.raises(EffectInDoubt):
        bet(effects, "bet:1", "6", raising(TimeoutError()))
    with pytest.raises(LimitExceeded) as caught:
        bet(effects, "bet:2", "5")
    assert caught.value.used == Money(6)


def test_money_locked_in_an_escrow_is_not_lost(effects: AgentEffects, guards: Guards) -> None:
    guards.limit(loss="10")
    ten = Money(10)
    locked = move(ten, ("casino", "available"), ("casino", "escrow_locked"))
    bet(effects, "escrow:1", "10", postings=lambda _receipt: locked)
    bet(effects, "bet:1", "10")


def test_a_deposit_of_ones_own_is_no_winning(effects: AgentEffects, guards: Guards, ledger: TransactionLedger) -> None:
    guards.limit(loss="10")
    bet(effects, "bet:1", "10")
    ledger.deposit("more", "casino", Money(50))
    with pytest.raises(LimitExceeded):
        bet(effects, "bet:2", "1")


def test_at_most_so_much_is_in_flight(effects: AgentEffects, guards: Guards) -> None:
    guards.limit(in_flight="10")
    inner: list[Exception] = []

    def send(_key: str) -> Any:
        with pytest.raises(LimitExceeded) as caught:
            bet(effects, "bet:2", "5")
        inner.append(caught.value)
        return {}

    bet(effects, "bet:1", "6", send)
    assert [error.used for error in inner] == [Money(6)]  # type: ignore[attr-defined]
    bet(effects, "bet:2", "10")


def test_at_most_so_many_begin_in_a_window(store: Store, effects: AgentEffects, guards: Guards) -> None:
    guards.limit(rate=2, window_s=60)
    bet(effects, "bet:1")
    with pytest.raises(EffectFailed):
        bet(effects, "bet:2", "5", raising(ServiceRejected("closed", code="closed")))
    with pytest.raises(LimitExceeded) as caught:
        bet(effects, "bet:3", None)
    assert (caught.value.limit, caught.value.used, caught.value.asked) == (2, 2, 1)
    let_effects_age(store, effects.agent_id, "bet:1", 61)
    bet(effects, "bet:3", None)


def test_a_rule_binds_whom_it_names(effects: AgentEffects, guards: Guards, ledger: TransactionLedger) -> None:
    guards.limit(per_operation="1", service="casino", operation="bet")
    ledger.deposit("trading", "trading", Money(100))
    bet(effects, "order:1", "5", service="trading")
    bet(effects, "withdraw:1", "5", name="withdraw")
    other = TransactionLedger(effects._engine._store, f"{effects.agent_id}_other")
    other.deposit("start", "casino", Money(100))
    bet(AgentEffects(effects._engine, other.agent_id), "bet:1", "5")
    with pytest.raises(LimitExceeded):
        bet(effects, "bet:1", "5")


def test_a_replay_and_a_retry_are_no_second_use(effects: AgentEffects, guards: Guards) -> None:
    guards.limit(total="5", rate=1)
    with pytest.raises(ServiceUnreachable):
        bet(effects, "bet:1", "5", raising(ServiceUnreachable("no route")))
    assert bet(effects, "bet:1", "5") == {"won": False}
    assert bet(effects, "bet:1", "5", pytest.fail) == {"won": False}


# Many at once


def together(count: int, act: Callable[[int], Any]) -> list[Any]:
    """The outcomes of `act` in so many threads at once; refusals are outcomes."""
    barrier = threading.Barrier(count)

    def one(number: int) -> Any:
        barrier.wait(timeout=30)
        try:
            return act(number)
        except LimitExceeded as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.guide_defect(116)
@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        ({"total": "35"}, 7),
        ({"loss": "35"}, 7),
        ({"rate": 7}, 7),
        ({"total": "60", "loss": "35", "rate": 9, "in_flight": "90", "per_operation": "5"}, 7),
    ],
    ids=["total", "loss", "rate", "all"],
)
def test_twenty_at_once_do_not_exceed_a_limit(
    effects: AgentEffects, guards: Guards, ledger: TransactionLedger, limits: dict[str, Any], allowed: int
) -> None:
    guards.limit(**limits)
    guards.limit(total="90", service="casino", operation="bet")
    outcomes = together(ASKERS, lambda number: bet(effects, f"bet:{number}"))
    assert sum(outcome == {"won": False} for outcome in outcomes) == allowed
    assert sum(isinstance(outcome, LimitExceeded) for outcome in outcomes) == ASKERS - allowed
    assert buckets(ledger) == {"available": str(100 - 5 * allowed)}


@pytest.mark.guide_defect(116)
def test_twenty_at_once_do_not_exceed_what_may_be_in_flight(effects: AgentEffects, guards: Guards) -> None:
    guards.limit(in_flight="35")
    everybody_asked = threading.Barrier(ASKERS)

    def act(number: int) -> Any:
        def send(_key: str) -> Any:
            everybody_asked.wait(timeout=60)
            return "called"

        try:
            return bet(effects, f"bet:{number}", "5", send)
        except LimitExceeded:
            everybody_asked.wait(timeout=60)
            raise

    assert together(ASKERS, act).count("called") == 7


@pytest.mark.guide_defect(116)
def test_twenty_processes_do_not_exceed_a_limit(
    module_database_url: str, guards: Guards, ledger: TransactionLedger
) -> None:
    guards.limit(total="35")
    command = [sys.executable, str(BETTORS), module_database_url, guards.agent_id, str(ASKERS)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)
    assert (told.count("bet"), told.count("refused")) == (7, ASKERS - 7)
    assert buckets(ledger) == {"available": "65"}


def test_rules_set_while_many_ask_make_no_deadlock(effects: AgentEffects, guards: Guards) -> None:
    def act(number: int) -> Any:
        if number % 4 == 0:
            return guards.limit(total="35", loss="35", rate=50, in_flight="90")
        return bet(effects, f"bet:{number}", "1")

    assert not [outcome for outcome in together(ASKERS, act) if isinstance(outcome, Exception)]


# Freezes


def test_a_freeze_stops_calls_and_says_why_and_by_whom(
    effects: AgentEffects, guards: Guards, ledger: TransactionLedger
) -> None:
    assert guards.freeze("casino", "odd balance", who="carol")
    with pytest.raises(Frozen, match=r"carol: odd balance"):
        bet(effects, "bet:1", "5", pytest.fail)
    assert buckets(ledger) == {"available": "100"}
    bet(effects, "other:1", None, service="trading")
    assert guards.unfreeze("casino", who="dave")
    bet(effects, "bet:1")
    with effects._engine._store.read_connection() as connection:
        row = connection.execute(sa.select(freezes_table).where(freezes_table.c.agent_id == guards.agent_id)).one()
    assert (row.frozen_by, row.lifted_by) == ("carol", "dave")


def test_a_second_freeze_keeps_the_first_and_lifting_twice_says_so(guards: Guards) -> None:
    assert guards.freeze("casino", "first", who="carol")
    assert not guards.freeze("casino", "second", who="dave")
    assert [freeze.reason for freeze in guards.rules().freezes] == ["first"]
    assert guards.unfreeze("casino")
    assert not guards.unfreeze("casino")
    assert guards.freeze("casino", "again")


def test_a_freeze_of_the_balance_or_of_everything_stops_all_that_it_pays_for(
    effects: AgentEffects, guards: Guards
) -> None:
    for service in ("casino", "*"):
        guards.freeze(service, "checking")
        with pytest.raises(Frozen):
            bet(effects, "escrow:1", "5", pytest.fail, service="escrow")
        guards.unfreeze(service)
    bet(effects, "escrow:1", "5", service="escrow")


def test_a_freeze_needs_a_reason(guards: Guards) -> None:
    for reason in ("", "  ", "x" * 501):
        with pytest.raises(InvalidInput):
            guards.freeze("casino", reason)
    with pytest.raises(InvalidInput):
        guards.freeze("no such service", "why")


def test_a_replay_goes_on_under_a_freeze(effects: AgentEffects, guards: Guards) -> None:
    bet(effects, "bet:1")
    guards.freeze("casino", "checking")
    assert bet(effects, "bet:1", "5", pytest.fail) == {"won": False}


def test_what_was_not_sent_waits_for_the_end_of_the_freeze(effects: AgentEffects, guards: Guards) -> None:
    with pytest.raises(ServiceUnreachable):
        bet(effects, "bet:1", "5", raising(ServiceUnreachable("no route")))
    guards.freeze("casino", "checking")
    with pytest.raises(Frozen):
        bet(effects, "bet:1", "5", pytest.fail)
    assert effects.get("bet:1").state is EffectState.READY
    guards.unfreeze("casino")
    assert bet(effects, "bet:1") == {"won": False}


@pytest.mark.parametrize("there", [True, False])
def test_what_was_begun_is_found_out_under_a_freeze_but_not_called_anew(
    store: Store, effects: AgentEffects, guards: Guards, there: bool
) -> None:
    verdict = Applied({"won": True}) if there else Absent("not in the list")
    options = {"guarantee": Guarantee.VERIFIABLE, "verify": lambda _intent: verdict}
    with pytest.raises(EffectInDoubt):
        bet(effects, "bet:1", "5", raising(TimeoutError()), **options)
    let_time_pass(store, effects.agent_id)
    guards.freeze("casino", "checking")
    if there:
        assert bet(effects, "bet:1", "5", pytest.fail, **options) == {"won": True}
        return
    with pytest.raises(Frozen):
        bet(effects, "bet:1", "5", pytest.fail, **options)
    assert effects.get("bet:1").state is EffectState.READY
    guards.unfreeze("casino")
    assert bet(effects, "bet:1", "5", **options) == {"won": False}


# What nobody can explain


def test_money_of_a_manual_effect_freezes_until_it_is_decided(
    store: Store, effects: AgentEffects, guards: Guards
) -> None:
    guards.limit(unexplained="5")
    for key in ("bet:1", "bet:2"):
        with pytest.raises(EffectInDoubt):
            bet(effects, key, "3", raising(TimeoutError()))
    assert effects.get("bet:2").state is EffectState.MANUAL
    for service in ("casino", "escrow"):
        with pytest.raises(Frozen, match="wait for a human"):
            bet(effects, "bet:3", "1", pytest.fail, service=service)
    bet(effects, "order:1", None, service="trading")
    effects.decide("bet:1", happened=False, who="ana", reason="seen by eye")
    bet(effects, "bet:3", "1")


@pytest.mark.parametrize(("amount", "stops"), [("5", False), ("-5.000001", True), (None, True)])
def test_an_open_break_above_the_limit_freezes(
    store: Store, effects: AgentEffects, guards: Guards, amount: str | None, stops: bool
) -> None:
    guards.limit(unexplained="5")
    money = None if amount is None else Money(amount)
    sighting = Sighting(
        agent_id=effects.agent_id, service="casino", kind="balance", subject="b", amount=money, evidence={}
    )
    Breaks(store).report(sighting)
    if stops:
        with pytest.raises(Frozen):
            bet(effects, "bet:1", "1", pytest.fail)
        Breaks(store).explain(sighting.fingerprint, "a deposit")
    bet(effects, "bet:1", "1")


def test_open_breaks_count_together(store: Store, effects: AgentEffects, guards: Guards) -> None:
    guards.limit(unexplained="5")
    five = Money(5)
    for subject, service in (("a", "casino"), ("b", "trading"), ("c", "escrow")):
        bet(effects, f"bet:{subject}", "1")
        found = {"agent_id": effects.agent_id, "service": service, "kind": "balance", "evidence": {}}
        Breaks(store).report(Sighting(**found, subject=subject, amount=five))
    with pytest.raises(Frozen):
        bet(effects, "bet:d", "1", pytest.fail)


# Code of one's own


def test_a_block_runs_under_the_rules_and_counts(guards: Guards) -> None:
    guards.limit(total="10", in_flight="8", service="casino")
    with guards.use("6", service="casino"), pytest.raises(LimitExceeded), guards.use("3", service="casino"):
        pytest.fail("let in")
    with guards.use("4", service="casino"):
        pass
    with pytest.raises(LimitExceeded) as caught, guards.use("0.01", service="casino"):
        pytest.fail("let in")
    assert (caught.value.rule, caught.value.used) == ("total", Money(10))
    with guards.use("10", service="trading"):
        pass


def test_a_block_that_fails_counts_unless_it_says_that_nothing_happened(guards: Guards) -> None:
    guards.limit(total="10")
    with pytest.raises(KeyError), guards.use("4", service="casino"):
        raise KeyError
    with pytest.raises(KeyError), guards.use("6", service="casino") as use:  # noqa: PT012 it is the block that fails
        use.release()
        raise KeyError
    with guards.use("6", service="casino"):
        pass
    with pytest.raises(LimitExceeded), guards.use("0.01", service="casino"):
        pytest.fail("let in")


def test_a_block_whose_process_died_is_in_flight_only_so_long(store: Store, guards: Guards) -> None:
    guards.limit(in_flight="10")
    row = {"agent_id": guards.agent_id, "service": "casino", "operation": "x", "currency": "USDC", "amount": 10**7}
    with store.transaction() as tx:
        tx.connection.execute(
            sa.insert(guard_uses).values(id=new_id(), **row, began_at=db_time(-60), expires_at=db_time(60))
        )
    with pytest.raises(LimitExceeded), guards.use("1", service="casino"):
        pytest.fail("let in")
    with store.transaction() as tx:
        mine = guard_uses.c.agent_id == guards.agent_id
        tx.connection.execute(sa.update(guard_uses).where(mine).values(expires_at=db_time(-1)))
    with guards.use("1", service="casino"):
        pass


def test_a_block_and_an_effect_share_a_limit(effects: AgentEffects, guards: Guards) -> None:
    guards.limit(total="10", rate=3)
    bet(effects, "bet:1", "5")
    with guards.use("5", service="casino"):
        pass
    with pytest.raises(LimitExceeded):
        bet(effects, "bet:2", "1")
    with guards.use(service="casino"):
        pass
    with pytest.raises(LimitExceeded) as caught, guards.use(service="casino"):
        pytest.fail("let in")
    assert caught.value.rule == "rate"


def test_a_function_is_guarded_plain_and_async(guards: Guards) -> None:
    guards.limit(total="10")
    placed: list[str] = []

    @guards.guard(service="casino")
    def plain(game: str, amount: str) -> str:
        placed.append(amount)
        return game

    @guards.guard(service="casino", parameter="stake")
    async def awaited(stake: str) -> str:
        placed.append(stake)
        return stake

    assert plain("dice", "4") == "dice"
    assert asyncio.run(awaited("6")) == "6"
    with pytest.raises(LimitExceeded):
        plain(amount="1", game="dice")
    with pytest.raises(LimitExceeded):
        asyncio.run(awaited("1"))
    with pytest.raises(AmountInvalid):
        plain("dice", "-1")
    assert placed == ["4", "6"]
    assert not hasattr(plain, "__wrapped__")


def test_a_freeze_stops_code_of_ones_own(guards: Guards) -> None:
    guards.freeze("casino", "checking")
    with pytest.raises(Frozen), guards.use("1", service="casino"):
        pytest.fail("let in")


@pytest.mark.parametrize(
    "options", [{"amount": "-1"}, {"amount": 1.5}, {"service": "no such"}, {"longest_s": 0}, {"longest_s": 10**6}]
)
def test_a_use_that_says_nothing_is_refused(guards: Guards, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput), guards.use(**{"service": "casino", "amount": "1", **options}):
        pytest.fail("let in")


def test_twenty_blocks_at_once_do_not_exceed_a_limit(guards: Guards) -> None:
    guards.limit(total="7")

    def act(_number: int) -> str:
        with guards.use("1", service="casino"):
            return "in"

    assert together(ASKERS, act).count("in") == 7


# The registry


def test_the_registry_prints_all_rules(guards: Guards) -> None:
    assert guards.rules().describe().endswith("- none.")
    guards.limit(total="500", rate=30, service="casino", window_s=3_600, who="carol")
    guards.limit(per_operation="50", who="carol")
    guards.freeze("escrow", "odd balance", who="dave")
    found = guards.rules()
    assert len(found) == 3
    first, *others = found.describe().splitlines()[1:]
    assert first.startswith("- escrow: FROZEN since 20")
    assert others == [
        "- every service: one operation may cost at most 50.00 USDC.",
        "- casino: at most 30 operations may begin in 1 hour.",
        "- casino: all together may cost at most 500.00 USDC in 1 hour.",
        "- An amount in a currency that none of the limits on it names is refused.",
    ]
    assert {rule.set_by for rule in found} == {"carol"}


def test_a_limit_set_again_takes_the_place_of_the_first(effects: AgentEffects, guards: Guards) -> None:
    first = guards.limit(total="1")
    second = guards.limit(total="6")
    assert first[0].id == second[0].id
    assert [rule.maximum for rule in guards.rules()] == [Money(6)]
    bet(effects, "bet:1", "6")


def test_a_limit_is_removed_by_its_agent_alone(store: Store, effects: AgentEffects, guards: Guards) -> None:
    (rule,) = guards.limit(total="1")
    with pytest.raises(NotFound):
        Guards(store, "somebody_else").remove(rule.id)
    guards.remove(rule.id)
    with pytest.raises(NotFound):
        guards.remove(rule.id)
    bet(effects, "bet:1", "6")


@pytest.mark.parametrize("limits", [{}, {"total": 0.1}, {"total": "-1"}, {"rate": -1}, {"total": "1", "window_s": 0}])
def test_a_limit_that_says_nothing_is_refused_whole(guards: Guards, limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        guards.limit(**limits)
    assert not guards.rules().rules


def test_limits_and_a_freeze_join_the_callers_transaction(store: Store, guards: Guards) -> None:
    with pytest.raises(KeyError), store.transaction() as tx:  # noqa: PT012 it is the block that fails
        guards.limit(total="1", tx=tx)
        guards.freeze("casino", "why", tx=tx)
        raise KeyError
    assert not guards.rules().rules
    assert not guards.rules().freezes


def test_a_rule_of_a_wrong_shape_is_refused_by_the_database(store: Store, guards: Guards) -> None:
    (rule,) = guards.limit(total="1")
    mine = guard_rules.c.id == rule.id
    for wrong in ({"maximum": -1}, {"window_s": None}, {"currency": None}, {"kind": "other"}, {"window_s": 0}):
        with pytest.raises(sa.exc.IntegrityError), store.transaction() as tx:
            tx.connection.execute(sa.update(guard_rules).where(mine).values(wrong))


# Windows against a model

_Past = st.tuples(st.integers(0, 20), st.integers(1, 9), st.sampled_from(["succeeded", "failed", "in_doubt"]))


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return iter(range(10**6))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(past=st.lists(_Past, max_size=6), window_s=st.integers(1, 20))
def test_what_is_used_is_what_a_model_says(
    store: Store, numbers: Iterator[int], past: list[tuple[int, int, str]], window_s: int
) -> None:
    """Effects and uses of any age and end, at the very edge of the window too."""
    agent_id = f"ag_model_{next(numbers)}"
    ledger = TransactionLedger(store, agent_id)
    ledger.deposit("start", "casino", Money.from_minor(1_000))
    with store.transaction() as tx:
        now = tx.now()
        for number, (age_s, minor, state) in enumerate(past):
            _write_past(tx, ledger, number, (now - timedelta(seconds=age_s), minor, state))
    rules = {
        kind: Rule(agent_id=agent_id, kind=kind, maximum=most, window_s=window)
        for kind, most, window in (
            (RuleKind.TOTAL, Money.from_minor(9), window_s),
            (RuleKind.IN_FLIGHT, Money.from_minor(9), None),
            (RuleKind.RATE, 9, window_s),
        )
    }
    ask = GuardRequest(
        id=new_id(), agent_id=agent_id, service="casino", operation="bet", amount=Money.from_minor(1), at=now
    )
    with store.transaction() as tx:
        found = {kind: measure_usage(tx, rule, ask) for kind, rule in rules.items()}
    open_now = [minor for _, minor, state in past if state == "in_doubt"]
    ended = [minor for age_s, minor, state in past if state == "succeeded" and age_s < window_s]
    assert found[RuleKind.TOTAL] == sum(open_now) + sum(ended)
    assert found[RuleKind.IN_FLIGHT] == sum(open_now)
    assert found[RuleKind.RATE] == sum(age_s < window_s for age_s, _, _ in past)


def _write_past(tx: Any, ledger: TransactionLedger, number: int, past: tuple[datetime, int, str]) -> None:
    at, minor, state = past
    effect_id, hold_id, ended = new_id(), new_id(), state != "in_doubt"
    tx.connection.execute(
        sa.insert(effects_table).values(
            id=effect_id,
            agent_id=ledger.agent_id,
            key=f"bet:{number}",
            service="casino",
            operation="bet",
            params={},
            params_sha=b"",
            remote_key="",
            guarantee="blind",
            state=state,
            deadline_ms=1,
            settle_ms=1,
            hold_id=hold_id,
            outcome={} if ended else None,
            resolved_at=at if ended else None,
            next_verify_at=None if ended else at,
            created_at=at,
            called_at=at,
        )
    )
    held = move(Money.from_minor(minor), ("casino", "available"), ("casino", "in_flight"))
    write_posting(
        tx, ledger.agent_id, Posting(id=hold_id, key=f"{number}:hold", lines=held, kind=HOLD, effect_id=effect_id)
    )
    if ended:
        given_back = reverse_lines(held)
        lines = given_back if state == "failed" else net_lines(spend_all(held), released=held)
        kind = VOID if state == "failed" else SETTLE
        end = Posting(key=f"{number}:end", lines=lines, kind=kind, effect_id=effect_id, resolves=hold_id)
        write_posting(tx, ledger.agent_id, end)
