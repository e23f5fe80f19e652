"""`max_bet_guard`: exact, by the parameter's name, and no way around it by accident; the guide's defects by number."""

from __future__ import annotations

import asyncio
import inspect
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentstate.errors import AmountInvalid, ConfigurationError, LimitExceeded
from agentstate.money import Money, max_bet_guard


class Casino:
    """Notes the bets that reach it."""

    def __init__(self) -> None:
        self.placed: list[Any] = []

    @max_bet_guard("50")
    def bet(self, amount: Any, game: str = "dice") -> Any:
        self.placed.append(amount)
        return amount

    @max_bet_guard("50")
    def game_first(self, game: int, amount: Any) -> Any:
        return self.bet(amount)

    @max_bet_guard("50")
    async def later(self, *, amount: Any) -> Any:
        self.placed.append(amount)
        return amount


@pytest.fixture
def casino() -> Casino:
    return Casino()


def refused(casino: Casino, amount: Any, kind: type[Exception] = AmountInvalid) -> Any:
    for call in (lambda: casino.bet(amount), lambda: casino.bet(game="dice", amount=amount)):
        with pytest.raises(kind) as caught:
            call()
    assert casino.placed == []
    return caught.value


@pytest.mark.guide_defect(110)
@pytest.mark.parametrize("amount", [float("nan"), -1000, 0, True, False, "-0.01", "0", Decimal(-1), Money.zero(), 1.0])
def test_nan_negative_zero_and_true_do_not_pass(casino: Casino, amount: Any) -> None:
    refused(casino, amount)


@pytest.mark.guide_defect(111)
@pytest.mark.parametrize("amount", [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), "NaN", "Infinity", "1e3"])
def test_a_decimal_nan_is_a_refusal(casino: Casino, amount: Any) -> None:
    refused(casino, amount)


@pytest.mark.guide_defect(111)
def test_text_is_compared_as_the_amount_that_it_is(casino: Casino) -> None:
    refused(casino, "1000", LimitExceeded)
    assert casino.bet("9") == "9"


@pytest.mark.guide_defect(113)
def test_no_digit_is_lost_against_the_limit(casino: Casino) -> None:
    refused(casino, Decimal("50.000001"), LimitExceeded)
    refused(casino, Decimal("0.100000000000000000001"))
    with pytest.raises(AmountInvalid):
        max_bet_guard(0.1)  # type: ignore[arg-type]
    guarded = max_bet_guard("0.1")(lambda amount: amount)
    assert guarded(Decimal("0.1")) == Decimal("0.1")
    with pytest.raises(LimitExceeded):
        guarded(Decimal("0.100001"))


@pytest.mark.guide_defect(114)
def test_the_function_is_not_reachable_through_the_wrapper(casino: Casino) -> None:
    for guarded in (Casino.bet, Casino.later):
        assert not hasattr(guarded, "__wrapped__")
        assert inspect.unwrap(guarded) is guarded
    assert list(inspect.signature(Casino.bet).parameters) == ["self", "amount", "game"]
    assert Casino.bet.__name__ == "bet"


@pytest.mark.guide_defect(115)
def test_the_amount_is_found_wherever_it_stands(casino: Casino) -> None:
    for call in (
        lambda: casino.game_first(5, Decimal(10**6)),
        lambda: casino.game_first(game=5, amount=Decimal(10**6)),
        lambda: casino.game_first(amount="51", game=5),
        lambda: max_bet_guard("50")(lambda **bet: bet)(game=5, amount="51"),
        lambda: max_bet_guard("50", parameter="stake")(lambda game, stake="51": game)(5),
    ):
        with pytest.raises(LimitExceeded):
            call()
    assert casino.placed == []
    assert casino.game_first(5, "50") == "50"


def test_a_function_without_the_parameter_cannot_be_guarded() -> None:
    for function in (lambda stake: stake, lambda *amount: amount):
        with pytest.raises(ConfigurationError, match="amount"):
            max_bet_guard("50")(function)


def test_a_call_without_the_amount_is_not_made() -> None:
    with pytest.raises(AmountInvalid):
        max_bet_guard("50")(lambda **bet: bet)(game=5)
    with pytest.raises(AmountInvalid):
        max_bet_guard("50")(lambda amount=None: amount)()
    with pytest.raises(TypeError):
        max_bet_guard("50")(lambda amount: amount)()


def test_an_async_function_is_guarded(casino: Casino) -> None:
    assert inspect.iscoroutinefunction(Casino.later)
    assert asyncio.run(casino.later(amount="50")) == "50"
    with pytest.raises(LimitExceeded):
        asyncio.run(casino.later(amount="50.01"))
    assert casino.placed == ["50"]


def test_the_refusal_names_limit_used_and_asked(casino: Casino) -> None:
    error = refused(casino, "50.01", LimitExceeded)
    assert (error.limit, error.used, error.asked) == (Money(50), Money.from_minor(0), Money("50.01"))
    assert "50.00 USDC" in error.message
    assert "50.01 USDC" in error.message


def test_another_currency_is_refused(casino: Casino) -> None:
    refused(casino, Money(1, "USD"))


@given(st.integers(-(10**12), 10**12))
def test_exactly_what_is_above_zero_and_within_the_limit_passes(minor: int) -> None:
    guarded = max_bet_guard(Money.from_minor(1_000_000))(lambda amount: True)
    try:
        passed = guarded(Money.from_minor(minor).amount)
    except (AmountInvalid, LimitExceeded):
        passed = False
    assert passed is (0 < minor <= 1_000_000)
