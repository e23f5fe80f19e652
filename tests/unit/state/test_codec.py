"""The codec: what goes in comes out as it was, and what cannot is refused before anything is stored."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given

from agentstate.errors import InvalidInput
from agentstate.ids import checked_name
from agentstate.state import codec
from tests.unit.state.strategies import VALUES


@given(VALUES)
def test_what_goes_in_comes_out(value: Any) -> None:
    assert codec.loads(codec.dumps(value)) == value


def test_types_come_back_as_they_were() -> None:
    value = {"$": [Decimal("2.50"), datetime(2026, 1, 2, tzinfo=UTC), UUID(int=7), b"\xff"]}
    assert repr(codec.loads(codec.dumps(value))) == repr(value)


@pytest.mark.parametrize(
    "value",
    [0.1, math.nan, {"a": [math.inf]}, datetime(2026, 1, 2), {1: 2}, "\x00", {"\x00": 1}, "\ud800", {"\ud800": 1}, {1}],  # noqa: DTZ001
    ids=ascii,
)
def test_what_cannot_be_stored_exactly_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        codec.dumps(value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é", "plain é"),
        ("a\x00b", r"a\x00b"),
        ("\ud800", r"\ud800"),
        ("x" * 30, "x" * 10),
        ("\x00" * 9, r"\x00\x00\x"),
    ],
    ids=ascii,
)
def test_any_text_can_be_shown(text: str, shown: str) -> None:
    assert codec.legible(text, 10) == shown


@pytest.mark.parametrize("name", [None, 7, b"ag_1", "", "a b", "../etc", "é", "a\n", "x" * 129])
def test_what_cannot_be_a_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidInput, match="agent id"):
        checked_name(name)
