"""The provider of a run: it fails three times in ten, and of the other times it sometimes invents, refuses or stops."""

from __future__ import annotations

import random
import threading
from collections import Counter

from tests.stubs.provider_server import Fault

FAILS = 0.30
_FAILURES = (
    Fault("status", 500),
    Fault("status", 529, code="overloaded_error"),
    Fault("status", 429, {"retry-after": "1"}),
    Fault("status", 429),
    Fault("drop"),
    Fault("reset"),
)
_ODD = (("hallucinate", 0.15), ("refusal", 0.03), ("truncated", 0.05), ("thinking_first", 0.20))


class Moods:
    """Chooses what goes wrong with each request, and counts it."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._lock = threading.Lock()
        self.seen: Counter[str] = Counter()

    def choose(self) -> Fault:
        with self._lock:
            fault = self._chosen()
            self.seen[fault.kind if fault.kind != "status" else str(fault.status)] += 1
            return fault

    @property
    def requests(self) -> int:
        return self.seen.total()

    @property
    def failed(self) -> int:
        return sum(self.seen[name] for name in ("500", "529", "429", "drop", "reset"))

    def _chosen(self) -> Fault:
        if self._draw.random() < FAILS:
            return self._draw.choice(_FAILURES)
        fate = self._draw.random()
        for kind, share in _ODD:
            if fate < share:
                return Fault(kind)  # type: ignore[arg-type]
            fate -= share
        return Fault("none")
