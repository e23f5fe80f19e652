"""Fingerprints and remote keys: equal parameters are equal, others are not."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from agentstate.errors import InvalidInput
from agentstate.money import Money
from agentstate.money.effects.claims import make_remote_key
from agentstate.state.codec import deep_copy, fingerprint_value


def test_equal_numbers_have_one_fingerprint_value() -> None:
    forms: list[Any] = [10, Decimal(10), Decimal("10.00"), Decimal("1E+1")]
    assert len({fingerprint_value({"amount": form}) for form in forms}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 10}, {"a": "10"}),
        ({"a": True}, {"a": 1}),
        ({"a": None}, {}),
        ({"a": Money.from_minor(1)}, {"a": Money.from_minor(2)}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": {"$": ["decimal", "1"]}}, {"a": Decimal(1)}),
    ],
)
def test_other_values_have_another_fingerprint_value(one: Any, other: Any) -> None:
    assert fingerprint_value(one) != fingerprint_value(other)


def test_the_order_of_names_does_not_matter() -> None:
    assert fingerprint_value({"a": 1, "b": 2}) == fingerprint_value({"b": 2, "a": 1})


@pytest.mark.parametrize("value", [{"a": 0.1}, {1: "x"}, {"a": object()}, {"a": Decimal("NaN")}])
def test_what_cannot_be_stored_is_refused_before_anything(value: Any) -> None:
    with pytest.raises(InvalidInput):
        fingerprint_value(value)
    with pytest.raises(InvalidInput):
        deep_copy(value)


def test_a_remote_key_is_made_again_and_belongs_to_one_agent_and_key() -> None:
    assert make_remote_key(b"s", "ag_1", "bet") == make_remote_key(b"s", "ag_1", "bet")
    keys = {make_remote_key(*names) for names in [(b"s", "ag_1", "bet"), (b"t", "ag_1", "bet"), (b"s", "ag_1b", "et")]}
    assert len(keys) == 3
    assert all(len(key) == 40 for key in keys)
