"""One process of the fleet: some agents, each in a thread, until a file says that it is over.

    python -m deploy.local.demo.agent_process --agents ag_1,ag_2 --peers ag_1,ag_2,ag_3 --end FILE --book FILE

Started again with the same arguments, it goes on with the same keys.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from agentstate.agent import Agent, default_fleet
from agentstate.jobs.broker import make_app
from agentstate.jobs.wake_ups import lane_queue
from deploy.local.demo.fleet import FleetAgent, Part
from deploy.local.demo.receipts import ReceiptBook

PAUSE_S = (0.2, 0.7)
"""Between two steps of an agent, as if it thought."""
ASK_EVERY_S = 0.7
SETTLE_WITHIN_S = 75.0
"""How long an agent goes on asking for what is in doubt, before its first step and after its last."""
SUBMIT_TASK = "agentstate.jobs.submit"


class AgentProcess:
    """The agents of one process."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._book = ReceiptBook(options.book)
        self.failed = threading.Event()

    def run(self) -> int:
        """Run all agents to the end; 1 when one failed or has something unsettled."""
        runtime = default_fleet().runtime
        peers = self._options.peers.split(",")
        part = Part(seed=self._options.seed, peers=peers, book=self._book)
        threads = []
        for name in self._options.agents.split(","):
            actor = FleetAgent(default_fleet().agent(name), part)
            threads.append(threading.Thread(target=self._guarded(lambda a=actor: self._live(a)), name=name))  # type: ignore[misc]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._book.close()
        runtime.close()
        return 1 if self.failed.is_set() else 0

    def _guarded(self, act: Callable[[], None]) -> Callable[[], None]:
        def guarded() -> None:
            try:
                act()
            except Exception:  # noqa: BLE001 shown, and the exit code tells
                traceback.print_exc()
                self.failed.set()

        return guarded

    def _live(self, actor: FleetAgent) -> None:
        actor.settle_in()
        self._until_settled(actor)
        self._submit_by_broker(actor.agent)
        number = 0
        while not self._options.end.exists():
            actor.step(number)
            number += 1
            time.sleep(random.uniform(*PAUSE_S))  # noqa: S311 only a pause
        actor.tend_escrows()
        self._until_settled(actor)
        self._submit_by_broker(actor.agent)
        if actor.unsettled:
            sys.stderr.write(f"{actor.agent.id}: {actor.unsettled} calls are not settled\n")
            self.failed.set()

    def _until_settled(self, actor: FleetAgent) -> None:
        deadline = time.monotonic() + SETTLE_WITHIN_S
        while actor.unsettled and time.monotonic() < deadline:
            time.sleep(ASK_EVERY_S)
            actor.ask_again()

    def _submit_by_broker(self, agent: Agent) -> None:
        """Submit a job the way of an agent that has nothing but a Celery client; again until its row is there.

        A message is only acknowledged by its row: a broker that loses it loses a request, not a fact.
        """
        app = make_app(agent.fleet.runtime.settings)
        key = f"broker:{agent.id}"
        words = {"key": key, "kind": "cache.refresh", "payload": {"service": "trading"}, "agent_id": agent.id}
        app.send_task(SUBMIT_TASK, kwargs=words, queue=lane_queue("housekeeping", 0), ignore_result=True)
        app.close()
        self._book.note(agent.id, "submission", key)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.demo.agent_process", description=__doc__)
    parser.add_argument("--agents", required=True, help="agents of this process, separated by commas")
    parser.add_argument("--peers", required=True, help="all agents of the fleet")
    parser.add_argument("--end", type=Path, required=True, help="no new step is begun once this file is there")
    parser.add_argument("--seed", type=int, default=7, help="decides what every agent does")
    parser.add_argument("--book", type=Path, required=True, help="file in which acknowledgements are noted")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(AgentProcess(_options()).run())
