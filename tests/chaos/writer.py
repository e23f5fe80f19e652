"""A process that writes without a pause and notes what was acknowledged: `writer.py AGENT FILE`.

Each kind of write has a thread of its own, so that a part that is away holds up only what needs it. A write that was
not acknowledged is tried again under the same name, as an agent does, until it is. A line in FILE is an acknowledgement
that this process was given. The end of standard input ends it, once nothing is left open.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from agentstate import Agent, AgentStateError, Money
from agentstate.errors import EffectFailed
from agentstate.services.operations import casino

PAUSE_S = 0.02
STAKE, GIFT = Decimal("0.05"), Money("0.25")
LAST_TRIES_S = 120.0
"""How long what is open at the end is tried."""


class Journal:
    """The acknowledgements, each on disk before the next write begins."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._guard = threading.Lock()

    def note(self, kind: str, name: str, told: Any) -> None:
        with self._guard:
            self._file.write(json.dumps({"kind": kind, "name": name, "told": told}) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())


class Writer:
    """One kind of write, again and again."""

    def __init__(self, kind: str, write: Callable[[str], Any], journal: Journal, stop: threading.Event) -> None:
        self._kind, self._write, self._journal, self._stop = kind, write, journal, stop
        self.open: list[str] = []
        """Names that were not acknowledged yet."""
        self.troubles: set[str] = set()

    def run(self) -> None:
        number = 0
        while not self._stop.wait(PAUSE_S):
            number += 1
            self._attempt(f"{self._kind}-{number}")
            if self.open:
                self._attempt(self.open.pop(0))
        deadline = time.monotonic() + LAST_TRIES_S
        while self.open and time.monotonic() < deadline:
            self._attempt(self.open.pop(0))
            time.sleep(10 * PAUSE_S)

    def _attempt(self, name: str) -> None:
        try:
            told = self._write(name)
        except EffectFailed as error:
            # Certain, and for good: whoever wants the effect names another one.
            self.troubles.add(type(error).__name__)
        except AgentStateError as error:
            self.troubles.add(type(error).__name__)
            self.open.append(name)
        else:
            self._journal.note(self._kind, name, told)


def writes(agent: Agent) -> dict[str, Callable[[str], Any]]:
    """What is written, by kind; each takes a name under which it may be repeated."""
    conversation = agent.conversation("chaos")

    def remember(name: str) -> str:
        return str(agent.memory.remember(f"What I learnt as {name}: keep stakes flat").id)

    def say(name: str) -> int:
        return conversation.add("user", f"This is {name}", source_id=name)

    def give(name: str) -> str:
        return str(agent.ledger.deposit(name, "treasury", GIFT).id)

    def bet(name: str) -> str:
        return agent.effects.execute_once(name, casino.bet(amount=STAKE, side="heads")).reference

    def refresh(name: str) -> str:
        return str(agent.jobs.submit("cache.refresh", {"service": "casino"}, dedupe_key=name))

    return {"memory": remember, "turn": say, "deposit": give, "bet": bet, "job": refresh}


def main(agent_id: str, path: str) -> None:
    """Write until standard input ends; print what stayed open and the troubles that were met, by kind."""
    journal, stop = Journal(Path(path)), threading.Event()
    writers = {kind: Writer(kind, write, journal, stop) for kind, write in writes(Agent(agent_id)).items()}
    threads = [threading.Thread(target=writer.run) for writer in writers.values()]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    told = {kind: {"open": writer.open, "troubles": sorted(writer.troubles)} for kind, writer in writers.items()}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
