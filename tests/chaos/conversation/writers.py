"""Four writers a conversation: plain turns with figures of their own, and calls of tools with their results."""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from agentstate.errors import Unavailable
from agentstate.memory.conversation import ConversationHistory
from agentstate.runtime import Runtime

WRITERS = 4
_AT_ONCE = 8


def conversation(runtime: Runtime, number: int) -> ConversationHistory:
    return ConversationHistory(runtime.store, runtime.jobs, runtime.settings, f"ag_{number % 10}", f"s{number}")


class Writing:
    """All writers of all conversations; every turn has an id of its own, and is added until that is acknowledged."""

    def __init__(self, runtime: Runtime, conversations: int, turns: int, seed: int) -> None:
        self._runtime, self._turns, self._seed = runtime, turns, seed
        self._lock = threading.Lock()
        self.acknowledged: dict[int, int] = dict.fromkeys(range(conversations), 0)
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        # Round by round, so that all four write to a conversation in the same stretch of time.
        self._futures: list[Future[None]] = [
            self._pool.submit(self._write, number, writer, turn)
            for turn in range(turns)
            for number in range(conversations)
            for writer in range(WRITERS)
        ]

    @property
    def done(self) -> bool:
        return all(future.done() for future in self._futures)

    def finish(self) -> None:
        for future in self._futures:
            future.result()
        self._pool.shutdown()

    def _write(self, number: int, writer: int, turn: int) -> None:
        history = conversation(self._runtime, number)
        draw = random.Random(f"{self._seed}:{number}:{writer}:{turn}")
        name = f"{writer}-{turn}"
        if draw.random() < 0.25:
            block = {
                "type": "tool_use",
                "id": f"c{name}",
                "name": "bet",
                "input": {"amount": f"{draw.randint(1, 99)}.50"},
            }
            self._add(history, number, {"role": "assistant", "content": [block]}, f"{name}-call")
            result = {
                "role": "tool",
                "tool_call_id": f"c{name}",
                "content": f"bet b_{draw.getrandbits(32):08x} is placed",
            }
            self._add(history, number, result, f"{name}-result")
        else:
            text = (
                f"I'll send {draw.randint(1, 9_999)}.{draw.randint(10, 99)} USDC to 0x{draw.getrandbits(80):020x} soon."
            )
            role = draw.choice(("user", "assistant"))
            self._add(history, number, {"role": role, "content": f"{text} Nothing else is new here today."}, name)

    def _add(self, history: ConversationHistory, number: int, message: dict[str, object], source_id: str) -> None:
        while True:
            try:
                history.add(message, source_id=source_id)
            except Unavailable:
                continue
            with self._lock:
                self.acknowledged[number] += 1
            return
