"""Rules as values: what is refused, how they read, and where their windows begin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentstate.errors import InvalidInput
from agentstate.ids import new_id
from agentstate.money import Money
from agentstate.money.guards.rules import DAY_S, GuardRequest, Rule, RuleKind, format_window

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def rule(kind: RuleKind = RuleKind.OPERATION, maximum: Any = Money(5), **options: Any) -> Rule:  # noqa: B008 frozen
    return Rule(agent_id="alice", kind=kind, maximum=maximum, **options)


@pytest.mark.parametrize(
    ("kind", "maximum", "options"),
    [
        (RuleKind.OPERATION, Money.from_minor(-1), {}),
        (RuleKind.OPERATION, 5, {}),
        (RuleKind.OPERATION, Money.from_minor(5), {"window_s": 60}),
        (RuleKind.TOTAL, Money.from_minor(5), {}),
        (RuleKind.TOTAL, Money.from_minor(5), {"window_s": 0}),
        (RuleKind.TOTAL, Money.from_minor(5), {"window_s": 1.5}),
        (RuleKind.TOTAL, Money.from_minor(5), {"window_s": True}),
        (RuleKind.TOTAL, Money.from_minor(5), {"window_s": 10**9}),
        (RuleKind.RATE, Money.from_minor(5), {"window_s": 60}),
        (RuleKind.RATE, True, {"window_s": 60}),
        (RuleKind.RATE, -1, {"window_s": 60}),
        (RuleKind.OPERATION, Money.from_minor(5), {"service": "no such name"}),
        (RuleKind.OPERATION, Money.from_minor(5), {"operation": ""}),
    ],
)
def test_a_rule_that_says_nothing_is_refused(kind: RuleKind, maximum: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        rule(kind, maximum, **options)


def test_a_rule_has_the_same_id_whatever_its_maximum_is() -> None:
    assert rule(maximum=Money.from_minor(1)).id == rule(maximum=Money.from_minor(2)).id
    others = {rule(service="casino").id, rule(operation="bet").id, rule(maximum=Money.from_minor(1, "USD")).id}
    hourly, daily = (rule(RuleKind.TOTAL, window_s=seconds).id for seconds in (3_600, DAY_S))
    assert len({rule().id, *others, hourly, daily}) == 6


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (rule(), "every service: one operation may cost at most 5.00 USDC."),
        (
            rule(RuleKind.TOTAL, service="casino", window_s=DAY_S),
            "casino: all together may cost at most 5.00 USDC in 1 day.",
        ),
        (
            rule(RuleKind.RATE, 3, service="casino", operation="casino.bet", window_s=90),
            "casino.bet at casino: at most 3 operations may begin in 90 seconds.",
        ),
    ],
)
def test_a_rule_reads_as_a_sentence(made: Rule, text: str) -> None:
    assert made.describe() == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 second"), (60, "1 minute"), (7_200, "2 hours"), (5_400, "90 minutes"), (604_800, "7 days")],
)
def test_a_window_reads_as_people_say_it(seconds: int, text: str) -> None:
    assert format_window(seconds) == text


def ask(at: datetime, amount: Money | None = None) -> GuardRequest:
    return GuardRequest(id=new_id(), agent_id="alice", service="casino", operation="bet", amount=amount, at=at)


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 40)), max_size=60), st.integers(1, 100))
def test_no_window_wherever_it_lies_holds_more_than_the_maximum(asks: list[tuple[int, int]], window_s: int) -> None:
    """The rule of admission, by itself, in any order of asking: also when a lock lets a later one in first."""
    total, admitted = rule(RuleKind.TOTAL, Money.from_minor(100), window_s=window_s), list[tuple[datetime, int]]()
    for offset, amount in asks:
        at = NOW + timedelta(seconds=offset)
        inside = sum(taken for began, taken in admitted if began > ask(at).window_start(total))
        if inside + ask(at, Money.from_minor(amount)).requested_quantity(total) <= total.number:
            admitted.append((at, amount))
    for end, _ in admitted:
        begin = end - timedelta(seconds=window_s)
        assert sum(taken for began, taken in admitted if begin < began <= end) <= 100


def test_what_is_asked_is_counted_in_what_the_rule_measures() -> None:
    five = ask(NOW, Money.from_minor(5))
    assert five.requested_quantity(rule()) == 5
    assert five.requested_quantity(rule(maximum=Money.from_minor(1, "USD"))) == 0
    assert five.requested_quantity(rule(RuleKind.RATE, 3, window_s=1)) == 1
    assert ask(NOW).requested_quantity(rule()) == 0
