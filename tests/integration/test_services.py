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
from agentstate.services.operations.base import ServiceOperation
from agentstate.services.operations.casino import BetReceipt
from agentstate.services.operations.names import Service
from agentstate.services.operations.registry import OPERATIONS, get_operation_class, operation_classes
from tests.stubs.service_calls import InDoubt, attempt, look, send

LONG_AGO = timedelta(seconds=120)
AFTER_EFFECT = ["commit_then_drop", "500_after_effect", "400_after_effect", "html_502", "truncate_json"]
BEFORE_EFFECT = ["drop_before_commit", "html_502:before"]


@pytest.fixture
def other(gateway: Gateway, agent: str) -> str:
    """A second agent."""
    send(gateway, f"{agent}_other", "register", casino.register())
    return f"{agent}_other"


def settled(gateway: Gateway, operation: ServiceOperation[Any], agent: str, tag: str) -> tuple[Any, Any]:
    """Call an operation that is to be cut off; the verdicts just after the call and after the settle time."""
    cut_off = attempt(gateway, agent, tag, operation)
    assert isinstance(cut_off, InDoubt), cut_off
    long_ago = InDoubt(cut_off.called_at - LONG_AGO, cut_off.baseline)
    return look(gateway, agent, tag, operation, cut_off), look(gateway, agent, tag, operation, long_ago)


def test_a_bet_returns_what_moved(sandbox: Any, gateway: Gateway, rich: str) -> None:
    receipt = send(gateway, rich, "bet:round-981", casino.bet(amount=Decimal("2.50"), side="heads"))
    assert isinstance(receipt, BetReceipt)
    assert receipt.debited.minor == 2_500_000
    assert receipt.credited.minor == (4_975_000 if receipt.won else 0)
    assert sandbox.client.read_balance(rich) == 100_000_000 - 2_500_000 + receipt.credited.minor
    assert sandbox.client.count_effects(rich, "casino.bet") == {"bet:round-981": 1}


def test_dice_payouts_are_exact(sandbox: Any, gateway: Gateway, rich: str) -> None:
    before = sandbox.client.read_balance(rich)
    for number in range(10):
        params: dict[str, Any] = {
            "game": "dice",
            "direction": "under",
            "threshold": 60 + number,
            "amount": Decimal("0.37"),
        }
        receipt = send(gateway, rich, f"dice-{number}", casino.bet(**params))
        before += receipt.credited.minor - receipt.debited.minor
    assert sandbox.client.read_balance(rich) == before


@pytest.mark.parametrize("fault", AFTER_EFFECT)
def test_a_bet_that_happened_is_found_by_its_tag(sandbox: Any, gateway: Gateway, rich: str, fault: str) -> None:
    sandbox.client.set_faults({"fault": fault, "times": 1})
    soon, later = settled(gateway, casino.bet(amount="1.25", side="tails"), rich, "tag-1")
    assert isinstance(soon, Applied)
    assert later == soon
    assert sandbox.client.count_effects(rich, "casino.bet") == {"tag-1": 1}
    assert sandbox.client.read_balance(rich) == 100_000_000 - soon.receipt.debited.minor + soon.receipt.credited.minor


@pytest.mark.parametrize("fault", BEFORE_EFFECT)
def test_a_bet_that_is_not_there_is_absent_only_after_the_settle_time(
    sandbox: Any, gateway: Gateway, rich: str, fault: str
) -> None:
    sandbox.client.set_faults({"fault": fault, "times": 1})
    soon, later = settled(gateway, casino.bet(amount="1.25", side="tails"), rich, "tag-1")
    assert isinstance(soon, Unknown)
    assert soon.settles_in_s is not None
    assert 30 < soon.settles_in_s <= 35
    assert isinstance(later, Absent)


