"""Every operation against the running sandbox: what it returns, how it fails, and how it is settled when cut off."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from agentstate.errors import (
    AmountInvalid,
    ConfigurationError,
    InvalidInput,
    ServiceAnswerInvalid,
    ServiceInDoubt,
    ServiceReadFailed,
    ServiceRejected,
    ServiceUnreachable,
)
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown
from agentstate.services.http.gateway import Gateway
from agentstate.services.operations import casino, domains, escrow, faucet, trading, wallet
from agentstate.services.operations.booked import OPERATIONS, operation_named
from agentstate.services.operations.names import Service

LONG_AGO = timedelta(seconds=120)
AFTER_EFFECT = ["commit_then_drop", "500_after_effect", "400_after_effect", "html_502", "truncate_json"]
BEFORE_EFFECT = ["drop_before_commit", "html_502:before"]


@pytest.fixture
def other(gateway: Gateway, agent: str) -> str:
    """A second agent."""
    casino.register.call(gateway, f"{agent}_other", "register")
    return f"{agent}_other"


def settled(gateway: Gateway, operation: Any, agent: str, tag: str, **params: Any) -> tuple[Any, Any]:
    """Call an operation that is to be cut off; the verdicts just after the call and after the settle time."""
    baseline = operation.baseline(gateway, agent, params)
    called_at = gateway.now()
    with pytest.raises(ServiceInDoubt):
        operation.call(gateway, agent, tag, **params)
    soon = operation.verify(gateway, agent, tag, params, called_at, baseline=baseline)
    later = operation.verify(gateway, agent, tag, params, called_at - LONG_AGO, baseline=baseline)
    return soon, later


def test_a_bet_returns_what_moved(sandbox: Any, gateway: Gateway, rich: str) -> None:
    receipt = casino.bet.call(gateway, rich, "bet:round-981", amount=Decimal("2.50"), side="heads")
    assert receipt["operation"] == "casino.bet"
    assert receipt["debited"] == 2_500_000
    assert receipt["credited"] == (4_975_000 if receipt["won"] else 0)
    assert sandbox.client.read_balance(rich) == 100_000_000 - 2_500_000 + receipt["credited"]
    assert sandbox.client.count_effects(rich, "casino.bet") == {"bet:round-981": 1}


def test_dice_payouts_are_exact(sandbox: Any, gateway: Gateway, rich: str) -> None:
    before = sandbox.client.read_balance(rich)
    for number in range(10):
        params = {"game": "dice", "direction": "under", "threshold": 60 + number, "amount": Decimal("0.37")}
        receipt = casino.bet.call(gateway, rich, f"dice-{number}", **params)
        before += receipt["credited"] - receipt["debited"]
    assert sandbox.client.read_balance(rich) == before


@pytest.mark.parametrize("fault", AFTER_EFFECT)
def test_a_bet_that_happened_is_found_by_its_tag(sandbox: Any, gateway: Gateway, rich: str, fault: str) -> None:
    sandbox.client.set_faults({"fault": fault, "times": 1})
    soon, later = settled(gateway, casino.bet, rich, "tag-1", amount="1.25", side="tails")
    assert isinstance(soon, Applied)
    assert later == soon
    assert sandbox.client.count_effects(rich, "casino.bet") == {"tag-1": 1}
    assert sandbox.client.read_balance(rich) == 100_000_000 - soon.receipt["debited"] + soon.receipt["credited"]


@pytest.mark.parametrize("fault", BEFORE_EFFECT)
def test_a_bet_that_is_not_there_is_absent_only_after_the_settle_time(
    sandbox: Any, gateway: Gateway, rich: str, fault: str
) -> None:
    sandbox.client.set_faults({"fault": fault, "times": 1})
    soon, later = settled(gateway, casino.bet, rich, "tag-1", amount="1.25", side="tails")
    assert isinstance(soon, Unknown)
    assert 30 < soon.settles_in_s <= 35
    assert isinstance(later, Absent)


def test_equal_bets_with_their_own_tags_are_two(sandbox: Any, gateway: Gateway, rich: str) -> None:
    for tag in ("one", "two"):
        casino.bet.call(gateway, rich, tag, amount="1", side="heads")
    assert sandbox.client.count_effects(rich, "casino.bet") == {"one": 1, "two": 1}


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"amount": "99", "side": "heads"}, "kelly_limit_exceeded"),
        ({"amount": "101", "side": "heads"}, "insufficient_balance"),
    ],
)
def test_a_refusal_from_the_list_is_certain(
    sandbox: Any, gateway: Gateway, rich: str, params: dict[str, str], code: str
) -> None:
    with pytest.raises(ServiceRejected) as refused:
        casino.bet.call(gateway, rich, "tag", **params)
    assert (refused.value.code, refused.value.retry_after) == (code, None)
    assert sandbox.client.read_balance(rich) == 100_000_000


def test_a_rate_limit_tells_how_long_to_wait(sandbox: Any, gateway: Gateway, rich: str) -> None:
    sandbox.client.set_faults({"fault": "429_short", "times": 1})
    with pytest.raises(ServiceRejected) as refused:
        casino.bet.call(gateway, rich, "tag", amount="1", side="heads")
    assert (refused.value.code, refused.value.retry_after) == ("rate_limited", 60.0)


@pytest.mark.parametrize(
    "params",
    [
        {"amount": 2.5, "side": "heads"}, {"amount": 1, "side": "heads"}, {"amount": True, "side": "heads"},
        {"amount": Decimal("NaN"), "side": "heads"}, {"amount": "0", "side": "heads"},
        {"amount": "-1", "side": "heads"}, {"amount": "0.015", "side": "heads"},
        {"amount": "1e30", "side": "heads"}, {"amount": "a", "side": "heads"}, {"side": "heads"},
    ],
)  # fmt: skip
def test_a_wrong_amount_is_refused_before_anything_is_sent(
    sandbox: Any, gateway: Gateway, rich: str, params: dict[str, Any]
) -> None:
    with pytest.raises(AmountInvalid):
        casino.bet.call(gateway, rich, "tag", **params)
    assert sandbox.client.count_effects(rich, "casino.bet") == {}


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("casino.bet", {"amount": "1"}), ("casino.bet", {"amount": "1", "side": "edge"}),
        ("casino.bet", {"amount": "1", "side": "heads", "stake": "2"}),
        ("casino.bet", {"amount": "1", "game": "dice", "direction": "over", "threshold": "50"}),
        ("escrow.create", {"amount": "1", "counterparty": "no spaces"}), ("escrow.release", {}),
        ("trading.open", {"coin": "DOGE", "side": "long", "size": "10"}), ("domains.register", {"domain": ""}),
        ("wallet.send", {"chain": "base", "to": "x", "amount": "1", "private_key": "0x1"}),  # pragma: allowlist secret
        ("wallet.create", {"chain": "base", "mnemonic_words": "one two"}), ("faucet.claim", {"again": True}),
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused_before_anything_is_sent(
    gateway: Gateway, rich: str, name: str, params: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match=name):
        operation_named(name).call(gateway, rich, "tag", **params)


@pytest.mark.parametrize("tag", ["", "x" * 201, "line\nbreak"])
def test_a_tag_that_no_service_would_keep_is_refused(gateway: Gateway, rich: str, tag: str) -> None:
    with pytest.raises(InvalidInput):
        casino.bet.call(gateway, rich, tag, amount="1", side="heads")


@pytest.mark.parametrize("tag", ["x" * 200, "rond-é-漢", 'quote "and" [bracket]'])
def test_any_other_tag_is_found_again(sandbox: Any, gateway: Gateway, rich: str, tag: str) -> None:
    sandbox.client.set_faults({"fault": "commit_then_drop", "times": 1})
    soon, _ = settled(gateway, casino.bet, rich, tag, amount="1", side="heads")
    assert isinstance(soon, Applied)


def test_an_escrow_goes_its_way_once(sandbox: Any, gateway: Gateway, rich: str, other: str) -> None:
    made = escrow.create.call(gateway, rich, "esc-1", counterparty=other, amount="10", description="a logo")
    assert (made["debited"], made["commission"]) == (10_000_000, 100_000)
    escrow_id = str(made["reference"])
    assert escrow.complete.call(gateway, other, "t", escrow_id=escrow_id)["status"] == "completed"
    assert escrow.release.call(gateway, rich, "t", escrow_id=escrow_id)["net"] == 9_900_000
    assert sandbox.client.read_balance(other) == 9_900_000
    for operation in (escrow.complete, escrow.release, escrow.dispute):
        with pytest.raises(ServiceRejected) as refused:
            operation.call(gateway, other if operation is escrow.complete else rich, "t2", escrow_id=escrow_id)
        assert refused.value.code in operation.already


def test_a_release_of_before_is_not_taken_for_this_one(sandbox: Any, gateway: Gateway, rich: str, other: str) -> None:
    escrow_id = str(escrow.create.call(gateway, rich, "e", counterparty=other, amount="10")["reference"])
    escrow.release.call(gateway, rich, "first", escrow_id=escrow_id)
    sandbox.client.set_faults({"fault": "drop_before_commit", "times": 1})
    soon, _ = settled(gateway, escrow.release, rich, "second", escrow_id=escrow_id)
    assert isinstance(soon, Absent)


@pytest.mark.parametrize("fault", AFTER_EFFECT)
def test_an_escrow_that_was_made_is_found_by_its_description(
    sandbox: Any, gateway: Gateway, rich: str, other: str, fault: str
) -> None:
    sandbox.client.set_faults({"fault": fault, "times": 1})
    soon, _ = settled(gateway, escrow.create, rich, "esc-1", counterparty=other, amount="10")
    assert isinstance(soon, Applied)
    assert sandbox.client.count_effects(rich, "escrow.create") == {"escrow [esc-1]": 1}


def test_an_escrow_that_was_not_made_is_absent_later(sandbox: Any, gateway: Gateway, rich: str, other: str) -> None:
    escrow.create.call(gateway, rich, "before", counterparty=other, amount="5")
    sandbox.client.set_faults({"fault": "drop_before_commit", "times": 1})
    soon, later = settled(gateway, escrow.create, rich, "esc-1", counterparty=other, amount="10")
    assert isinstance(soon, Unknown)
    assert isinstance(later, Absent)


def test_a_release_that_was_cut_off_can_be_verified_and_repeated(
    sandbox: Any, gateway: Gateway, rich: str, other: str
) -> None:
    escrow_id = str(escrow.create.call(gateway, rich, "e", counterparty=other, amount="10")["reference"])
    sandbox.client.set_faults({"fault": "drop_before_commit", "times": 1})
    soon, _ = settled(gateway, escrow.release, rich, "r", escrow_id=escrow_id)
    assert isinstance(soon, Absent)
    sandbox.client.set_faults({"fault": "commit_then_drop", "times": 1})
    soon, _ = settled(gateway, escrow.release, rich, "r", escrow_id=escrow_id)
    assert isinstance(soon, Applied)
    assert sandbox.client.count_effects(rich, "escrow.release") == {escrow_id: 1}


def test_the_faucet_pays_once(sandbox: Any, gateway: Gateway, agent: str) -> None:
    sandbox.client.set_faults({"fault": "500_after_effect", "times": 1})
    soon, _ = settled(gateway, faucet.claim, agent, "f")
    assert isinstance(soon, Applied)
    assert soon.receipt["credited"] == 1_000_000
    with pytest.raises(ServiceRejected) as refused:
        faucet.claim.call(gateway, agent, "f2")
    assert refused.value.code in faucet.claim.already
    assert sandbox.client.read_balance(agent) == 1_000_000


def test_a_claim_of_before_is_not_taken_for_this_one(sandbox: Any, gateway: Gateway, agent: str) -> None:
    faucet.claim.call(gateway, agent, "first")
    sandbox.client.set_faults({"fault": "drop_before_commit", "times": 1})
    soon, _ = settled(gateway, faucet.claim, agent, "second")
    assert isinstance(soon, Absent)


def test_a_trade_returns_fee_and_margin(sandbox: Any, gateway: Gateway, rich: str) -> None:
    opened = trading.open_.call(gateway, rich, "t", coin="BTC", side="long", size="100", leverage=5)
    assert 98_000_000 < opened["notional"] <= 100_000_000
    assert opened["margin"] == opened["notional"] // 5
    closed = trading.close.call(gateway, rich, "t2", position_id=opened["reference"])
    left = 1_000_000_000 - opened["debited"] - closed["debited"] + closed["credited"]
    assert sandbox.client.read_balance(rich, "trading") == left


@pytest.mark.parametrize("fault", AFTER_EFFECT)
def test_a_trade_that_happened_is_told_from_an_equal_one_before(
    sandbox: Any, gateway: Gateway, rich: str, fault: str
) -> None:
    order = {"coin": "ETH", "side": "short", "size": "50"}
    before = trading.open_.call(gateway, rich, "t", **order)
    sandbox.client.set_faults({"fault": fault, "times": 1})
    soon, _ = settled(gateway, trading.open_, rich, "t2", **order)
    assert isinstance(soon, Applied)
    assert soon.receipt["reference"] != before["reference"]


def test_a_trade_that_did_not_happen_is_absent_later(sandbox: Any, gateway: Gateway, rich: str) -> None:
    order = {"coin": "ETH", "side": "short", "size": "50"}
    trading.open_.call(gateway, rich, "t", **order)
    sandbox.client.set_faults({"fault": "drop_before_commit", "times": 1})
    soon, later = settled(gateway, trading.open_, rich, "t2", **order)
    assert isinstance(soon, Unknown)
    assert isinstance(later, Absent)


def test_a_trade_without_a_baseline_is_never_guessed(gateway: Gateway, rich: str) -> None:
    order = {"coin": "ETH", "side": "short", "size": "50"}
    trading.open_.call(gateway, rich, "t", **order)
    verdict = trading.open_.verify(gateway, rich, "t", order, gateway.now() - LONG_AGO)
    assert isinstance(verdict, Unknown)
    assert verdict.settles_in_s is None


def test_two_trades_that_fit_are_for_a_person(gateway: Gateway, rich: str) -> None:
    order = {"coin": "SOL", "side": "long", "size": "50"}
    baseline = trading.open_.baseline(gateway, rich, order)
    for tag in ("t", "t2"):
        trading.open_.call(gateway, rich, tag, **order)
    verdict = trading.open_.verify(gateway, rich, "t", order, gateway.now() - LONG_AGO, baseline=baseline)
    assert isinstance(verdict, Unknown)


def test_a_close_that_was_cut_off_is_settled_by_its_position(sandbox: Any, gateway: Gateway, rich: str) -> None:
    opened = trading.open_.call(gateway, rich, "t", coin="SOL", side="long", size="50")
    for fault, expected in (("drop_before_commit", Absent), ("commit_then_drop", Applied)):
        sandbox.client.set_faults({"fault": fault, "times": 1})
        _, later = settled(gateway, trading.close, rich, "c", position_id=opened["reference"])
        assert isinstance(later, expected)
    with pytest.raises(ServiceRejected) as refused:
        trading.close.call(gateway, rich, "c", position_id=opened["reference"])
    assert refused.value.code in trading.close.already


def test_a_domain_is_bought_once(sandbox: Any, gateway: Gateway, rich: str, agent: str) -> None:
    name = f"{agent.replace('_', '-')}.dev"
    sandbox.client.set_faults({"fault": "commit_then_drop", "times": 1})
    soon, _ = settled(gateway, domains.register, rich, "d", domain=name)
    assert isinstance(soon, Applied)
    assert soon.receipt["debited"] == 19_440_000
    with pytest.raises(ServiceRejected) as refused:
        domains.register.call(gateway, rich, "d2", domain=name)
    assert refused.value.code in domains.register.already
    assert sandbox.client.read_balance(rich, "domains") == 100_000_000 - 19_440_000


def test_a_domain_that_somebody_else_has_is_for_a_person(gateway: Gateway, rich: str) -> None:
    params = {"domain": "taken-name.com"}
    baseline = domains.register.baseline(gateway, rich, params)
    verdict = domains.register.verify(gateway, rich, "d", params, gateway.now() - LONG_AGO, baseline=baseline)
    assert isinstance(verdict, Unknown)
    assert verdict.settles_in_s is None


def test_a_domain_that_is_still_free_was_not_bought(gateway: Gateway, rich: str) -> None:
    params = {"domain": "still-free.com"}
    verdict = domains.register.verify(gateway, rich, "d", params, gateway.now() - LONG_AGO, baseline={"owned": False})
    assert isinstance(verdict, Absent)


def test_a_wallet_sends_and_what_was_cut_off_is_for_a_person(sandbox: Any, gateway: Gateway, rich: str) -> None:
    receipt = wallet.send.call(gateway, rich, "w", chain="base", to="0xabcdef0123", amount="12.5")
    assert receipt["debited"] == 12_500_000
    sandbox.client.set_faults({"fault": "commit_then_drop", "times": 1})
    soon, later = settled(gateway, wallet.send, rich, "w2", chain="base", to="0xabcdef0123", amount="1")
    assert isinstance(soon, Unknown)
    assert later.settles_in_s is None


def test_a_code_that_lies_about_effects_leaves_doubt(gateway: Gateway, rich: str) -> None:
    with pytest.raises(ServiceInDoubt, match="send_failed"):
        wallet.send.call(gateway, rich, "w", chain="base", to="0xabcdef0123", amount="5000")


def test_a_deposit_with_one_tag_comes_once(sandbox: Any, gateway: Gateway, agent: str) -> None:
    for _ in range(3):
        casino.deposit.call(gateway, agent, "d1", amount="10")
    assert sandbox.client.read_balance(agent) == 10_000_000
    assert casino.deposit.guarantee is Guarantee.KEYED


def test_the_truth_counts_effects_by_the_tag_of_every_operation(sandbox: Any, gateway: Gateway, rich: str) -> None:
    trading.open_.call(gateway, rich, "intent-t", coin="BTC", side="long", size="100")
    wallet.send.call(gateway, rich, "intent-w", chain="base", to="0xabcdef0123", amount="1")
    by_key = sandbox.client.count_effects_by_key(rich)
    assert (by_key["intent-t"], by_key["intent-w"]) == (1, 1)


def test_every_operation_is_listed_by_its_name() -> None:
    assert all(operation_named(name) is operation for name, operation in OPERATIONS.items())
    assert all(operation.name == name for name, operation in OPERATIONS.items())
    assert {operation.service for operation in OPERATIONS.values()} == set(Service)
    with pytest.raises(InvalidInput):
        operation_named("casino.roulette")


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gateway = Gateway(f"http://127.0.0.1:{free.getsockname()[1]}/api/v1", SecretStr("pf_test_key"))
    with pytest.raises(ServiceUnreachable):
        gateway.read("ag", Service.CASINO)
    with pytest.raises(ServiceUnreachable):
        casino.bet.call(gateway, "ag", "t", amount="1", side="heads")
    gateway.close()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("html_502", ServiceReadFailed), ("truncate_json", ServiceAnswerInvalid),
        ("commit_then_drop", ServiceReadFailed), ("429_short", ServiceRejected),
    ],
)  # fmt: skip
def test_a_read_that_fails_changes_nothing(
    sandbox: Any, gateway: Gateway, rich: str, fault: str, error: type[Exception]
) -> None:
    sandbox.client.set_faults({"fault": fault, "operation": "state", "times": 1})
    with pytest.raises(error):
        gateway.read(rich, Service.CASINO)
    assert gateway.read(rich, Service.CASINO)["balance_usd"] == Decimal(100)


def test_an_answer_that_comes_too_late_leaves_doubt(sandbox: Any, rich: str) -> None:
    hasty = Gateway(sandbox.api, SecretStr("pf_test_key"), deadline_s=0.2)
    sandbox.client.set_faults({"fault": "slow:600", "times": 1})
    with pytest.raises(ServiceInDoubt, match="ReadTimeout"):
        casino.bet.call(hasty, rich, "slow", amount="1", side="heads")
    assert sandbox.client.count_effects(rich, "casino.bet") == {"slow": 1}
    hasty.close()


@pytest.fixture
def dripping() -> Iterator[str]:
    """A server that sends its answer one byte every 20 ms."""
    stop = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
            while not stop.wait(0.02):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v1"
        stop.set()
        thread.join()


def test_the_deadline_holds_for_the_whole_exchange(dripping: str) -> None:
    gateway = Gateway(dripping, SecretStr("pf_test_key"), deadline_s=0.3)
    began = gateway.now()
    with pytest.raises(ServiceInDoubt):
        casino.bet.call(gateway, "ag", "t", amount="1", side="heads")
    assert (gateway.now() - began).total_seconds() < 2
    gateway.close()


def test_a_wrong_key_is_a_refusal_and_is_never_shown(sandbox: Any, rich: str, caplog: pytest.LogCaptureFixture) -> None:
    gateway = Gateway(sandbox.api, SecretStr("no-such-key-4711"))
    with caplog.at_level(logging.DEBUG), pytest.raises(ServiceRejected) as refused:
        casino.bet.call(gateway, rich, "t", amount="1", side="heads")
    assert refused.value.code == "unauthorized"
    assert "4711" not in f"{refused.value} {caplog.text} {vars(gateway)}"
    gateway.close()


def test_an_address_that_is_no_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="AGENTSTATE_SERVICES_URL"):
        Gateway("purpleflea.com/api/v1", SecretStr("pf_test_key"))


def test_numbers_come_as_decimal(gateway: Gateway, rich: str) -> None:
    state = gateway.read(rich, Service.CASINO)
    assert state["balance_usd"] == Decimal("100.0")
    assert isinstance(state["balance_usd"], Decimal)
    assert "_info" not in state
