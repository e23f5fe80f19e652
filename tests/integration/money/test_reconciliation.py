"""Reconciliation: what is only in flight is never a break, what is really wrong always is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from agentstate.errors import EffectInDoubt, ServiceReadFailed
from agentstate.money import (
    AgentEffects,
    Applied,
    Breaks,
    Effects,
    Guarantee,
    Money,
    Observation,
    Reconciler,
    ReconRules,
    ServiceAccounts,
    TransactionLedger,
    call,
    earn,
    move,
    spend,
)
from agentstate.store.store import Store
from agentstate.store.tables.base import db_time
from agentstate.store.tables.money import recon_cursors, recon_runs

FIVE = Money(5)
RULES = ReconRules(lag_s=0.0)


class Service:
    """What the service shows, and what happens while it is read."""

    def __init__(self, balance: str) -> None:
        self.balance: Any = Decimal(balance)
        self.quality = "live"
        self.others: dict[str, Decimal] = {}
        self.meanwhile: Callable[[], Any] = lambda: None

    def read_balance(self, _agent_id: str, service: str) -> Observation:
        shown = self.balance
        self.meanwhile()
        if isinstance(shown, Exception):
            raise shown
        return Observation(
            service=service, balances={"USDC": shown, **self.others}, as_of=datetime.now(UTC), quality=self.quality
        )


@pytest.fixture
def service() -> Service:
    return Service("100")


@pytest.fixture
def reconciler(store: Store, service: Service) -> Reconciler:
    return Reconciler(store, service, RULES)


def status(reconciler: Reconciler, ledger: TransactionLedger) -> str:
    return reconciler.reconcile(ledger.agent_id, "casino").status


def doubtful_bet(store: Store, ledger: TransactionLedger) -> AgentEffects:
    effects = AgentEffects(Effects(store), ledger.agent_id)

    def send(_key: str) -> None:
        raise TimeoutError

    with pytest.raises(EffectInDoubt):
        effects.execute_once("bet:1", call(send, service="casino", guarantee=Guarantee.KEYED, hold=FIVE))
    return effects


def test_equal_balances_match(reconciler: Reconciler, ledger: TransactionLedger) -> None:
    finding = reconciler.reconcile(ledger.agent_id, "casino")
    assert (finding.status, finding.expected, finding.observed) == ("matched", Money(100), Money(100))
    assert finding.difference == Money.zero()


def test_every_currency_of_the_books_or_the_service_is_compared(
    store: Store, reconciler: Reconciler, service: Service, ledger: TransactionLedger
) -> None:
    ledger.post("btc", earn("casino", Money("2", "BTC")))
    finding = reconciler.reconcile(ledger.agent_id, "casino")
    assert (finding.status, finding.evidence["reason"]) == ("stale", "the service shows no balance in BTC")
    assert [(other.status, other.expected) for other in finding.others] == [("matched", Money(100))]

    service.others = {"BTC": Decimal(2), "SOL": Decimal(0), "NOSUCH": Decimal(9)}
    assert status(reconciler, ledger) == "matched"

    service.others = {"BTC": Decimal("1.5"), "SOL": Decimal("0.1")}
    finding = reconciler.reconcile(ledger.agent_id, "casino")
    assert {item.expected.currency: item.status for item in (finding, *finding.others)} == {
        "BTC": "break", "SOL": "break", "USDC": "matched",
    }  # fmt: skip
    found = {item.amount for item in Breaks(store).find(agent_id=ledger.agent_id)}
    assert found == {Money("-0.5", "BTC"), Money("0.1", "SOL")}

    service.others = {"BTC": Decimal(2)}
    assert status(reconciler, ledger) == "matched"
    assert [item.amount for item in Breaks(store).find(agent_id=ledger.agent_id)] == [Money("0.1", "SOL")]


def test_a_currency_that_is_gone_is_compared_no_more(reconciler: Reconciler, ledger: TransactionLedger) -> None:
    ledger.post("in", earn("casino", Money("2", "BTC")))
    ledger.post("out", spend("casino", Money("2", "BTC")))
    reconciler.reconcile(ledger.agent_id, "casino")  # just booked: it may still show
    finding = reconciler.reconcile(ledger.agent_id, "casino")
    assert (finding.status, finding.others) == ("matched", ())


def test_noise_below_the_scale_is_no_difference(
    reconciler: Reconciler, service: Service, ledger: TransactionLedger
) -> None:
    service.balance = Decimal("100.00000000000012")
    assert status(reconciler, ledger) == "matched"


def test_casino_escrow_and_faucet_are_one_balance(
    reconciler: Reconciler, service: Service, ledger: TransactionLedger
) -> None:
    ledger.post("lock", move(FIVE, ("casino", "available"), ("escrow", "escrow_locked")))
    ledger.deposit("claim", "faucet", Money(1))
    service.balance = Decimal(96)
    finding = reconciler.reconcile(ledger.agent_id, "escrow")
    assert (finding.service, finding.status) == ("casino", "matched")


@pytest.mark.parametrize("shown", ["100", "95"], ids=["not applied", "applied and lost"])
def test_money_in_flight_is_no_break(
    store: Store, reconciler: Reconciler, service: Service, ledger: TransactionLedger, shown: str
) -> None:
    doubtful_bet(store, ledger)
    service.balance = Decimal(shown)
    assert [status(reconciler, ledger) for _ in range(4)] == ["timing" if shown == "100" else "matched"] * 4
    assert Breaks(store).find(agent_id=ledger.agent_id) == []


def test_what_is_booked_while_the_service_is_read_is_no_break(
    reconciler: Reconciler, service: Service, ledger: TransactionLedger
) -> None:
    service.meanwhile = lambda: ledger.withdraw("w", "casino", FIVE)
    assert status(reconciler, ledger) == "timing"
    service.balance, service.meanwhile = Decimal(95), lambda: None
    assert status(reconciler, ledger) == "matched"


def test_an_effect_that_ends_while_the_service_is_read_counts_whole(
    store: Store, reconciler: Reconciler, service: Service, ledger: TransactionLedger
) -> None:
    """Its hold was booked before the first cut, its outcome after the service answered with the old balance."""
    called, may_end = threading.Event(), threading.Event()

    def slow(_key: str) -> dict[str, str]:
        called.set()
        assert may_end.wait(60)
        return {}

    won = [*spend("casino", FIVE), *earn("casino", Money(12))]
    options: dict[str, Any] = {"service": "casino", "hold": FIVE, "postings": lambda _receipt: won}
    with ThreadPoolExecutor(1) as pool:
        bet = pool.submit(AgentEffects(Effects(store), ledger.agent_id).execute_once, "b", call(slow, **options))
        assert called.wait(60)

        def end_the_bet() -> None:
            may_end.set()
            bet.result(10)

        service.meanwhile = end_the_bet
        finding = reconciler.reconcile(ledger.agent_id, "casino")
    assert (finding.status, finding.difference) == ("timing", Money(-7))
    service.balance, service.meanwhile = Decimal(107), lambda: None
    assert status(reconciler, ledger) == "matched"


def test_a_real_difference_is_a_break_at_once_when_nothing_is_open(
    store: Store, reconciler: Reconciler, service: Service, ledger: TransactionLedger
) -> None:
    service.balance = Decimal("99.999999")
    finding = reconciler.reconcile(ledger.agent_id, "casino")
    assert (finding.status, finding.difference) == ("break", Money.from_minor(-1))
    assert status(reconciler, ledger) == "break"
    [found] = Breaks(store).find(agent_id=ledger.agent_id)
    assert (found.kind, found.amount, found.sightings, found.service) == ("balance", Money.from_minor(-1), 2, "casino")


def test_a_difference_that_nothing_open_explains_is_a_break_the_second_time(
    store: Store, service: Service, ledger: TransactionLedger
) -> None:
    doubtful_bet(store, ledger)
    service.balance = Decimal("97.50")
    long_after = Reconciler(store, service, replace(RULES, doubt_s=0.0))
    assert [status(long_after, ledger) for _ in range(2)] == ["timing", "break"]


def test_two_differences_that_pass_by_are_no_break(store: Store, service: Service, ledger: TransactionLedger) -> None:
    doubtful_bet(store, ledger)
    long_after = Reconciler(store, service, replace(RULES, doubt_s=0.0))
    found = []
    for shown in ("97.50", "98.25", "97.50"):
        service.balance = Decimal(shown)
        found.append(status(long_after, ledger))
    assert found == ["timing"] * 3


def test_an_effect_freshly_in_doubt_may_have_cost_or_won_any_amount(
    store: Store, reconciler: Reconciler, service: Service, ledger: TransactionLedger
) -> None:
    effects = doubtful_bet(store, ledger)
    service.balance = Decimal("104.75")
    assert [status(reconciler, ledger) for _ in range(4)] == ["timing"] * 4
    effects.decide("bet:1", happened=False, who="ana", reason="nothing happened")
    assert status(reconciler, ledger) == "break"


def test_a_break_closes_itself_when_it_is_explained(
    store: Store, reconciler: Reconciler, service: Service, ledger: TransactionLedger
) -> None:
    service.balance = Decimal(107)
    assert status(reconciler, ledger) == "break"
    ledger.deposit("found", "casino", Money(7))
    assert status(reconciler, ledger) == "matched"
    [closed] = Breaks(store).find(agent_id=ledger.agent_id, only_open=False)
    assert (closed.state, closed.resolution) == ("auto_resolved", "the service and the books agree again")
    service.balance = Decimal(108)
    assert status(reconciler, ledger) == "break"
    assert len(Breaks(store).find(agent_id=ledger.agent_id, only_open=False)) == 2


@pytest.mark.parametrize("trouble", ["down", "fallback", "other currency"])
def test_a_service_that_does_not_tell_is_stale_and_never_zero(
    store: Store, reconciler: Reconciler, service: Service, ledger: TransactionLedger, trouble: str
) -> None:
    if trouble == "down":
        service.balance = ServiceReadFailed("503")
    elif trouble == "fallback":
        service.quality = "fallback"
    else:
        service.read_balance = lambda *_names: Observation(  # type: ignore[method-assign]
            service="casino", balances={"NOSUCH": Decimal(5)}, as_of=datetime.now(UTC)
        )
    for _ in range(3):
        finding = reconciler.reconcile(ledger.agent_id, "casino")
        assert (finding.status, finding.observed, finding.difference) == ("stale", None, None)
    assert Breaks(store).find(agent_id=ledger.agent_id) == []


def test_a_tolerance_is_that_of_the_services_rounding(store: Store, ledger: TransactionLedger) -> None:
    ledger.deposit("d", "domains", Money("20.004"))
    domains = Reconciler(store, Service("20.00"), RULES)
    assert domains.reconcile(ledger.agent_id, "domains").status == "matched"
    ledger.deposit("e", "domains", Money("0.0011"))
    assert domains.reconcile(ledger.agent_id, "domains").status == "break"


def test_a_run_that_was_overtaken_writes_nothing(
    store: Store, reconciler: Reconciler, service: Service, ledger: TransactionLedger
) -> None:
    def overtake() -> None:
        service.meanwhile, service.balance = (lambda: None), Decimal(100)
        assert status(reconciler, ledger) == "matched"

    service.balance, service.meanwhile = Decimal(3), overtake
    assert status(reconciler, ledger) == "break"
    assert Breaks(store).find(agent_id=ledger.agent_id) == []
    mine = recon_runs.c.agent_id == ledger.agent_id
    with store.read_connection() as connection:
        assert list(connection.execute(sa.select(recon_runs.c.status).where(mine)).scalars()) == ["matched"]


def test_due_accounts_are_claimed_once_each(
    store: Store, reconciler: Reconciler, ledger: TransactionLedger, service: Service
) -> None:
    fleet = ServiceAccounts(store)
    for name in ("casino", "escrow", "faucet"):
        fleet.enrol(ledger.agent_id, name, ledger.agent_id)
    others: list[Any] = []
    service.meanwhile = lambda: others.extend(reconciler.reconcile_due(limit=1_000))
    found = [finding for finding in reconciler.reconcile_due(limit=1_000) if finding.agent_id == ledger.agent_id]
    assert [(finding.service, finding.status) for finding in found] == [("casino", "matched")]
    assert ledger.agent_id not in {finding.agent_id for finding in others}
    assert ledger.agent_id not in {finding.agent_id for finding in reconciler.reconcile_due(limit=1_000)}
    with store.transaction() as tx:
        mine = recon_cursors.c.agent_id == ledger.agent_id
        tx.connection.execute(sa.update(recon_cursors).where(mine).values(next_due_at=db_time(-1.0)))
    assert ledger.agent_id in {finding.agent_id for finding in reconciler.reconcile_due(limit=1_000)}


def test_finding_an_effect_out_ends_its_timing(
    store: Store, reconciler: Reconciler, service: Service, ledger: TransactionLedger
) -> None:
    effects = doubtful_bet(store, ledger)
    assert status(reconciler, ledger) == "timing"
    service.balance = Decimal(95)
    effects.execute_once(
        "bet:1",
        call(lambda _key: {}, service="casino", guarantee=Guarantee.KEYED, hold=FIVE, verify=lambda _i: Applied({})),
    )
    assert status(reconciler, ledger) == "matched"