def test_equal_bets_with_their_own_tags_are_two(sandbox: Any, gateway: Gateway, rich: str) -> None:
    for tag in ("one", "two"):
        send(gateway, rich, tag, casino.bet(amount="1", side="heads"))
    assert sandbox.client.count_effects(rich, "casino.bet") == {"one": 1, "two": 1}


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"amount": "99", "side": "heads"}, "kelly_limit_exceeded"),
        ({"amount": "101", "side": "heads"}, "insufficient_balance"),
    ],
)
def test_a_refusal_from_the_list_is_certain(
    sandbox: Any, gateway: Gateway, rich: str, params: dict[str, Any], code: str
) -> None:
    with pytest.raises(ServiceRejected) as refused:
        send(gateway, rich, "tag", casino.bet(**params))
    assert (refused.value.code, refused.value.retry_after) == (code, None)
    assert sandbox.client.read_balance(rich) == 100_000_000


def test_a_rate_limit_tells_how_long_to_wait(sandbox: Any, gateway: Gateway, rich: str) -> None:
    sandbox.client.set_faults({"fault": "429_short", "times": 1})
    with pytest.raises(ServiceRejected) as refused:
        send(gateway, rich, "tag", casino.bet(amount="1", side="heads"))
    assert (refused.value.code, refused.value.retry_after) == ("rate_limited", 60.0)


@pytest.mark.parametrize(
    "params",
    [
        {"amount": 2.5, "side": "heads"}, {"amount": "1_000", "side": "heads"}, {"amount": "1e3", "side": "heads"},
        {"amount": "\u0661", "side": "heads"}, {"amount": True, "side": "heads"},
        {"amount": Decimal("NaN"), "side": "heads"}, {"amount": "0", "side": "heads"},
        {"amount": "-1", "side": "heads"}, {"amount": "0.015", "side": "heads"},
        {"amount": "1e30", "side": "heads"}, {"amount": "a", "side": "heads"}, {"side": "heads"},
    ],
)  # fmt: skip
def test_a_wrong_amount_is_refused_before_anything_is_sent(
    sandbox: Any, gateway: Gateway, rich: str, params: dict[str, Any]
) -> None:
    with pytest.raises(AmountInvalid):
        send(gateway, rich, "tag", casino.bet(**params))
    assert sandbox.client.count_effects(rich, "casino.bet") == {}


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("casino.bet", {"amount": "1"}), ("casino.bet", {"amount": "1", "side": "edge"}),
        ("casino.bet", {"amount": "1", "side": "heads", "stake": "2"}),
        ("casino.bet", {"amount": "1", "game": "dice", "direction": "over", "threshold": "50"}),
        ("escrow.create", {"amount": "1", "counterparty": "no spaces"}), ("escrow.release", {}),
        ("trading.open", {"coin": "no such", "side": "long", "size": "10"}), ("domains.register", {"domain": ""}),
        ("wallet.send", {"chain": "base", "to": "x", "amount": "1", "private_key": "0x1"}),  # pragma: allowlist secret
        ("wallet.create", {"chain": "base", "mnemonic_words": "one two"}), ("faucet.claim", {"again": True}),
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused_before_anything_is_sent(
    gateway: Gateway, rich: str, name: str, params: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match=name):
        send(gateway, rich, "tag", get_operation_class(*name.split("."))(**params))


@pytest.mark.parametrize("tag", ["", "x" * 201, "line\nbreak"])
def test_a_tag_that_no_service_would_keep_is_refused(gateway: Gateway, rich: str, tag: str) -> None:
    with pytest.raises(InvalidInput):
        send(gateway, rich, tag, casino.bet(amount="1", side="heads"))


@pytest.mark.parametrize("tag", ["x" * 200, "rond-é-漢", 'quote "and" [bracket]'])
def test_any_other_tag_is_found_again(sandbox: Any, gateway: Gateway, rich: str, tag: str) -> None:
    sandbox.client.set_faults({"fault": "commit_then_drop", "times": 1})
    soon, _ = settled(gateway, casino.bet(amount="1", side="heads"), rich, tag)
    assert isinstance(soon, Applied)


