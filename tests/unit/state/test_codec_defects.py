"""The known ways in which JSON and MessagePack with a hook for Decimal lose or invent data, each shown not to happen.

The number in a test's name is the defect's.
"""

from __future__ import annotations

import json
import math
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentstate.errors import InvalidInput
from agentstate.money.amounts import Money
from agentstate.state import codec, packed
from tests.unit.state.strategies import VALUES

WEI = 20 * 10**18


def by_json(value: Any) -> Any:
    return codec.loads(codec.dumps(value))


def by_bytes(value: Any) -> Any:
    return packed.unpack(packed.pack(value))


BOTH = pytest.mark.parametrize("round_trip", [by_json, by_bytes])
RoundTrip = Callable[[Any], Any]


def sealed(value: Any) -> bytes:
    """MessagePack from another hand, with a right head."""
    head, body = bytes([packed.VERSION]), msgspec.msgpack.encode(value)
    return head + packed._compute_checksum(head, body) + body


# JSON


@pytest.mark.guide_defect(35)
@BOTH
def test_a_users_dict_with_a_tags_key_keeps_its_other_fields(round_trip: RoundTrip) -> None:
    value = {"m": {"__decimal__": "5", "note": "keep"}, "n": {"$": ["decimal", "5"], "note": "keep"}}
    assert round_trip(value) == value


@pytest.mark.guide_defect(36)
def test_a_tag_that_holds_a_float_is_refused() -> None:
    assert by_json({"__decimal__": "0.1"}) == {"__decimal__": "0.1"}
    with pytest.raises(InvalidInput, match="is no decimal"):
        codec.loads('{"$":["decimal",0.1]}')


@pytest.mark.guide_defect(37)
@pytest.mark.parametrize(
    "content", ["null", "[]", '["decimal",null]', '["decimal"]', '["decimal","1","2"]', '["x","1"]']
)
def test_a_tag_without_sense_is_refused_in_words(content: str) -> None:
    with pytest.raises(InvalidInput, match="tag"):
        codec.loads(f'{{"$":{content}}}')


@pytest.mark.guide_defect(38)
@pytest.mark.parametrize("name", ["Infinity", "-Infinity", "NaN", "sNaN"])
def test_no_infinity_and_no_signaling_nan(name: str) -> None:
    for attempt in (codec.dumps, packed.pack):
        with pytest.raises(InvalidInput, match="finite"):
            attempt({"m": Decimal(name)})
    with pytest.raises(InvalidInput):
        codec.loads(f'{{"$":["decimal","{name}"]}}')


@pytest.mark.guide_defect(39)
@pytest.mark.parametrize(
    "value", [Decimal("1E+20000000"), Decimal("1E-20000000"), Decimal("0E-200"), 10**5000], ids=lambda _: "n"
)
def test_a_short_number_with_a_long_form_is_refused_before_it_is_written_out(value: Any) -> None:
    tracemalloc.start()
    try:
        for attempt in (codec.dumps, packed.pack):
            with pytest.raises(InvalidInput):
                attempt([value])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.guide_defect(39)
@pytest.mark.parametrize(
    "text", ["1E+20000000", '{"$":["decimal","1E+20000000"]}', "1" * 5000, "1e-150"], ids=lambda text: text[:30]
)
def test_stored_text_of_that_kind_is_refused_too(text: str) -> None:
    with pytest.raises(InvalidInput):
        codec.loads(text)


@pytest.mark.guide_defect(40)
@pytest.mark.parametrize("key", [Decimal("1.5"), 1, None, True, (1,), b"k"])
def test_a_key_that_is_not_text_is_refused_in_words(key: Any) -> None:
    for attempt in (codec.dumps, packed.pack):
        with pytest.raises(InvalidInput, match="key"):
            attempt({"outer": {key: 1}})


@pytest.mark.guide_defect(41)
def test_a_float_is_refused() -> None:
    for attempt in (codec.dumps, packed.pack):
        with pytest.raises(InvalidInput, match="float"):
            attempt({"m": 0.1 + 0.2})


@pytest.mark.guide_defect(42)
def test_what_is_written_is_json() -> None:
    with pytest.raises(InvalidInput):
        codec.dumps({"m": math.nan})
    with pytest.raises(InvalidInput, match="cannot be read"):
        codec.loads('{"m":NaN}')


@pytest.mark.guide_defect(42)
@settings(deadline=None)
@given(VALUES)
def test_any_json_reader_can_read_it(value: Any) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads(codec.dumps(value), parse_constant=refuse)


@pytest.mark.guide_defect(43)
@BOTH
def test_a_tuple_comes_back_as_a_tuple(round_trip: RoundTrip) -> None:
    value = {"odds": (1, 2, (Decimal("3.0"), [()]))}
    assert repr(round_trip(value)) == repr(value)


@pytest.mark.guide_defect(44)
@BOTH
def test_times_ids_and_amounts_come_back(round_trip: RoundTrip) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    value = {"at": moment, "cost": Money("2.50"), "first": datetime(1, 1, 1, tzinfo=UTC)}
    assert round_trip(value) == value
    assert round_trip(moment).utcoffset() == timedelta(0)


