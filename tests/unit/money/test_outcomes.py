"""Stored results: the first call and every replay give equal values, whatever was returned."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from agentstate.money.effects.outcomes import make_envelope
from agentstate.state import codec
from agentstate.state.codec import to_plain


@dataclass
class Receipt:
    bet_id: str
    odds: tuple[int, int]


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("result", "stored"),
    [
        (None, None), ({}, {}), (0, 0), ("", ""), ([], []), (False, False),
        ({"odds": (1, 2), 3: "x"}, {"odds": [1, 2], "3": "x"}),
        (0.1, Decimal("0.1")), (float("inf"), "inf"), (Decimal("1.50"), Decimal("1.50")),
        (datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
        (Receipt("b", (1, 2)), {"bet_id": "b", "odds": [1, 2]}),
        ("a\x00b", "a\ufffdb"), ("\ud800", "?"), ({"$": 1}, {"$": 1}),
        (Rude(), {"repr": "<Rude>"}),
    ],
)  # fmt: skip
def test_a_result_is_stored_as_it_is_replayed(result: Any, stored: Any) -> None:
    assert to_plain(result) == stored
    assert codec.loads(codec.dumps(make_envelope(None, result)))["value"] == to_plain(result)


def test_a_result_that_contains_itself_is_kept_as_its_description() -> None:
    knot: list[Any] = []
    knot.append(knot)
    assert "repr" in codec.dumps(make_envelope(None, knot))
