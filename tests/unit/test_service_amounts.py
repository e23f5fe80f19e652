"""Amounts and JSON on the way to and from the services: exact, and strict about what is no amount."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentstate.errors import AmountInvalid, ServiceAnswerInvalid
from agentstate.services.cache.reading import Funds, parse_funds
from agentstate.services.http.json_wire import decode_json, encode_json
from agentstate.services.operations.amounts import MOST, from_micros, nearest_micros, to_micros
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.names import TTL_S, Service, spoiled_by


@given(st.integers(min_value=-MOST, max_value=MOST))
def test_micros_become_dollars_and_come_back(micros: int) -> None:
    assert to_micros(from_micros(micros)) == micros
    assert to_micros(str(from_micros(micros))) == micros


@given(st.integers(min_value=0, max_value=10**12))
def test_an_ieee_number_gives_the_micros_it_was_made_from(micros: int) -> None:
    assert nearest_micros(Decimal(repr(micros / 1_000_000))) == micros


@pytest.mark.parametrize(
    "value", [2.5, 1, True, None, "", "x", "NaN", "Infinity", "0.0000001", "1e20", Decimal("NaN"), Decimal("1e99999")]
)
def test_what_is_no_exact_amount_is_refused(value: object) -> None:
    with pytest.raises(AmountInvalid):
        to_micros(value)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e13", "1e999999999", "-1e999999999"])
def test_a_number_that_is_no_amount_is_refused(value: str) -> None:
    with pytest.raises(AmountInvalid):
        nearest_micros(Decimal(value))


def test_noise_is_taken_off() -> None:
    assert nearest_micros(Decimal("100.09900000000002")) == 100_099_000
    assert nearest_micros(Decimal("0E-7")) == 0


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
        ("text", ""), ("text", 3), ("flag", 1), ("number", True), ("number", "abc"), ("number", None),
        ("micros", "NaN"), ("micros", Decimal("1e999999999")), ("time", "yesterday"), ("items", {}), ("inner", []),
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
    assert all(spoiled_by(service) == (shared if service in shared else {service}) for service in Service)
    assert set(TTL_S) == set(Service)
