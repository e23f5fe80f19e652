"""The codec: what goes in comes out as it was, and what cannot is refused before anything is stored."""

from __future__ import annotations

import json
import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentstate.errors import InvalidInput
from agentstate.ids import validate_name
from agentstate.state import codec, packed
from tests.unit.state.strategies import VALUES


@given(VALUES)
def test_what_goes_in_comes_out(value: Any) -> None:
    assert codec.loads(codec.dumps(value)) == value


def test_types_come_back_as_they_were() -> None:
    value = {"$": [Decimal("2.50"), datetime(2026, 1, 2, tzinfo=UTC), UUID(int=7), b"\xff"]}
    assert repr(codec.loads(codec.dumps(value))) == repr(value)


@pytest.mark.parametrize("refused", [codec.dumps, packed.pack, codec.deep_copy, codec.to_json_types])
@pytest.mark.parametrize(
    "value",
    [0.1, math.nan, {"a": [math.inf]}, datetime(2026, 1, 2), {1: 2}, "\x00", {"\x00": 1}, "\ud800", {"\ud800": 1}, {1}],  # noqa: DTZ001
    ids=ascii,
)
def test_what_cannot_be_stored_exactly_is_refused(value: Any, refused: Callable[[Any], Any]) -> None:
    with pytest.raises(InvalidInput):
        refused({"deep": [value]})


@given(VALUES)
def test_equal_values_have_one_text_that_the_standard_library_would_write_too(value: Any) -> None:
    text = codec.dumps(value)
    assert text == json.dumps(json.loads(text), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert codec.to_json_types(value) == json.loads(text)
    assert codec.from_json_types(codec.to_json_types(value)) == value


@given(VALUES)
def test_what_is_given_is_left_alone(value: Any) -> None:
    before = repr(value)
    codec.dumps(value)
    packed.pack(value)
    assert repr(value) == before


@given(st.integers(-(2**4096) + 1, 2**4096 - 1) | VALUES)
def test_a_boxed_number_is_no_bare_number_and_comes_back(value: Any) -> None:
    text = codec.dumps_boxed(value)
    assert type(json.loads(text)) is not int
    assert codec.loads(text) == value


class Side(StrEnum):
    HEADS = "heads"


class Size(IntEnum):
    SMALL = 1


class Odds(NamedTuple):
    won: int
    lost: Decimal


class Items(list[Any]):
    pass


@pytest.mark.parametrize("coded", [lambda v: codec.loads(codec.dumps(v)), lambda v: packed.unpack(packed.pack(v))])
@pytest.mark.parametrize(
    ("value", "read"),
    [
        (Side.HEADS, "heads"),
        (Size.SMALL, 1),
        (Odds(1, Decimal("2.50")), (1, Decimal("2.50"))),
        (Items([Decimal(1)]), [Decimal(1)]),
        (OrderedDict(b=1, a=[Side.HEADS]), {"a": ["heads"], "b": 1}),
        (defaultdict(list, {"$": (1,)}), {"$": (1,)}),
        ({Side.HEADS: True}, {"heads": True}),
    ],
    ids=repr,
)
def test_a_subclass_is_stored_as_what_it_is_a_kind_of(coded: Any, value: Any, read: Any) -> None:
    found = coded({"v": value})["v"]
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize("text", [r"\u0000", r"\\u0000", "\\\\", r"\u0024", '"$"', "$"], ids=ascii)
def test_text_that_looks_like_an_escape_is_text(text: str) -> None:
    value = {"v": text, text: [text, {text: text}]}
    assert codec.loads(codec.dumps(value)) == value
    assert packed.unpack(packed.pack(value)) == value


def test_a_tag_is_read_however_its_key_is_written() -> None:
    assert codec.loads(r'[{"\u0024":["decimal","1.50"]}]') == [Decimal("1.50")]
    assert codec.loads(b'{"$": ["tuple", [1, {"$" : ["dict", {"$": 2}]}]]}') == (1, {"$": 2})


def test_a_number_with_a_point_is_exact() -> None:
    found = codec.loads("[1234567890.123456789012, 1.10, 1e2, 7]")
    assert [str(number) for number in found] == ["1234567890.123456789012", "1.10", "1E+2", "7"]


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
    assert codec.storable_text(text, 10) == shown


@pytest.mark.parametrize("name", [None, 7, b"ag_1", "", "a b", "../etc", "é", "a\n", "x" * 129])
def test_what_cannot_be_a_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidInput, match="agent id"):
        validate_name(name)
