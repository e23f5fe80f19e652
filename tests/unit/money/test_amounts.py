"""Amounts: exact in, exact out, and everything inexact refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentstate.errors import AmountInvalid, ConfigurationError
from agentstate.memory.episodes.episode import micros, moment
from agentstate.money import Money, register_currency
from agentstate.money.amounts import MAX_MINOR
from agentstate.money.guards import max_bet_guard
from agentstate.services.http.json_wire import decode_json

minors = st.integers(-MAX_MINOR, MAX_MINOR)


@given(minors)
def test_what_is_shown_is_read_back(minor: int) -> None:
    money = Money(minor)
    assert Money.parse(money.amount) == money
    assert Money.parse(f"{money.amount:f}") == money
    assert Money.parse(money.format().split()[0]) == money


@given(st.integers(-(2**62), 2**62), st.integers(-(2**61), 2**61))
def test_sums_are_those_of_whole_numbers(first: int, second: int) -> None:
    assert (Money(first) + Money(second)).minor == first + second
    assert (Money(first) - Money(second)).minor == first - second
    assert (Money(first) < Money(second)) == (first < second)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**10), max_value=10**10, places=9))
def test_a_decimal_is_taken_exactly_or_not_at_all(value: Decimal) -> None:
    exact = value == value.quantize(Decimal("0.000001"))
    if exact:
        assert Money.parse(value).amount == value
    else:
        with pytest.raises(AmountInvalid, match="digits after the point"):
            Money.parse(value)


@pytest.mark.parametrize(
    "value",
    [
        1.0, float("nan"), True, None, b"1", "NaN", "Infinity", "1e3", "", " 1", "1.", "--1", "1_000", "\u0661",
        "1" * 70, Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), Decimal("1E+20000000"),
        Decimal("1E-20000000"), 10**400, "9223372036854.775808", "0.0000001",
    ],
)  # fmt: skip
def test_what_is_no_exact_amount_is_refused(value: Any) -> None:
    with pytest.raises(AmountInvalid):
        Money.parse(value)


def test_the_largest_amount_is_taken() -> None:
    assert Money.parse("9223372036854.775807").minor == MAX_MINOR
    with pytest.raises(AmountInvalid, match="beyond"):
        Money(MAX_MINOR) + Money(1)


@pytest.mark.parametrize(("value", "minor"), [("2.50", 2_500_000), (3, 3_000_000), (Decimal("1E+2"), 100_000_000)])
def test_whole_units_become_minor_units(value: Any, minor: int) -> None:
    assert Money.parse(value).minor == minor


def test_digits_that_are_zero_are_not_too_many() -> None:
    assert Money.parse("1.500000000000") == Money(1_500_000)


@pytest.mark.parametrize(("rounding", "minor"), [("half_even", 2), ("half_up", 3), ("down", 2), ("up", 3)])
def test_rounding_happens_only_as_told(rounding: Any, minor: int) -> None:
    assert Money.parse("0.0000025", rounding=rounding).minor == minor


def test_currencies_do_not_mix() -> None:
    with pytest.raises(AmountInvalid, match="different currencies"):
        Money(1, "USDC") + Money(1, "USD")
    assert Money(1, "USDC") != Money(1, "USD")


def test_a_currency_is_registered_once_with_one_scale() -> None:
    register_currency("TESTCOIN", 4)
    register_currency("TESTCOIN", 4)
    assert Money.parse("1.2345", "TESTCOIN").minor == 12_345
    with pytest.raises(ConfigurationError, match="cannot become 5"):
        register_currency("TESTCOIN", 5)
    with pytest.raises(AmountInvalid, match="not registered"):
        Money(1, "NOSUCH")


def test_text_for_people() -> None:
    assert [str(Money(minor)) for minor in (2_500_000, 1, -1_234_500, 0)] == [
        "2.50 USDC", "0.000001 USDC", "-1.2345 USDC", "0.00 USDC",
    ]  # fmt: skip


def test_ether_counts_in_the_unit_that_its_user_chooses() -> None:
    """18 digits in 63 bits hold nine ether, so nothing is chosen for the user; gwei hold nine thousand million."""
    register_currency("ETHGWEI", 9)
    register_currency("ETHWEI", 18)
    assert Money.parse("9000000000.000000001", "ETHGWEI").minor == 9 * 10**18 + 1
    assert Money.parse("0.123456789012345678", "ETHWEI").minor == 123_456_789_012_345_678
    for amount, currency in (("0.0000000001", "ETHGWEI"), ("10", "ETHWEI")):
        with pytest.raises(AmountInvalid):
            Money.parse(amount, currency)
    assert Money.parse("0.0000000015", "ETHGWEI", rounding="down").minor == 1
    with pytest.raises(AmountInvalid, match="not registered"):
        Money.parse("1", "ETHNONE")


@pytest.mark.guide_defect(148)
def test_no_float_is_money_and_none_comes_in_over_the_wire() -> None:
    for inexact in (0.1, 5.0, float("nan")):
        with pytest.raises(AmountInvalid):
            Money.parse(inexact)  # type: ignore[arg-type]
        with pytest.raises(AmountInvalid):
            max_bet_guard(inexact)  # type: ignore[arg-type]
        with pytest.raises(AmountInvalid):
            max_bet_guard("1")(lambda amount: amount)(inexact)
    body = decode_json(b'{"balance_usd": 0.1, "at": 1764000000.123456789}')
    assert {type(value) for value in body.values()} == {Decimal}
    assert micros(moment(1_764_000_000_123_456)) == 1_764_000_000_123_456
