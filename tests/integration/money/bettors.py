"""Many processes that each make one bet at once: `bettors.py DATABASE_URL AGENT COUNT`. Prints what each was told.

A program of its own: forked from the test run, they would inherit its connections and the locks of its threads.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from typing import Any

from agentstate.errors import LimitExceeded
from agentstate.money import AgentEffects, Effects, Guarantee, Money, call
from agentstate.store.store import Store


def bet(url: str, agent_id: str, number: int, start: Any, told: Any) -> None:
    """Wait for the start, bet five dollars, and tell how it went."""
    store = Store.open(url, pool_size=1)
    try:
        start.wait(60)
        AgentEffects(Effects(store), agent_id).execute_once(
            f"bet:{number}",
            call(
                lambda _key: {"ok": True},
                service="casino",
                name="casino.bet",
                guarantee=Guarantee.KEYED,
                hold=Money("5"),
            ),
        )
        told.put("bet")
    except LimitExceeded:
        told.put("refused")
    finally:
        store.close()


def main(url: str, agent_id: str, count: str) -> None:
    """Start them, let them go, and print a list."""
    fork = multiprocessing.get_context("fork")
    start, told = fork.Event(), fork.SimpleQueue()
    started = [
        fork.Process(target=bet, args=(url, agent_id, number, start, told), daemon=True) for number in range(int(count))
    ]
    for process in started:
        process.start()
    start.set()
    outcomes = [told.get() for _ in started]
    for process in started:
        process.join()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