@pytest.mark.guide_defect(44)
def test_a_time_that_cannot_be_told_is_refused() -> None:
    east = timezone(timedelta(hours=5))
    for moment in (datetime(2026, 1, 2), datetime(1, 1, 1, tzinfo=east)):  # noqa: DTZ001 that is the case
        for attempt in (codec.dumps, packed.pack):
            with pytest.raises(InvalidInput, match="datetime"):
                attempt(moment)
    with pytest.raises(InvalidInput, match="datetime"):
        codec.loads('{"$":["datetime","2026-01-02T00:00:00"]}')


# MessagePack


@pytest.mark.guide_defect(45)
@pytest.mark.parametrize("number", [WEI, -WEI, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**256 - 1])
def test_wei_beyond_64_bits(number: int) -> None:
    assert by_bytes({"wei": number}) == {"wei": number}
    assert by_json({"wei": number}) == {"wei": number}


@pytest.mark.guide_defect(46)
def test_what_packs_unpacks() -> None:
    with pytest.raises(InvalidInput, match="key"):
        packed.pack({1: "x"})


@pytest.mark.guide_defect(46)
@settings(deadline=None)
@given(VALUES)
def test_whatever_packs_comes_back(value: Any) -> None:
    assert by_bytes(value) == value
    assert packed.pack(by_bytes(value)) == packed.pack(value)


@pytest.mark.guide_defect(47)
def test_a_packed_tuple_is_no_list() -> None:
    assert by_bytes([(1, 2), [1, 2]]) == [(1, 2), [1, 2]]


@pytest.mark.guide_defect(48)
@pytest.mark.parametrize("number", [0.5, math.nan, math.inf])
def test_no_float_is_packed(number: float) -> None:
    with pytest.raises(InvalidInput, match="float"):
        packed.pack({"m": [number]})


@pytest.mark.guide_defect(49)
def test_times_are_packed() -> None:
    moments = [datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), datetime(1969, 1, 1, 0, 0, 0, 1, tzinfo=UTC)]
    assert by_bytes(moments) == moments


@pytest.mark.guide_defect(50)
@pytest.mark.parametrize("code", [0, 6, 99, -2])
def test_an_unknown_extension_is_refused(code: int) -> None:
    with pytest.raises(InvalidInput, match="extension"):
        packed.unpack(sealed({"m": msgspec.msgpack.Ext(code, b"1")}))


@pytest.mark.guide_defect(50)
@pytest.mark.parametrize(
    ("code", "content"), [(1, b"NaN"), (1, b"1e9"), (2, b"short"), (3, b"1"), (3, b"1 XYZ"), (4, b"x")]
)
def test_an_extension_with_nonsense_is_refused(code: int, content: bytes) -> None:
    with pytest.raises(InvalidInput):
        packed.unpack(sealed({"m": msgspec.msgpack.Ext(code, content)}))


@pytest.mark.guide_defect(51)
@settings(deadline=None)
@given(VALUES, st.data())
def test_every_flipped_bit_is_noticed(value: Any, data: st.DataObject) -> None:
    good = packed.pack(value)
    bit = data.draw(st.integers(0, len(good) * 8 - 1))
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidInput):
        packed.unpack(bytes(bad))


@pytest.mark.guide_defect(51)
def test_all_bits_and_all_cuts_of_one_amount() -> None:
    good = packed.pack({"amount": Decimal("100.00")})
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidInput):
            packed.unpack(bytes(bad))
    for length in range(len(good)):
        with pytest.raises(InvalidInput):
            packed.unpack(good[:length])
    with pytest.raises(InvalidInput):
        packed.unpack(good + b"\x00")


@pytest.mark.guide_defect(51)
def test_another_version_is_refused() -> None:
    with pytest.raises(InvalidInput, match="version 1"):
        packed.unpack(b"\x02" + packed.pack({})[1:])


@pytest.mark.guide_defect(52)
def test_the_size_is_measured_not_claimed() -> None:
    """Against our own JSON; compressed, the two are about equal, so size is no reason to choose."""
    bets = [
        {"id": number, "stake": Decimal(f"{number}.50"), "at": datetime(2026, 1, 1, tzinfo=UTC), "game": "roulette"}
        for number in range(100)
    ]
    by_text, by_pack = len(codec.dumps(bets).encode()), len(packed.pack(bets))
    assert 0.3 < by_pack / by_text < 0.5


# Both


@pytest.mark.parametrize("attempt", [codec.dumps, packed.pack, codec.deep_copy])
def test_a_value_that_contains_itself_is_refused(attempt: Callable[[Any], Any]) -> None:
    circle: list[Any] = []
    circle.append({"me": circle})
    with pytest.raises(InvalidInput, match="itself"):
        attempt(circle)


@pytest.mark.parametrize("text", ["", "{", '{"a":1', "[1,]", b"\xff", "[" * 100_000], ids=lambda text: ascii(text)[:9])
def test_text_that_is_no_json_is_refused_in_words(text: str | bytes) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        codec.loads(text)


@settings(deadline=None)
@given(VALUES)
def test_a_copy_is_equal_and_shares_nothing(value: Any) -> None:
    before = codec.dumps(value)
    copy = codec.deep_copy(value)
    assert copy == value
    if isinstance(copy, dict | list):
        copy.clear()
        assert codec.dumps(value) == before


def test_a_large_state_is_coded_in_well_under_a_second() -> None:
    state = {"rows": [{"id": n, "amount": Decimal(n) / 100, "note": "x" * 20} for n in range(10_000)]}
    begin = time.process_time()
    assert by_json(state) == state
    assert by_bytes(state) == state
    assert time.process_time() - begin < 5