def test_an_escrow_goes_its_way_once(sandbox: Any, gateway: Gateway, rich: str, other: str) -> None:
    made = send(gateway, rich, "esc-1", escrow.create(counterparty=other, amount="10", description="a logo"))
    assert (made.debited.minor, made.commission.minor) == (10_000_000, 100_000)
    escrow_id = str(made.reference)
    assert send(gateway, other, "t", escrow.complete(escrow_id=escrow_id)).status == "completed"
    assert send(gateway, rich, "t", escrow.release(escrow_id=escrow_id)).net.minor == 9_900_000
    assert sandbox.client.read_balance(other) == 9_900_000
    for operation in (escrow.complete, escrow.release, escrow.dispute):
        with pytest.raises(ServiceRejected) as refused:
            send(gateway, other if operation is escrow.complete else rich, "t2", operation(escrow_id=escrow_id))
        assert refused.value.code in operation.already


def test_a_release_of_before_is_not_taken_for_this_one(sandbox: Any, gateway: Gateway, rich: str, other: str) -> None:
    escrow_id = str(send(gateway, rich, "e", escrow.create(counterparty=other, amount="10")).reference)
    send(gateway, rich, "first", escrow.release(escrow_id=escrow_id))
    sandbox.client.set_faults({"fault": "drop_before_commit", "times": 1})
    soon, _ = settled(gateway, escrow.release(escrow_id=escrow_id), rich, "second")
    assert isinstance(soon, Absent)


@pytest.mark.parametrize("fault", AFTER_EFFECT)
def test_an_escrow_that_was_made_is_found_by_its_description(
    sandbox: Any, gateway: Gateway, rich: str, other: str, fault: str
) -> None:
    sandbox.client.set_faults({"fault": fault, "times": 1})
    soon, _ = settled(gateway, escrow.create(counterparty=other, amount="10"), rich, "esc-1")
    assert isinstance(soon, Applied)
    assert sandbox.client.count_effects(rich, "escrow.create") == {"escrow [esc-1]": 1}


def test_an_escrow_that_was_not_made_is_absent_later(sandbox: Any, gateway: Gateway, rich: str, other: str) -> None:
    send(gateway, rich, "before", escrow.create(counterparty=other, amount="5"))
    sandbox.client.set_faults({"fault": "drop_before_commit", "times": 1})
    soon, later = settled(gateway, escrow.create(counterparty=other, amount="10"), rich, "esc-1")
    assert isinstance(soon, Unknown)
    assert isinstance(later, Absent)


def test_a_release_that_was_cut_off_can_be_verified_and_repeated(
    sandbox: Any, gateway: Gateway, rich: str, other: str
) -> None:
    escrow_id = str(send(gateway, rich, "e", escrow.create(counterparty=other, amount="10")).reference)
    sandbox.client.set_faults({"fault": "drop_before_commit", "times": 1})
    soon, _ = settled(gateway, escrow.release(escrow_id=escrow_id), rich, "r")
    assert isinstance(soon, Absent)
    sandbox.client.set_faults({"fault": "commit_then_drop", "times": 1})
    soon, _ = settled(gateway, escrow.release(escrow_id=escrow_id), rich, "r")
    assert isinstance(soon, Applied)
    assert sandbox.client.count_effects(rich, "escrow.release") == {escrow_id: 1}


def test_the_faucet_pays_once(sandbox: Any, gateway: Gateway, agent: str) -> None:
    sandbox.client.set_faults({"fault": "500_after_effect", "times": 1})
    soon, _ = settled(gateway, faucet.claim(), agent, "f")
    assert isinstance(soon, Applied)
    assert soon.receipt.credited.minor == 1_000_000
    with pytest.raises(ServiceRejected) as refused:
        send(gateway, agent, "f2", faucet.claim())
    assert refused.value.code in faucet.claim.already
    assert sandbox.client.read_balance(agent) == 1_000_000


