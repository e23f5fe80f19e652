"""Amounts: exact in, exact out, and everything inexact refused."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentstate.errors import AmountInvalid, ConfigurationError
from agentstate.memory.episodes.episode import from_micros, to_micros
from agentstate.money import Money, register_currency
from agentstate.money.amounts import MAX_MINOR
from agentstate.money.guards import max_bet_guard
from agentstate.services.wire import decode_json

minors = st.integers(-MAX_MINOR, MAX_MINOR)


@given(minors)
def test_what_is_shown_is_read_back(minor: int) -> None:
    money = Money.from_minor(minor)
    assert Money(money.amount) == money
    assert Money(f"{money.amount:f}") == money
    assert Money(str(money).split()[0]) == money


@given(st.integers(-(2**62), 2**62), st.integers(-(2**61), 2**61))
def test_sums_are_those_of_whole_numbers(first: int, second: int) -> None:
    assert (Money.from_minor(first) + Money.from_minor(second)).minor == first + second
    assert (Money.from_minor(first) - Money.from_minor(second)).minor == first - second
    assert (Money.from_minor(first) < Money.from_minor(second)) == (first < second)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**10), max_value=10**10, places=9))
def test_a_decimal_is_taken_exactly_or_not_at_all(value: Decimal) -> None:
    exact = value == value.quantize(Decimal("0.000001"))
    if exact:
        assert Money(value).amount == value
    else:
        with pytest.raises(AmountInvalid, match="digits after the point"):
            Money(value)


@pytest.mark.parametrize(
    "value",
    [
        1.0, float("nan"), True, None, b"1", "NaN", "Infinity", "1e3", "", " 1", "1.", "--1", "1_000", "\u0661",
        "1" * 70, Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), Decimal("1E+20000000"),
        Decimal("1E-20000000"), 10**400, f"{10**32}", "0.0000001",
    ],
)  # fmt: skip
def test_what_is_no_exact_amount_is_refused(value: Any) -> None:
    with pytest.raises(AmountInvalid):
        Money(value)


def test_the_largest_amount_is_taken() -> None:
    assert Money(f"{10**32 - 1}.999999").minor == MAX_MINOR
    with pytest.raises(AmountInvalid, match="beyond"):
        Money.from_minor(MAX_MINOR) + Money.from_minor(1)


@pytest.mark.parametrize(("value", "minor"), [("2.50", 2_500_000), (3, 3_000_000), (Decimal("1E+2"), 100_000_000)])
def test_whole_units_become_minor_units(value: Any, minor: int) -> None:
    assert Money(value).minor == minor


def test_digits_that_are_zero_are_not_too_many() -> None:
    assert Money("1.500000000000") == Money.from_minor(1_500_000)


@pytest.mark.parametrize(("rounding", "minor"), [("half_even", 2), ("half_up", 3), ("down", 2), ("up", 3)])
def test_rounding_happens_only_as_told(rounding: Any, minor: int) -> None:
    assert Money("0.0000025", rounding=rounding).minor == minor


def test_currencies_do_not_mix() -> None:
    with pytest.raises(AmountInvalid, match="different currencies"):
        Money.from_minor(1, "USDC") + Money.from_minor(1, "USD")
    assert Money.from_minor(1, "USDC") != Money.from_minor(1, "USD")


def test_money_adds_up_like_a_number() -> None:
    assert sum([Money("1.25"), Money("2")]) == Money("3.25")
    assert Money("2.50") * 3 == 3 * Money("2.50") == Money("7.50")
    assert Money("2.50") * Decimal("0.1") == Money("0.25")
    assert abs(-Money("1")) == Money("1")
    with pytest.raises(AmountInvalid, match="digits after the point"):
        Money("0.000001") * Decimal("0.5")


@pytest.mark.parametrize("other", [Decimal(1), 1, 1.0, "1"])
def test_money_and_plain_numbers_do_not_mix(other: Any) -> None:
    money: Any = Money("1")
    for combine in (lambda: money + other, lambda: money - other, lambda: other + money):
        with pytest.raises(TypeError):
            combine()
    with pytest.raises(TypeError, match=r"write \+ Money\('1"):
        money + other
    with pytest.raises(AmountInvalid, match="is refused"):
        money + other
    for compare in (lambda: money < other, lambda: money >= other):
        with pytest.raises(TypeError):
            compare()
    assert money != other


@pytest.mark.parametrize("factor", [1.5, "2", True, Money("2")])
def test_money_is_multiplied_by_exact_numbers_only(factor: Any) -> None:
    with pytest.raises(TypeError, match="int or a Decimal"):
        Money("1") * factor


def test_money_is_formatted_as_a_number_or_as_text() -> None:
    money = Money("2.5")
    assert [f"{money:.2f}", f"{money}", f"{money:>12}", repr(money)] == [
        "2.50", "2.50 USDC", "   2.50 USDC", "Money('2.500000', 'USDC')",
    ]  # fmt: skip
    assert copy.deepcopy(money) == money


def test_a_currency_is_registered_once_with_one_scale() -> None:
    register_currency("TESTCOIN", 4)
    register_currency("TESTCOIN", 4)
    assert Money("1.2345", "TESTCOIN").minor == 12_345
    with pytest.raises(ConfigurationError, match="cannot become 5"):
        register_currency("TESTCOIN", 5)
    with pytest.raises(AmountInvalid, match="not registered"):
        Money.from_minor(1, "NOSUCH")


def test_text_for_people() -> None:
    assert [str(Money.from_minor(minor)) for minor in (2_500_000, 1, -1_234_500, 0)] == [
        "2.50 USDC", "0.000001 USDC", "-1.2345 USDC", "0.00 USDC",
    ]  # fmt: skip


def test_ether_counts_in_the_unit_that_its_user_chooses() -> None:
    """Wei and gwei both fit, so nothing is chosen for the user."""
    register_currency("ETHGWEI", 9)
    register_currency("ETHWEI", 18)
    assert Money("9000000000.000000001", "ETHGWEI").minor == 9 * 10**18 + 1
    assert Money("120000000.123456789012345678", "ETHWEI").minor == 120_000_000_123_456_789_012_345_678
    for amount, currency in (("0.0000000001", "ETHGWEI"), (f"{10**20}", "ETHWEI")):
        with pytest.raises(AmountInvalid):
            Money(amount, currency)
    assert Money("0.0000000015", "ETHGWEI", rounding="down").minor == 1
    with pytest.raises(AmountInvalid, match="not registered"):
        Money("1", "ETHNONE")


@pytest.mark.guide_defect(148)
def test_no_float_is_money_and_none_comes_in_over_the_wire() -> None:
    for inexact in (0.1, 5.0, float("nan")):
        with pytest.raises(AmountInvalid):
            Money(inexact)  # type: ignore[arg-type]
        with pytest.raises(AmountInvalid):
            max_bet_guard(inexact)  # type: ignore[arg-type]
        with pytest.raises(AmountInvalid):
            max_bet_guard("1")(lambda amount: amount)(inexact)
    body = decode_json(b'{"balance_usd": 0.1, "at": 1764000000.123456789}')
    assert {type(value) for value in body.values()} == {Decimal}
    assert to_micros(from_micros(1_764_000_000_123_456)) == 1_764_000_000_123_456
