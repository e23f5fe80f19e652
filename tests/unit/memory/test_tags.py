"""Metadata as tags: equal values are equal tags, and what cannot be asked for is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from agentstate.errors import InvalidInput
from agentstate.memory.search.filters import meets_where, metadata_tags, parse_where

PAID: dict[str, Any] = {
    "asset": "USDC",
    "amount": Decimal("2.50"),
    "legs": ["casino", "bank"],
    "won": False,
    "note": None,
}


def test_each_plain_value_is_a_tag() -> None:
    assert metadata_tags(PAID) == ["amount=n:2.5", "asset=s:USDC", "legs=s:bank", "legs=s:casino", "won=b:false"]
    assert metadata_tags(None) == []


@pytest.mark.parametrize(
    ("conditions", "met"),
    [
        ({"asset": "USDC"}, True),
        ({"asset": "ETH"}, False),
        ({"asset": ["ETH", "USDC"]}, True),
        ({"amount": Decimal("2.5000")}, True),
        ({"legs": "bank"}, True),
        ({"won": False, "asset": "USDC"}, True),
        ({"won": True, "asset": "USDC"}, False),
        ({"missing": "x"}, False),
        ({}, True),
        (None, True),
    ],
)
def test_all_conditions_must_hold(conditions: dict[str, Any] | None, met: bool) -> None:
    assert meets_where(PAID, parse_where(conditions)) is met


def test_numbers_are_equal_however_they_are_written() -> None:
    assert metadata_tags({"n": 100}) == metadata_tags({"n": Decimal("100.00")})
    long = Decimal("123456789012345678901234567890.5")
    assert metadata_tags({"n": long}) == [f"n=n:{long}"]


def test_long_values_stay_apart() -> None:
    assert metadata_tags({"k": "x" * 500 + "a"}) != metadata_tags({"k": "x" * 500 + "b"})
    assert meets_where({"k": "x" * 500}, parse_where({"k": "x" * 500}))


@pytest.mark.parametrize(
    "conditions",
    [{"k": None}, {"k": {"nested": 1}}, {"k": []}, {"k": 1.5}, {"k": datetime(2026, 1, 1)}, {"k": [["a"]]}, ["k"]],  # noqa: DTZ001
)
def test_what_cannot_be_asked_for_is_refused(conditions: Any) -> None:
    with pytest.raises(InvalidInput):
        parse_where(conditions)


def test_a_time_is_the_same_in_every_zone() -> None:
    assert metadata_tags({"t": datetime(2026, 1, 1, tzinfo=UTC)}) == ["t=t:2026-01-01T00:00:00+00:00"]


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        ({"paid": True}, {"paid": "true"}),
        ({"paid": "true"}, {"paid": True}),
        ({"paid": True}, {"paid": 1}),
        ({"n": "5"}, {"n": 5}),
        ({"n": 5}, {"n": ["5", "05"]}),
        ({"a": "b=c"}, {"a=b": "c"}),
        ({"a=b": "c"}, {"a": "b=c"}),
        ({"a%3Db": "c"}, {"a=b": "c"}),
        ({"a": {"b": "c"}}, {"a.b": "c"}),
        ({"a.b": "c"}, {"a": "b.c"}),
        ({"id": str(UUID(int=7))}, {"id": UUID(int=7)}),
        ({"t": "2026-01-01T00:00:00+00:00"}, {"t": datetime(2026, 1, 1, tzinfo=UTC)}),
    ],
)
def test_a_value_of_another_type_or_key_is_another_value(held: dict[str, Any], asked: dict[str, Any]) -> None:
    assert not meets_where(held, parse_where(asked))
    if all(not isinstance(value, dict) for value in held.values()):
        assert meets_where(held, parse_where(held))