def test_a_claim_of_before_is_not_taken_for_this_one(sandbox: Any, gateway: Gateway, agent: str) -> None:
    send(gateway, agent, "first", faucet.claim())
    sandbox.client.set_faults({"fault": "drop_before_commit", "times": 1})
    soon, _ = settled(gateway, faucet.claim(), agent, "second")
    assert isinstance(soon, Absent)


def test_a_trade_returns_fee_and_margin(sandbox: Any, gateway: Gateway, rich: str) -> None:
    opened = send(gateway, rich, "t", trading.open(coin="BTC", side="long", size="100", leverage=5))
    assert 98_000_000 < opened.notional.minor < 102_000_000
    assert opened.margin.minor == opened.notional.minor // 5
    closed = send(gateway, rich, "t2", trading.close(position_id=opened.reference))
    left = 1_000_000_000 - opened.debited.minor - closed.debited.minor + closed.credited.minor
    assert sandbox.client.read_balance(rich, "trading") == left


@pytest.mark.parametrize("fault", AFTER_EFFECT)
def test_a_trade_that_happened_is_told_from_an_equal_one_before(
    sandbox: Any, gateway: Gateway, rich: str, fault: str
) -> None:
    order = trading.open(coin="ETH", side="short", size="50")
    before = send(gateway, rich, "t", order)
    sandbox.client.set_faults({"fault": fault, "times": 1})
    soon, _ = settled(gateway, order, rich, "t2")
    assert isinstance(soon, Applied)
    assert soon.receipt.reference != before.reference


def test_a_trade_that_did_not_happen_is_absent_later(sandbox: Any, gateway: Gateway, rich: str) -> None:
    order = trading.open(coin="ETH", side="short", size="50")
    send(gateway, rich, "t", order)
    sandbox.client.set_faults({"fault": "drop_before_commit", "times": 1})
    soon, later = settled(gateway, order, rich, "t2")
    assert isinstance(soon, Unknown)
    assert isinstance(later, Absent)


def test_a_trade_without_a_baseline_is_never_guessed(gateway: Gateway, rich: str) -> None:
    order = trading.open(coin="ETH", side="short", size="50")
    send(gateway, rich, "t", order)
    verdict = look(gateway, rich, "t", order, InDoubt(gateway.now() - LONG_AGO))
    assert isinstance(verdict, Unknown)
    assert verdict.settles_in_s is None


def test_two_trades_that_fit_are_for_a_person(gateway: Gateway, rich: str) -> None:
    order = trading.open(coin="SOL", side="long", size="50")
    baseline = order.read_baseline(gateway, rich)
    for tag in ("t", "t2"):
        send(gateway, rich, tag, order)
    verdict = look(gateway, rich, "t", order, InDoubt(gateway.now() - LONG_AGO, baseline))
    assert isinstance(verdict, Unknown)


def test_a_close_that_was_cut_off_is_settled_by_its_position(sandbox: Any, gateway: Gateway, rich: str) -> None:
    opened = send(gateway, rich, "t", trading.open(coin="SOL", side="long", size="50"))
    for fault, expected in (("drop_before_commit", Absent), ("commit_then_drop", Applied)):
        sandbox.client.set_faults({"fault": fault, "times": 1})
        _, later = settled(gateway, trading.close(position_id=opened.reference), rich, "c")
        assert isinstance(later, expected)
    with pytest.raises(ServiceRejected) as refused:
        send(gateway, rich, "c", trading.close(position_id=opened.reference))
    assert refused.value.code in trading.close.already


def test_a_domain_is_bought_once(sandbox: Any, gateway: Gateway, rich: str, agent: str) -> None:
    name = f"{agent.replace('_', '-')}.dev"
    sandbox.client.set_faults({"fault": "commit_then_drop", "times": 1})
    soon, _ = settled(gateway, domains.register(domain=name), rich, "d")
    assert isinstance(soon, Applied)
    assert soon.receipt.debited.minor == 19_440_000
    with pytest.raises(ServiceRejected) as refused:
        send(gateway, rich, "d2", domains.register(domain=name))
    assert refused.value.code in domains.register.already
    assert sandbox.client.read_balance(rich, "domains") == 100_000_000 - 19_440_000


