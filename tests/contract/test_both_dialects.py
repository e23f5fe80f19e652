"""The contract of the services, held against both dialects: what each operation returns, and how it is found again."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from agentstate.errors import InvalidInput, ServiceRejected
from agentstate.money.effects.verdicts import Absent, Applied, Unknown
from agentstate.services.adapter import Adapter, InDoubt, Intent, Rejected
from agentstate.services.operations.names import Service
from tests.contract.conftest import Way

LONG_AGO = timedelta(seconds=120)
ADDRESS = "0x" + "ab" * 20
AFTER_EFFECT = ("commit_then_drop", "500_after_effect", "400_after_effect", "html_502", "truncate_json")


def doubt(way: Way, agent: str, operation: str, params: dict[str, Any], fault: str) -> tuple[Any, Any]:
    """Do an operation that is cut off; what looking says at once, and after the settle time."""
    service, _, name = operation.partition(".")
    adapter = Adapter(way.gateway, agent, service)
    intent = Intent(tag=f"tag-{fault}", operation=name, params=params)
    way.sandbox.client.set_faults({"fault": fault, "service": service, "operation": name, "times": 1})
    outcome = adapter.execute(intent)
    assert isinstance(outcome, InDoubt), outcome
    later = InDoubt(reason="", called_at=outcome.called_at - LONG_AGO, baseline=outcome.baseline)
    return adapter.resolve(intent, outcome), adapter.resolve(intent, later)


def params_of(operation: str, way: Way, agent: str) -> dict[str, Any]:
    other = way.agent("other") if operation in {"escrow.create", "casino.pay"} else ""
    return {
        "casino.bet": {"amount": Decimal("1.25"), "side": "heads"},
        "casino.pay": {"to": other, "amount": Decimal(3), "memo": "thanks"},
        "casino.withdraw": {"amount": Decimal(5), "address": ADDRESS},
        "casino.daily": {},
        "escrow.create": {"counterparty": other, "amount": Decimal(10)},
        "faucet.claim": {},
        "trading.open": {"coin": "ETH", "side": "short", "size": Decimal(50), "leverage": 2},
        "trading.limit": {"coin": "BTC", "side": "long", "size": Decimal(50), "price": Decimal(10_000)},
        "domains.register": {"domain": f"{agent.replace('_', '-')}.dev"},
        "wallet.swap": {"from_chain": "base", "to_chain": "solana", "to_address": "abcdefgh", "amount": Decimal(5)},
    }[operation]


FOUND_AGAIN = (
    "casino.bet", "casino.pay", "casino.withdraw", "casino.daily", "escrow.create", "faucet.claim", "trading.open",
    "trading.limit", "domains.register", "wallet.swap",
)  # fmt: skip


def test_what_happened_is_found_again(way: Way, subtests: pytest.Subtests) -> None:
    agent = way.rich()
    for place, operation in enumerate(FOUND_AGAIN):
        with subtests.test(operation):
            fault = AFTER_EFFECT[place % len(AFTER_EFFECT)]
            soon, later = doubt(way, agent, operation, params_of(operation, way, agent), fault)
            assert isinstance(soon, Applied), soon
            assert later == soon
            assert sum(way.effects(agent, operation).values()) == 1


def test_what_did_not_happen_is_absent_only_after_the_settle_time(way: Way, subtests: pytest.Subtests) -> None:
    agent = way.rich()
    for operation in (name for name in FOUND_AGAIN if name != "casino.withdraw"):
        with subtests.test(operation):
            soon, later = doubt(way, agent, operation, params_of(operation, way, agent), "drop_before_commit")
            assert isinstance(soon, Unknown), soon
            assert soon.settles_in_s is not None
            assert isinstance(later, Absent), later
            assert way.effects(agent, operation) == {}


def test_a_withdrawal_that_is_not_there_is_for_a_person(way: Way) -> None:
    agent = way.rich()
    params = params_of("casino.withdraw", way, agent)
    _, later = doubt(way, agent, "casino.withdraw", params, "drop_before_commit")
    assert isinstance(later, Unknown)
    assert later.settles_in_s is None


def test_what_died_half_way_is_never_taken_for_nothing(way: Way, subtests: pytest.Subtests) -> None:
    agent = way.rich()
    for operation in ("casino.bet", "casino.withdraw", "casino.daily", "escrow.create", "domains.register"):
        with subtests.test(operation):
            _, later = doubt(way, agent, operation, params_of(operation, way, agent), "crash_between_steps")
            assert isinstance(later, Unknown), later
            assert later.settles_in_s is None


def test_the_receipts_are_what_really_moved(way: Way) -> None:
    agent = way.rich()
    other = way.agent("other")
    casino, trading = Adapter(way.gateway, agent, "casino"), Adapter(way.gateway, agent, "trading")
    escrow = Adapter(way.gateway, agent, "escrow")
    calls = [
        (casino, "bet", {"amount": Decimal("2.50"), "side": "tails"}),
        (casino, "bet", {"amount": Decimal("0.37"), "game": "dice", "direction": "under", "threshold": 60}),
        (casino, "pay", {"to": other, "amount": Decimal("1.10")}),
        (casino, "withdraw", {"amount": Decimal(7), "address": ADDRESS}),
        (casino, "daily", {}),
        (Adapter(way.gateway, agent, "faucet"), "claim", {}),
        (escrow, "create", {"counterparty": other, "amount": Decimal(10)}),
    ]
    expected = way.micros(agent)
    for number, (adapter, name, params) in enumerate(calls):
        receipt = applied(adapter, name, f"t{number}", params)
        expected += receipt["credited"] - receipt["debited"]
        assert way.micros(agent) == expected, name
    opened = applied(trading, "open", "o", {"coin": "BTC", "side": "long", "size": Decimal(100), "leverage": 5})
    closed = applied(trading, "close", "c", {"position_id": opened["reference"]})
    left = 1_000_000_000 - opened["debited"] - closed["debited"] + closed["credited"]
    assert way.micros(agent, "trading") == left
    sent = applied(Adapter(way.gateway, agent, "wallet"), "send", "s", {"chain": "base", "to": ADDRESS, "amount": "4"})
    assert way.micros(agent, "wallet") == 50_000_000 - sent["debited"]


def applied(adapter: Adapter, name: str, tag: str, params: dict[str, Any]) -> dict[str, Any]:
    outcome = adapter.execute(Intent(tag=tag, operation=name, params=params))
    assert isinstance(outcome, Applied), outcome
    return dict(outcome.receipt)


def test_an_escrow_goes_its_way_between_two_agents(way: Way) -> None:
    creator, worker = way.rich("creator"), way.agent("worker")
    mine, theirs = Adapter(way.gateway, creator, "escrow"), Adapter(way.gateway, worker, "escrow")
    made = applied(mine, "create", "e", {"counterparty": worker, "amount": Decimal(10), "description": "a logo"})
    assert made["counterparty"] == worker
    assert mine.read_state().balances == {"USDC": Decimal("10.00")}
    escrow = {"escrow_id": made["reference"]}
    assert applied(theirs, "complete", "c", escrow)["status"] == "completed"
    released = applied(mine, "release", "r", escrow)
    assert (released["net"], released["commission"], released["counterparty"]) == (9_900_000, 100_000, worker)
    assert way.micros(worker) == 9_900_000
    again = mine.execute(Intent(tag="r2", operation="release", params=escrow))
    assert isinstance(again, Rejected)
    assert again.code == "invalid_status"
    assert mine.read_state().balances == {"USDC": Decimal("0.00")}


@pytest.mark.parametrize("fault", ["commit_then_drop", "drop_before_commit"])
def test_a_release_that_was_cut_off_is_told_by_its_status(way: Way, fault: str) -> None:
    creator, worker = way.rich("creator"), way.agent("worker")
    made = applied(Adapter(way.gateway, creator, "escrow"), "create", "e", {"counterparty": worker, "amount": "10"})
    soon, _ = doubt(way, creator, "escrow.release", {"escrow_id": made["reference"]}, fault)
    assert isinstance(soon, Applied if fault == "commit_then_drop" else Absent)


def test_every_state_tells_its_money(way: Way, subtests: pytest.Subtests) -> None:
    agent = way.rich()
    expected = {"casino": 100, "escrow": 0, "faucet": None, "trading": 1000, "domains": 100, "wallet": 50}
    for service, dollars in expected.items():
        with subtests.test(service):
            state = Adapter(way.gateway, agent, service).read_state()
            assert state.balances == ({} if dollars is None else {"USDC": Decimal(dollars)})
            assert state.quality == "live"
            assert state.body["agent_id"] == agent


def test_a_fallback_of_trading_says_so_and_proves_nothing(way: Way) -> None:
    agent = way.rich()
    order = {"coin": "SOL", "side": "long", "size": Decimal(50)}
    adapter = Adapter(way.gateway, agent, "trading")
    rule = {"fault": "stale_source", "service": "trading"}
    way.sandbox.client.set_faults(*({**rule, "operation": name} for name in ("state", "positions", "history")))
    assert adapter.read_state().quality == "fallback"
    verdict = adapter.resolve(
        Intent(tag="t", operation="open", params=order),
        InDoubt(reason="", called_at=way.gateway.now() - LONG_AGO, baseline={"newest": "", "ids": []}),
    )
    assert isinstance(verdict, Unknown)


def test_the_ledger_is_put_in_order_and_a_gap_is_seen(way: Way) -> None:
    agent = way.rich()
    adapter = Adapter(way.gateway, agent, "casino")
    for number in range(6):
        applied(adapter, "bet", f"b{number}", {"amount": Decimal("0.05"), "side": "heads"})
    page = adapter.ledger()
    balances = [row.balance_after for row in page.rows]
    assert balances[-1] == page.balance == way.micros(agent)
    assert [after - row.amount for row, after in zip(page.rows[1:], balances[1:], strict=True)] == balances[:-1]
    assert page.complete_since is not None
    way.sandbox.client.set_faults({"fault": "ledger_gap", "service": "casino", "operation": "ledger"})
    gapped = adapter.ledger()
    assert len(gapped.rows) < len(page.rows)
    assert not gapped.complete(frozenset())


def test_more_rows_than_the_window_are_no_proof_of_absence(way: Way) -> None:
    agent = way.rich()
    adapter = Adapter(way.gateway, agent, "casino")
    payment = {"to": way.agent("other"), "amount": Decimal("0.07")}
    known = adapter.operations()["pay"].baseline(way.gateway, agent, payment)
    for number in range(52):
        applied(adapter, "bet", f"b{number}", {"amount": Decimal("0.01"), "side": "heads"})
    verdict = adapter.resolve(
        Intent(tag="t", operation="pay", params=payment),
        InDoubt(reason="", called_at=way.gateway.now() - LONG_AGO, baseline=known),
    )
    assert isinstance(verdict, Unknown)
    assert verdict.settles_in_s is None


def test_an_order_rests_fills_by_itself_and_can_be_cancelled(way: Way) -> None:
    agent = way.rich()
    adapter = Adapter(way.gateway, agent, "trading")
    resting = {"coin": "BTC", "side": "long", "size": Decimal(50), "leverage": 1}
    low = applied(adapter, "limit", "low", {**resting, "price": Decimal(1_000)})
    applied(adapter, "limit", "high", {**resting, "price": Decimal(1_000_000)})
    assert way.sandbox.client.run_clock("monitor") == {"monitor": 1}
    assert len(adapter.read_state().body["positions"]) == 1
    assert applied(adapter, "cancel", "x", {"order_id": low["reference"]})["status"] == "cancelled"
    again = adapter.execute(Intent(tag="y", operation="cancel", params={"order_id": low["reference"]}))
    assert isinstance(again, Rejected)


def test_deposits_are_found_by_polling_and_not_always_right(way: Way) -> None:
    agent = way.agent()
    account, client = way.account(agent, "casino"), way.sandbox.client
    client.deposit_on_chain(account, "5")
    client.run_clock("poll")
    client.deposit_on_chain(account, "3")
    client.run_clock("poll", "empty")
    assert way.micros(agent) == 5_000_000 + 5_000_000 + 8_000_000
    client.deposit_on_chain(account, "5")
    client.run_clock("poll")
    assert way.micros(agent) == 18_000_000
    rows = way.gateway.read(agent, Service.CASINO, "deposits")["deposits"]
    assert sorted(row["amount"] for row in rows) == [Decimal(5), Decimal(8)]


def test_a_referral_brings_a_part_of_losses_unasked(way: Way) -> None:
    referrer = way.agent("referrer")
    code = way.gateway.read(referrer, Service.CASINO, "referral")["referral_code"]
    referred = way.agent("referred", referral_code=code)
    way.fund(referred, "casino", "100")
    adapter = Adapter(way.gateway, referred, "casino")
    lost = 0
    for number in range(4):
        receipt = applied(adapter, "bet", f"b{number}", {"amount": Decimal(2), "side": "heads"})
        lost += 0 if receipt["won"] else 2_000_000
    assert way.micros(referrer) == lost // 10


def test_a_limit_is_a_rejection_with_a_time_to_wait(way: Way) -> None:
    agent = way.rich()
    adapter = Adapter(way.gateway, agent, "casino")
    intent = Intent(tag="t", operation="bet", params={"amount": Decimal(1), "side": "heads"})
    for fault, code, seconds in (("429_short", "rate_limited", 60.0), ("429_business", "ip_rate_limited", 86_400.0)):
        way.sandbox.client.set_faults({"fault": fault, "operation": "bet", "times": 1})
        outcome = adapter.execute(intent)
        assert isinstance(outcome, Rejected)
        assert (outcome.code, outcome.retry_after) == (code, seconds)


def test_what_is_above_the_kelly_cap_or_the_balance_is_rejected(way: Way) -> None:
    adapter = Adapter(way.gateway, way.rich(), "casino")
    for amount, code in (("90", "kelly_limit_exceeded"), ("900", "insufficient_balance")):
        outcome = adapter.execute(Intent(tag=code, operation="bet", params={"amount": amount, "side": "heads"}))
        assert isinstance(outcome, Rejected)
        assert outcome.code == code


def test_two_bets_with_one_seed_are_told_and_not_booked_as_one(way: Way) -> None:
    agent = way.rich()
    way.sandbox.client.set_faults({"fault": "double_effect", "operation": "bet", "times": 1})
    adapter = Adapter(way.gateway, agent, "casino")
    intent = Intent(tag="twice", operation="bet", params={"amount": Decimal(1), "side": "heads"})
    adapter.execute(intent)
    verdict = adapter.resolve(intent, InDoubt(reason="", called_at=way.gateway.now() - LONG_AGO, baseline=None))
    assert isinstance(verdict, Unknown)
    assert "more than once" in verdict.reason


def test_capabilities_are_declared(way: Way) -> None:
    adapter = Adapter(way.gateway, way.agent(), "casino")
    bet, pay = adapter.capabilities("bet"), adapter.capabilities("pay")
    assert (bet.reference, bet.serialised, bet.settle_s, bet.offered) == ("client_seed", False, 35.0, True)
    assert (pay.reference, pay.serialised) == (None, True)
    assert adapter.limits().per_address["bet"] == 60
    assert adapter.capabilities("join").offered is (way.dialect == "services")
    with pytest.raises(InvalidInput, match="roulette"):
        adapter.capabilities("roulette")
    with pytest.raises(AttributeError, match="roulette"):
        _ = adapter.roulette
    assert adapter.bet.name == "casino.bet"


def test_what_a_dialect_lacks_is_a_rejection_and_sends_nothing(way: Way) -> None:
    agent = way.rich()
    name = "join" if way.dialect == "gateway" else "renew"
    service = "casino" if way.dialect == "gateway" else "domains"
    params = {} if name == "join" else {"domain": "some.dev"}
    with pytest.raises(ServiceRejected) as refused:
        Adapter(way.gateway, agent, service).operations()[name].call(way.gateway, agent, "t", **params)
    assert refused.value.code == "not_offered"
