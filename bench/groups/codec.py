"""The exact codec against the standard library's JSON, which loses what ours keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from agentstate.state import codec
from bench.ground import Ground
from bench.timing import compare
from deploy.local.results import Row

# Plain JSON types alone: the one kind of document that both sides can carry.
DOCUMENT: dict[str, Any] = {
    f"key_{number}": {"name": "coin-flip", "round": number, "won": number % 2 == 0, "tags": ["a", "b", None]}
    for number in range(200)
}


def rows(ground: Ground) -> Iterator[Row]:
    """The time of a round trip of one document of 200 records."""
    found = compare(
        lambda: codec.loads(codec.dumps(DOCUMENT)),
        lambda: json.loads(json.dumps(DOCUMENT)),
        rounds=ground.size(30, 3),
    )
    yield Row("codec: round trip", round(found.ratio, 2), "x", reference="json of the standard library")
