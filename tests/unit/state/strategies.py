"""Values as state may hold them, for property tests."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from hypothesis import strategies as st

from agentstate.money.amounts import MAX_MINOR, Money

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
KEYS = TEXT | st.sampled_from(["$", "__decimal__", "__type__", "dict", "decimal"])
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=18)
MONEY = st.builds(Money.from_minor, st.integers(-MAX_MINOR, MAX_MINOR), st.sampled_from(["USDC", "BTC", "USD"]))
BIG = st.integers(-(2**300), 2**300)
LEAVES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | BIG | TEXT | st.binary() | st.uuids() | DECIMALS | MONEY
    | st.datetimes(timezones=st.just(UTC))
)  # fmt: skip
# Shaped as our tags are: what a user may have by chance.
LOOKALIKES = st.sampled_from(
    [
        {"$": ["decimal", "abc"]},
        {"$": ["dict", {"$": ["decimal", "1"]}]},
        {"$": []},
        {"$": None},
        {"__decimal__": "abc"},
        {"$": {"$": {"$": 1}}},
        ["decimal", "1"],
    ]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES | LOOKALIKES,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)
