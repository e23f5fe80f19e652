"""Lines of a transaction: balanced, named, netted."""

from __future__ import annotations

import pytest

from agentstate.errors import AmountInvalid, InvalidInput, Unbalanced
from agentstate.money import Line, Money, earned, move, spent
from agentstate.money.ledger.postings import check_lines, net

FREE = ("casino", "available")


def test_lines_must_sum_to_zero_in_each_currency() -> None:
    check_lines(spent("casino", Money.from_minor(5)))
    with pytest.raises(Unbalanced, match="USDC 1"):
        check_lines([Line(*FREE, Money.from_minor(2)), Line("casino", "external", Money.from_minor(-1))])
    with pytest.raises(Unbalanced):
        check_lines([Line(*FREE, Money.from_minor(1, "USDC")), Line("casino", "external", Money.from_minor(-1, "USD"))])


@pytest.mark.parametrize("count", [0, 1, 501])
def test_a_transaction_has_two_to_500_lines(count: int) -> None:
    with pytest.raises(InvalidInput, match="lines"):
        check_lines([Line(*FREE, Money.from_minor(1))] * count)


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
        *spent("casino", Money.from_minor(5)),
        *earned("casino", Money.from_minor(5)),
        *earned("casino", Money.from_minor(2)),
    ]
    assert sorted(net(lines), key=lambda line: line.bucket) == [
        Line("casino", "available", Money.from_minor(2)),
        Line("casino", "external", Money.from_minor(-2)),
    ]
    assert net([*spent("casino", Money.from_minor(5)), *earned("casino", Money.from_minor(5))]) == []
