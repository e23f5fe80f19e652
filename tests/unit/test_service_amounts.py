"""Amounts and JSON on the way to and from the services: exact, and strict about what is no amount."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentstate.errors import AmountInvalid, InvalidInput, ServiceAnswerInvalid
from agentstate.money.amounts import Money
from agentstate.services.cache.reading import Funds, parse_funds
from agentstate.services.operations import casino
from agentstate.services.operations.names import TTL_S, Service, services_sharing_balance
from agentstate.services.operations.registry import OPERATIONS
from agentstate.services.wire import MOST, Answer, decode_json, encode_json, micros_to_dollars, round_to_micros


@given(st.integers(min_value=-MOST, max_value=MOST))
def test_micros_become_dollars_and_come_back(micros: int) -> None:
    assert round_to_micros(micros_to_dollars(micros)) == micros
    assert Money(micros_to_dollars(micros)) == Money.from_minor(micros)


@given(st.integers(min_value=0, max_value=10**12))
def test_an_ieee_number_gives_the_micros_it_was_made_from(micros: int) -> None:
    assert round_to_micros(Decimal(repr(micros / 1_000_000))) == micros


@pytest.mark.parametrize(
    "value",
    [2.5, True, None, "", "x", "NaN", "Infinity", "0.0000001", "1e20", "1e3", "1_000", "\u0661", " 1", "2,50",
     Decimal("NaN"),
     Decimal("1e99999"), "1000000000001", 0, "-1", Money("1", "USD")],
)  # fmt: skip
def test_what_is_no_exact_amount_is_refused(value: Any) -> None:
    with pytest.raises(AmountInvalid, match=r"casino\.deposit: amount .* Nothing was sent"):
        casino.deposit(amount=value)


@pytest.mark.parametrize("value", [Money("2.50"), Decimal("2.5"), "2.50"])
def test_an_amount_is_one_whatever_it_is_written_as(value: Any) -> None:
    assert casino.deposit(amount=value) == casino.deposit(amount="2.5")
    assert casino.deposit(amount=value).params() == {"amount": Money("2.50")}


def test_a_misspelt_a_missing_and_a_positional_field_are_named() -> None:
    with pytest.raises(InvalidInput, match="has no field 'amont'; it has amount, game, side"):
        casino.bet(amont="1", side="heads")  # type: ignore[call-arg]
    with pytest.raises(InvalidInput, match="amount is missing"):
        casino.bet(side="heads")  # type: ignore[call-arg]
    with pytest.raises(InvalidInput, match="by name"):
        casino.bet("1")  # type: ignore[misc]


def test_an_operation_is_a_value() -> None:
    bet = casino.bet(amount="1", side="heads")
    assert copy.deepcopy(bet) == bet == casino.bet(amount=1, side="heads")
    assert OPERATIONS.parse("casino.bet", bet.params()) == bet
    assert len({bet, casino.bet(amount=1, side="heads")}) == 1
    with pytest.raises(FrozenInstanceError):
        bet.amount = "2"  # type: ignore[misc]


def test_a_receipt_is_stored_and_comes_back() -> None:
    bet = casino.bet(amount="1", side="heads")
    receipt = bet.read_receipt(Answer({"bet_id": "b1", "won": True, "payout_multiplier": Decimal("1.99")}))
    assert (receipt.credited, receipt.won) == (Money("1.99"), True)
    assert bet.load_receipt(bet.store_receipt(receipt)) == receipt
    assert bet.load_receipt({"reference": "b1", "debited": "1"}).debited == Money("1")
    with pytest.raises(InvalidInput, match="no field stake"):
        bet.load_receipt({"reference": "b1", "stake": "1"})


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e13", "1e999999999", "-1e999999999"])
def test_a_number_that_is_no_amount_is_refused(value: str) -> None:
    with pytest.raises(AmountInvalid):
        round_to_micros(Decimal(value))


def test_noise_is_taken_off() -> None:
    assert round_to_micros(Decimal("100.09900000000002")) == 100_099_000
    assert round_to_micros(Decimal("0E-7")) == 0


def test_json_keeps_every_digit_in_both_directions() -> None:
    assert encode_json({"amount": Decimal("2.50")}) == b'{"amount":2.50}'
    assert decode_json(b'{"a": 100.099, "b": 1.10, "c": 7, "_info": {}}') == {
        "a": Decimal("100.099"),
        "b": Decimal("1.10"),
        "c": 7,
    }


@pytest.mark.parametrize(
    "content", [b"", b"{", b"<html></html>", b"[1]", b"3", b'{"a": NaN}', b'{"a": "\xff"}', b"[" * 100_000]
)
def test_what_is_no_json_object_cannot_be_read(content: bytes) -> None:
    with pytest.raises(ServiceAnswerInvalid):
        decode_json(content)


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("get_text", ""), ("get_text", 3), ("get_flag", 1), ("get_number", True), ("get_number", "abc"),
        ("get_number", None), ("get_micros", "NaN"), ("get_micros", Decimal("1e999999999")), ("get_time", "yesterday"),
        ("get_items", {}), ("get_object", []),
    ],
)  # fmt: skip
def test_a_member_of_another_kind_is_an_error_that_names_it(method: str, value: Any) -> None:
    answer = Answer({"member": value})
    with pytest.raises(ServiceAnswerInvalid):
        getattr(answer, method)("member")
    with pytest.raises(ServiceAnswerInvalid):
        getattr(answer, method)("missing")


def test_a_portfolio_counts_the_shared_balance_once() -> None:
    escrow = {"balance_usd": Decimal(70), "locked_usd": Decimal(30)}
    assert parse_funds(Service.ESCROW, escrow) == Funds(30_000_000, 30_000_000)
    assert parse_funds(Service.FAUCET, {"can_claim": True}) == Funds(None, 0)


def test_a_state_that_lacks_its_money_is_no_state() -> None:
    for service in Service:
        with pytest.raises(ServiceAnswerInvalid):
            parse_funds(service, {})


def test_casino_escrow_and_faucet_spoil_each_other() -> None:
    shared = {Service.CASINO, Service.ESCROW, Service.FAUCET}
    assert all(services_sharing_balance(service) == (shared if service in shared else {service}) for service in Service)
    assert set(TTL_S) == set(Service)
