"""The contract of the services, held against both dialects: what each operation returns, and how it is found again."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from agentstate.errors import InvalidInput, ServiceRejected
from agentstate.money.effects.verdicts import Absent, Applied, Unknown
from agentstate.services.adapter import Adapter
from agentstate.services.operations import casino, domains, escrow, faucet, trading, wallet
from agentstate.services.operations.base import ServiceOperation
from agentstate.services.operations.names import Service
from agentstate.services.operations.registry import get_operation_class
from tests.contract.conftest import Way
from tests.stubs.service_calls import InDoubt, attempt, look, send

LONG_AGO = timedelta(seconds=120)
ADDRESS = "0x" + "ab" * 20
AFTER_EFFECT = ("commit_then_drop", "500_after_effect", "400_after_effect", "html_502", "truncate_json")


def doubt(way: Way, agent: str, operation: ServiceOperation[Any], fault: str) -> tuple[Any, Any]:
    """Do an operation that is cut off; what looking says at once, and after the settle time."""
    tag = f"tag-{fault}"
    way.sandbox.client.set_faults(
        {"fault": fault, "service": operation.service, "operation": operation.route_name(), "times": 1}
    )
    outcome = attempt(way.gateway, agent, tag, operation)
    assert isinstance(outcome, InDoubt), outcome
    later = InDoubt(outcome.called_at - LONG_AGO, outcome.baseline)
    return look(way.gateway, agent, tag, operation, outcome), look(way.gateway, agent, tag, operation, later)


def build(operation: str, way: Way, agent: str) -> ServiceOperation[Any]:
    other = way.agent("other") if operation in {"escrow.create", "casino.pay"} else ""
    params: dict[str, dict[str, Any]] = {
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
    }
    return get_operation_class(*operation.split("."))(**params[operation])


FOUND_AGAIN = (
    "casino.bet", "casino.pay", "casino.withdraw", "casino.daily", "escrow.create", "faucet.claim", "trading.open",
    "trading.limit", "domains.register", "wallet.swap",
)  # fmt: skip


def test_what_happened_is_found_again(way: Way, subtests: pytest.Subtests) -> None:
    agent = way.rich()
    for place, operation in enumerate(FOUND_AGAIN):
        with subtests.test(operation):
            fault = AFTER_EFFECT[place % len(AFTER_EFFECT)]
            soon, later = doubt(way, agent, build(operation, way, agent), fault)
            assert isinstance(soon, Applied), soon
            assert later == soon
            assert sum(way.effects(agent, operation).values()) == 1


def test_what_did_not_happen_is_absent_only_after_the_settle_time(way: Way, subtests: pytest.Subtests) -> None:
    agent = way.rich()
    for operation in (name for name in FOUND_AGAIN if name != "casino.withdraw"):
        with subtests.test(operation):
            soon, later = doubt(way, agent, build(operation, way, agent), "drop_before_commit")
            assert isinstance(soon, Unknown), soon
            assert soon.settles_in_s is not None
            assert isinstance(later, Absent), later
            assert way.effects(agent, operation) == {}


def test_a_withdrawal_that_is_not_there_is_for_a_person(way: Way) -> None:
    agent = way.rich()
    _, later = doubt(way, agent, build("casino.withdraw", way, agent), "drop_before_commit")
    assert isinstance(later, Unknown)
    assert later.settles_in_s is None


def test_what_died_half_way_is_never_taken_for_nothing(way: Way, subtests: pytest.Subtests) -> None:
    agent = way.rich()
    for operation in ("casino.bet", "casino.withdraw", "casino.daily", "escrow.create", "domains.register"):
        with subtests.test(operation):
            _, later = doubt(way, agent, build(operation, way, agent), "crash_between_steps")
            assert isinstance(later, Unknown), later
            assert later.settles_in_s is None


def test_the_receipts_are_what_really_moved(way: Way) -> None:
    agent = way.rich()
    other = way.agent("other")
    operations: list[ServiceOperation[Any]] = [
        casino.bet(amount=Decimal("2.50"), side="tails"),
        casino.bet(amount=Decimal("0.37"), game="dice", direction="under", threshold=60),
        casino.pay(to=other, amount=Decimal("1.10")),
        casino.withdraw(amount=Decimal(7), address=ADDRESS),
        casino.daily(),
        faucet.claim(),
        escrow.create(counterparty=other, amount=Decimal(10)),
    ]
    expected = way.micros(agent)
    for number, operation in enumerate(operations):
        receipt = send(way.gateway, agent, f"t{number}", operation)
        expected += receipt.credited.minor - receipt.debited.minor
        assert way.micros(agent) == expected, operation.name
    opened = send(way.gateway, agent, "o", trading.open(coin="BTC", side="long", size=Decimal(100), leverage=5))
    closed = send(way.gateway, agent, "c", trading.close(position_id=opened.reference))
    left = 1_000_000_000 - opened.debited.minor - closed.debited.minor + closed.credited.minor
    assert way.micros(agent, "trading") == left
    sent = send(way.gateway, agent, "s", wallet.send(chain="base", to=ADDRESS, amount="4"))
    assert way.micros(agent, "wallet") == 50_000_000 - sent.debited.minor


def test_an_escrow_goes_its_way_between_two_agents(way: Way) -> None:
    creator, worker = way.rich("creator"), way.agent("worker")
    mine = Adapter(way.gateway, creator, "escrow")
    create = escrow.create(counterparty=worker, amount=Decimal(10), description="a logo")
    made = send(way.gateway, creator, "e", create)
    assert made.counterparty == worker
    assert mine.read_state().balances == {"USDC": Decimal("10.00")}
    assert send(way.gateway, worker, "c", escrow.complete(escrow_id=made.reference)).status == "completed"
    release = escrow.release(escrow_id=made.reference)
    released = send(way.gateway, creator, "r", release)
    assert (released.net.minor, released.commission.minor, released.counterparty) == (9_900_000, 100_000, worker)
    assert way.micros(worker) == 9_900_000
    again = attempt(way.gateway, creator, "r2", release)
    assert isinstance(again, ServiceRejected)
    assert again.code == "invalid_status"
    assert mine.read_state().balances == {"USDC": Decimal("0.00")}


@pytest.mark.parametrize("fault", ["commit_then_drop", "drop_before_commit"])
def test_a_release_that_was_cut_off_is_told_by_its_status(way: Way, fault: str) -> None:
    creator, worker = way.rich("creator"), way.agent("worker")
    made = send(way.gateway, creator, "e", escrow.create(counterparty=worker, amount="10"))
    soon, _ = doubt(way, creator, escrow.release(escrow_id=made.reference), fault)
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


SIZES = [Decimal(number) + Decimal("0.37") for number in range(11, 60, 4)]


def test_a_position_is_found_again_whatever_rounding_and_the_limit_of_leverage_made_of_it(way: Way) -> None:
    agent, gaps = way.rich(), []
    for size in SIZES:
        order = trading.open(coin="BTC", side="long", size=size, leverage=50)
        soon, _ = doubt(way, agent, order, "commit_then_drop")
        assert isinstance(soon, Applied), soon
        assert soon.receipt.leverage == 20
        gaps.append(soon.receipt.notional.minor - int(size * 1_000_000))
    assert min(gaps) < 0 < max(gaps)
    assert sum(way.effects(agent, "trading.open").values()) == len(SIZES)


def test_a_fill_that_the_service_has_no_row_of_is_never_taken_for_absence(way: Way) -> None:
    agent = way.rich()
    order = trading.open(coin="ETH", side="long", size=Decimal(50))
    soon, later = doubt(way, agent, order, "fill_without_row")
    assert isinstance(soon, Unknown)
    assert soon.settles_in_s is not None
    assert isinstance(later, Unknown)
    assert later.is_final
    assert "1 fills without a position" in later.reason


def test_a_close_that_the_service_denies_is_told_by_the_venue(way: Way) -> None:
    agent = way.rich()
    first, second = (
        send(way.gateway, agent, tag, trading.open(coin="ETH", side="long", size=Decimal(50))) for tag in "ab"
    )
    send(way.gateway, agent, "c", trading.close(position_id=first.reference))  # a moment before: it explains its own
    soon, later = doubt(way, agent, trading.close(position_id=second.reference), "fill_without_row")
    assert isinstance(soon, Applied)
    assert later == soon
    left = 1_000_000_000 - first.debited.minor - second.debited.minor - soon.receipt.debited.minor
    assert way.micros(agent, "trading") <= left + soon.receipt.credited.minor
    assert isinstance(attempt(way.gateway, agent, "d", trading.close(position_id=second.reference)), InDoubt)


def test_a_position_of_another_side_or_size_is_not_absence_either(way: Way) -> None:
    agent = way.rich()
    order = trading.open(coin="SOL", side="long", size=Decimal(50))
    before = order.read_baseline(way.gateway, agent)
    send(way.gateway, agent, "other", trading.open(coin="SOL", side="short", size=Decimal(50)))
    doubtful = InDoubt(way.gateway.now() - LONG_AGO, before)
    verdict = look(way.gateway, agent, "t", order, doubtful)
    assert isinstance(verdict, Unknown)
    assert verdict.is_final
    other_coin = trading.open(coin="ETH", side="long", size=Decimal(50))
    assert isinstance(look(way.gateway, agent, "t", other_coin, doubtful), Absent)


def test_a_resting_order_that_fills_meanwhile_is_not_taken_for_the_call(way: Way) -> None:
    agent = way.rich()
    resting = trading.limit(coin="BTC", side="long", size=Decimal(50), price=Decimal(1_000_000))
    send(way.gateway, agent, "rest", resting)
    order = trading.open(coin="BTC", side="long", size=Decimal(50))
    before = order.read_baseline(way.gateway, agent)
    way.sandbox.client.run_clock("monitor")
    verdict = look(way.gateway, agent, "t", order, InDoubt(way.gateway.now() - LONG_AGO, before))
    assert isinstance(verdict, Unknown)
    assert verdict.is_final


def test_a_payment_or_order_that_does_not_fit_is_not_absence(way: Way) -> None:
    agent, other = way.rich(), way.agent("other")
    payment = casino.pay(to=other, amount=Decimal(3))
    limit = trading.limit(coin="BTC", side="long", size=Decimal(50), price=Decimal(10_000))
    swap = wallet.swap(from_chain="base", to_chain="solana", to_address="abcdefgh", amount=Decimal(5))
    others: list[ServiceOperation[Any]] = [
        casino.pay(to=other, amount=Decimal("2.99")),
        trading.limit(coin="BTC", side="short", size=Decimal(50), price=Decimal(1_000_000)),
        wallet.swap(from_chain="base", to_chain="solana", to_address="abcdefgh", amount=Decimal(6)),
    ]
    for wanted, unlike in zip((payment, limit, swap), others, strict=True):
        before = wanted.read_baseline(way.gateway, agent)
        long_ago = InDoubt(way.gateway.now() - LONG_AGO, before)
        assert isinstance(look(way.gateway, agent, "t", wanted, long_ago), Absent)
        send(way.gateway, agent, f"unlike-{unlike.name}", unlike)
        assert look(way.gateway, agent, "t", wanted, long_ago).is_final
        soon = look(way.gateway, agent, "t", wanted, InDoubt(way.gateway.now(), before))
        assert isinstance(soon, Unknown)
        assert soon.settles_in_s is not None


def test_a_second_claim_of_the_day_is_a_refusal(way: Way) -> None:
    agent = way.rich()
    send(way.gateway, agent, "first", casino.daily())
    outcome = attempt(way.gateway, agent, "second", casino.daily())
    assert isinstance(outcome, ServiceRejected)
    assert outcome.code == "already_claimed"
    assert "86" in str(outcome)


def test_anybody_can_be_paid_and_escrowed_with(way: Way) -> None:
    agent, outsider = way.rich(), way.account(way.agent("outsider"), "casino")
    if way.dialect == "services":
        other = Way("services", way.sandbox, way.secrets.parent / "elsewhere")
        outsider = other.account(other.agent("stranger"), "casino")
        other.gateway.close()
    assert send(way.gateway, agent, "p", casino.pay(to=outsider, amount=Decimal(2))).to == outsider
    made = send(way.gateway, agent, "e", escrow.create(counterparty=outsider, amount=Decimal(10)))
    released = send(way.gateway, agent, "r", escrow.release(escrow_id=made.reference))
    assert released.counterparty == outsider
    assert way.sandbox.client.read_balance(outsider) == 2_000_000 + 9_900_000


def test_a_fallback_of_trading_says_so_and_proves_nothing(way: Way) -> None:
    agent = way.rich()
    order = trading.open(coin="SOL", side="long", size=Decimal(50))
    adapter = Adapter(way.gateway, agent, "trading")
    rule = {"fault": "stale_source", "service": "trading"}
    way.sandbox.client.set_faults(*({**rule, "operation": name} for name in ("state", "positions", "history")))
    assert adapter.read_state().quality == "fallback"
    long_ago = InDoubt(way.gateway.now() - LONG_AGO, {"newest": "", "ids": []})
    verdict = look(way.gateway, agent, "t", order, long_ago)
    assert isinstance(verdict, Unknown)


def test_the_ledger_is_put_in_order_and_a_gap_is_seen(way: Way) -> None:
    agent = way.rich()
    adapter = Adapter(way.gateway, agent, "casino")
    for number in range(6):
        send(way.gateway, agent, f"b{number}", casino.bet(amount=Decimal("0.05"), side="heads"))
    page = adapter.ledger()
    balances = [row.balance_after for row in page.rows]
    assert balances[-1] == page.balance == way.micros(agent)
    assert [after - row.amount for row, after in zip(page.rows[1:], balances[1:], strict=True)] == balances[:-1]
    assert page.complete_from is not None
    way.sandbox.client.set_faults({"fault": "ledger_gap", "service": "casino", "operation": "ledger"})
    gapped = adapter.ledger()
    assert len(gapped.rows) < len(page.rows)
    assert not gapped.is_complete_since(frozenset())


def test_more_rows_than_the_window_are_no_proof_of_absence(way: Way) -> None:
    agent = way.rich()
    payment = casino.pay(to=way.agent("other"), amount=Decimal("0.07"))
    known = payment.read_baseline(way.gateway, agent)
    for number in range(52):
        send(way.gateway, agent, f"b{number}", casino.bet(amount=Decimal("0.01"), side="heads"))
    verdict = look(way.gateway, agent, "t", payment, InDoubt(way.gateway.now() - LONG_AGO, known))
    assert isinstance(verdict, Unknown)
    assert verdict.settles_in_s is None


def test_an_order_rests_fills_by_itself_and_can_be_cancelled(way: Way) -> None:
    agent = way.rich()
    adapter = Adapter(way.gateway, agent, "trading")
    orders = [
        trading.limit(coin="BTC", side="long", size=Decimal(50), price=Decimal(price)) for price in (1_000, 1_000_000)
    ]
    low, _ = (send(way.gateway, agent, str(order.price), order) for order in orders)
    assert way.sandbox.client.run_clock("monitor") == {"monitor": 1}
    assert len(adapter.read_state().body["positions"]) == 1
    cancel = trading.cancel(order_id=low.reference)
    assert send(way.gateway, agent, "x", cancel).status == "cancelled"
    assert isinstance(attempt(way.gateway, agent, "y", cancel), ServiceRejected)


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
    lost = 0
    for number in range(4):
        receipt = send(way.gateway, referred, f"b{number}", casino.bet(amount=Decimal(2), side="heads"))
        lost += 0 if receipt.won else 2_000_000
    assert way.micros(referrer) == lost // 10


def test_a_limit_is_a_rejection_with_a_time_to_wait(way: Way) -> None:
    agent = way.rich()
    bet = casino.bet(amount=Decimal(1), side="heads")
    for fault, code, seconds in (("429_short", "rate_limited", 60.0), ("429_business", "ip_rate_limited", 86_400.0)):
        way.sandbox.client.set_faults({"fault": fault, "operation": "bet", "times": 1})
        outcome = attempt(way.gateway, agent, "t", bet)
        assert isinstance(outcome, ServiceRejected)
        assert (outcome.code, outcome.retry_after) == (code, seconds)


def test_what_is_above_the_kelly_cap_or_the_balance_is_rejected(way: Way) -> None:
    agent = way.rich()
    for amount, code in (("90", "kelly_limit_exceeded"), ("900", "insufficient_balance")):
        outcome = attempt(way.gateway, agent, code, casino.bet(amount=amount, side="heads"))
        assert isinstance(outcome, ServiceRejected)
        assert outcome.code == code


def test_two_bets_with_one_seed_are_told_and_not_booked_as_one(way: Way) -> None:
    agent = way.rich()
    way.sandbox.client.set_faults({"fault": "double_effect", "operation": "bet", "times": 1})
    bet = casino.bet(amount=Decimal(1), side="heads")
    attempt(way.gateway, agent, "twice", bet)
    verdict = look(way.gateway, agent, "twice", bet, InDoubt(way.gateway.now() - LONG_AGO))
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


def test_what_a_dialect_lacks_is_a_rejection_and_sends_nothing(way: Way) -> None:
    agent = way.rich()
    operation: ServiceOperation[Any] = casino.join() if way.dialect == "gateway" else domains.renew(domain="some.dev")
    with pytest.raises(ServiceRejected) as refused:
        send(way.gateway, agent, "t", operation)
    assert refused.value.code == "not_offered"
