"""Agents that remember while everything around them dies, and note what was acknowledged."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from itertools import islice
from uuid import UUID

from agentstate.errors import AgentStateError
from agentstate.memory.facts.records import NewMemory
from agentstate.runtime import Runtime

AGENTS = 10
THREADS = 4
MOST_AT_ONCE = 20
PAUSE_S = 0.05


class Remembering:
    """Remembers `count` memories, each again until it is acknowledged."""

    def __init__(self, runtime: Runtime, count: int, seed: int) -> None:
        self._runtime = runtime
        self._numbers = iter(range(count))
        self._draw = random.Random(seed)
        self._lock = threading.Lock()
        self.acknowledged: dict[UUID, NewMemory] = {}
        self.troubles = 0
        """Calls that failed and were made again."""
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(THREADS)]

    def start(self) -> None:
        """Begin, in threads of its own."""
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> bool:
        """Whether all is acknowledged."""
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        for batch in self._batches():
            while not self._remember(batch):
                threading.Event().wait(PAUSE_S)

    def _remember(self, batch: list[NewMemory]) -> bool:
        try:
            receipts = self._runtime.memory.remember_many(batch)
        except AgentStateError:
            with self._lock:
                self.troubles += 1
            return False
        with self._lock:
            self.acknowledged |= {receipt.id: item for receipt, item in zip(receipts, batch, strict=True)}
        return True

    def _batches(self) -> Iterator[list[NewMemory]]:
        while True:
            with self._lock:
                size = self._draw.choice((1, 1, 1, MOST_AT_ONCE))
                numbers = list(islice(self._numbers, size))
            if not numbers:
                return
            yield [self._memory(number) for number in numbers]

    def _memory(self, number: int) -> NewMemory:
        return NewMemory(agent_id=f"chaos-{number % AGENTS}", content=f"token{number:06} was seen in the fire")