def test_a_domain_that_somebody_else_has_is_for_a_person(gateway: Gateway, rich: str) -> None:
    register = domains.register(domain="taken-name.com")
    baseline = register.read_baseline(gateway, rich)
    verdict = look(gateway, rich, "d", register, InDoubt(gateway.now() - LONG_AGO, baseline))
    assert isinstance(verdict, Unknown)
    assert verdict.settles_in_s is None


def test_a_domain_that_is_still_free_was_not_bought(gateway: Gateway, rich: str) -> None:
    register = domains.register(domain="still-free.com")
    verdict = look(gateway, rich, "d", register, InDoubt(gateway.now() - LONG_AGO, {"owned": False}))
    assert isinstance(verdict, Absent)


def test_a_wallet_sends_and_what_was_cut_off_is_for_a_person(sandbox: Any, gateway: Gateway, rich: str) -> None:
    receipt = send(gateway, rich, "w", wallet.send(chain="base", to="0xabcdef0123", amount="12.5"))
    assert receipt.debited.minor == 12_500_000
    sandbox.client.set_faults({"fault": "commit_then_drop", "times": 1})
    soon, later = settled(gateway, wallet.send(chain="base", to="0xabcdef0123", amount="1"), rich, "w2")
    assert isinstance(soon, Unknown)
    assert later.settles_in_s is None


def test_a_code_that_lies_about_effects_leaves_doubt(gateway: Gateway, rich: str) -> None:
    with pytest.raises(ServiceInDoubt, match="send_failed"):
        send(gateway, rich, "w", wallet.send(chain="base", to="0xabcdef0123", amount="5000"))


def test_a_deposit_with_one_tag_comes_once(sandbox: Any, gateway: Gateway, agent: str) -> None:
    for _ in range(3):
        send(gateway, agent, "d1", casino.deposit(amount="10"))
    assert sandbox.client.read_balance(agent) == 10_000_000
    assert casino.deposit.guarantee is Guarantee.KEYED


def test_the_truth_counts_effects_by_the_tag_of_every_operation(sandbox: Any, gateway: Gateway, rich: str) -> None:
    send(gateway, rich, "intent-t", trading.open(coin="BTC", side="long", size="100"))
    send(gateway, rich, "intent-w", wallet.send(chain="base", to="0xabcdef0123", amount="1"))
    by_key = sandbox.client.count_effects_by_key(rich)
    assert (by_key["intent-t"], by_key["intent-w"]) == (1, 1)


def test_every_operation_is_listed_by_its_name() -> None:
    assert all(OPERATIONS.find(operation.name) is operation for operation in operation_classes())
    assert OPERATIONS.names() == sorted(operation.name for operation in operation_classes())
    assert {operation.service for operation in operation_classes()} == set(Service)
    with pytest.raises(InvalidInput):
        get_operation_class("casino", "roulette")


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gateway = Gateway(f"http://127.0.0.1:{free.getsockname()[1]}/api/v1", SecretStr("pf_test_key"))
    with pytest.raises(ServiceUnreachable):
        gateway.read("ag", Service.CASINO)
    with pytest.raises(ServiceUnreachable):
        send(gateway, "ag", "t", casino.bet(amount="1", side="heads"))
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
        send(hasty, rich, "slow", casino.bet(amount="1", side="heads"))
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
        send(gateway, "ag", "t", casino.bet(amount="1", side="heads"))
    assert (gateway.now() - began).total_seconds() < 2
    gateway.close()


def test_a_wrong_key_is_a_refusal_and_is_never_shown(sandbox: Any, rich: str, caplog: pytest.LogCaptureFixture) -> None:
    gateway = Gateway(sandbox.api, SecretStr("no-such-key-4711"))
    with caplog.at_level(logging.DEBUG), pytest.raises(ServiceRejected) as refused:
        send(gateway, rich, "t", casino.bet(amount="1", side="heads"))
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
