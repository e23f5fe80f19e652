"""Lines of a transaction: balanced, named, netted."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from agentstate.errors import AmountInvalid, InvalidInput, Unbalanced
from agentstate.money import Line, Money, earn, move, spend
from agentstate.money.ledger.postings import Posting, net_lines, normalize_key, validate_lines

FREE = ("casino", "available")


def test_lines_must_sum_to_zero_in_each_currency() -> None:
    validate_lines(spend("casino", Money.from_minor(5)))
    with pytest.raises(Unbalanced, match="USDC 1"):
        validate_lines([Line(*FREE, Money.from_minor(2)), Line("casino", "external", Money.from_minor(-1))])
    with pytest.raises(Unbalanced):
        validate_lines(
            [Line(*FREE, Money.from_minor(1, "USDC")), Line("casino", "external", Money.from_minor(-1, "USD"))]
        )


@pytest.mark.parametrize("count", [0, 1, 501])
def test_a_transaction_has_two_to_500_lines(count: int) -> None:
    with pytest.raises(InvalidInput, match="lines"):
        validate_lines([Line(*FREE, Money.from_minor(1))] * count)


def test_a_line_of_zero_and_odd_names_are_refused() -> None:
    with pytest.raises(InvalidInput, match="moves nothing"):
        Line(*FREE, Money.from_minor(0))
    with pytest.raises(InvalidInput, match="service"):
        Line("ca sino", "available", Money.from_minor(1))


@pytest.mark.parametrize("minor", [0, -1])
def test_only_amounts_above_zero_are_moved(minor: int) -> None:
    with pytest.raises(AmountInvalid, match="not above zero"):
        move(Money.from_minor(minor), FREE, ("casino", "in_flight"))


def test_lines_of_one_account_are_netted() -> None:
    lines = [
        *spend("casino", Money.from_minor(5)),
        *earn("casino", Money.from_minor(5)),
        *earn("casino", Money.from_minor(2)),
    ]
    assert sorted(net_lines(lines), key=lambda line: line.bucket) == [
        Line("casino", "available", Money.from_minor(2)),
        Line("casino", "external", Money.from_minor(-2)),
    ]
    assert net_lines([*spend("casino", Money.from_minor(5)), *earn("casino", Money.from_minor(5))]) == []


def test_one_text_is_one_key_however_it_was_typed() -> None:
    typed, decomposed = "caf\u00e9:7", "cafe\u0301:7"
    assert normalize_key(typed) == normalize_key(decomposed) == typed
    assert Posting(key=decomposed, lines=spend("casino", Money("1"))).key == typed


@pytest.mark.parametrize("key", ["", " ", "bet:1 ", " bet:1", "a\x00", "a\nb", "\u00a0x", "k" * 201, None, 5, b"k"])
def test_a_key_that_could_be_taken_for_another_is_refused(key: Any) -> None:
    with pytest.raises(InvalidInput, match="printable characters"):
        normalize_key(key)


@pytest.mark.parametrize("amount", [5, 2.5, "5", Decimal(5), None])
def test_lines_are_made_of_money_only(amount: Any) -> None:
    for make in (
        lambda: spend("casino", amount),
        lambda: earn("casino", amount),
        lambda: move(amount, FREE, ("wallet", "available")),
        lambda: Line("casino", "available", amount),
    ):
        with pytest.raises(InvalidInput, match="Money"):
            make()
