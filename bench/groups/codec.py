"""The exact codec against the guide's encoder and the standard library's JSON, which are both lossy.

Every document is one that the other side can carry too: times are text, amounts Decimals where the guide's hook is
compared, and text where the plain standard library is.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any

from agentstate.state import codec, packed
from bench import baseline
from bench.stack import BenchStack
from bench.timing import compare_calls
from deploy.local.stack.results import Row, at_most

GUIDE = "the guide's encoder: json with a hook for Decimal"
PLAIN = "json of the standard library"
TRANSACTIONS = (4, 100, 1_000)


def measure_rows(bench: BenchStack) -> Iterator[Row]:
    """The time of a round trip of an agent's state in both formats, of plain JSON, and the sizes."""
    for count in TRANSACTIONS:
        document = make_state(count)
        for name, ours in (
            ("JSON", _round_trip_json),
            ("MessagePack", lambda value: packed.unpack(packed.pack(value))),
        ):
            calls = max(400 // count, 3)
            ratio = _measure_ratio(bench, partial(ours, document), partial(_round_trip_guide, document), calls)
            yield at_most(f"codec: {name}, a state of {count:,} transactions", ratio, 1.0, "x", GUIDE)
    plain = {
        f"key_{number}": {"name": "coin-flip", "round": number, "won": number % 2 == 0, "tags": ["a", "b", None]}
        for number in range(200)
    }
    ratio = _measure_ratio(bench, lambda: _round_trip_json(plain), lambda: json.loads(json.dumps(plain)), 3)
    yield Row("codec: JSON, 200 plain records", ratio, "x", reference=PLAIN)

    document = make_state(1_000)
    by_guide = baseline.dump_json(document).encode()
    for name, body in (("JSON", codec.dumps(document).encode()), ("MessagePack", packed.pack(document))):
        yield Row(f"codec: size of {name}", round(len(body) / len(by_guide), 2), "x", reference=GUIDE)
        squeezed = len(zlib.compress(body)) / len(zlib.compress(by_guide))
        yield Row(f"codec: size of {name}, compressed", round(squeezed, 2), "x", reference=GUIDE)


def make_state(count: int) -> dict[str, Any]:
    """An agent's state with as many transactions, all amounts different."""
    return {
        "agent_id": "ag_bench",
        "schema_version": 3,
        "portfolio": {"usdc": Decimal("1234.560000"), "eth": Decimal("0.123456789012345678")},
        "preferences": {"stakes": "flat", "max_bet": Decimal("5.00")},
        "transactions": [
            {
                "id": f"tx_{number:08}",
                "type": "bet",
                "service": "casino",
                "game": "coin-flip",
                "amount_usdc": Decimal(number + 1) / 100,
                "won": number % 2 == 0,
                "round": number,
                "at": f"2026-01-02T03:{number // 60 % 60:02}:{number % 60:02}.678901+00:00",
            }
            for number in range(count)
        ],
    }


def _measure_ratio(bench: BenchStack, ours: Callable[[], object], other: Callable[[], object], calls: int) -> float:
    return round(compare_calls(ours, other, rounds=bench.choose_size(40, 3), calls=calls).ratio, 2)


def _round_trip_json(document: Any) -> Any:
    return codec.loads(codec.dumps(document))


def _round_trip_guide(document: Any) -> Any:
    return baseline.load_json(baseline.dump_json(document))
