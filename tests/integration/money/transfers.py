"""Processes that each post twice in one transaction, in opposite orders: `transfers.py DATABASE_URL AGENT COUNT EACH`.

A program of its own: forked from the test run, they would inherit its connections and the locks of its threads. Prints
the names of the errors that were raised.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from typing import Any

from agentstate.money import Money, TransactionLedger, spend
from agentstate.store.store import Store

SERVICES = ("casino", "trading", "wallet")


def post_twice(url: str, agent_id: str, number: int, each: int, *, start: Any, raised: Any) -> None:
    """Post to two accounts in a transaction, `each` times; every other process in the opposite order."""
    store = Store.open(url, pool_size=1)
    ledger, errors = TransactionLedger(store, agent_id), []
    start.wait(60)
    for turn in range(each):
        services = [SERVICES[(number + turn) % 3], SERVICES[(number + turn + 1) % 3]]
        if number % 2:
            services.reverse()
        try:
            with store.transaction() as tx:
                for step, service in enumerate(services):
                    ledger.post(f"{number}:{turn}:{step}", spend(service, Money("0.01")), tx=tx)
            ledger.withdraw(f"{number}:{turn}:alone", services[0], "0.01")
        except Exception as error:  # noqa: BLE001 each is reported
            errors.append(f"{type(error).__name__}: {error}")
    raised.put(errors)
    store.close()


def main(url: str, agent_id: str, count: str, each: str) -> None:
    """Start the processes together, and print their errors as a list."""
    fork = multiprocessing.get_context("fork")
    start, raised = fork.Event(), fork.SimpleQueue()
    together = {"start": start, "raised": raised}
    started = [
        fork.Process(target=post_twice, args=(url, agent_id, number, int(each)), kwargs=together, daemon=True)
        for number in range(int(count))
    ]
    for process in started:
        process.start()
    start.set()
    errors = [error for _ in started for error in raised.get()]
    for process in started:
        process.join()
    print(json.dumps(errors))


if __name__ == "__main__":
    main(*sys.argv[1:])
