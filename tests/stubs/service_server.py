"""A service on loopback whose answers a test can hold back, so that a job is in the middle of its work for as long as
the test needs it to be, and which tells in what order it was asked.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from deploy.local.stack.loopback import LoopbackHandler, LoopbackServer

LONGEST_HOLD_S = 60.0


class Gate:
    """What holds an agent's answers back."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.arrivals = threading.Semaphore(0)

    def wait_arrived(self, timeout_s: float = 60.0) -> None:
        """Return once another request stands at the gate."""
        assert self.arrivals.acquire(timeout=timeout_s), f"nobody asked the service within {timeout_s:g} s"


class ServiceServer(LoopbackServer):
    """The stub; every agent has an empty account at the casino."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.asked: list[str] = []
        """The agents in the order in which they were asked for."""
        self.bodies: dict[str, str] = {}
        """Answers by agent, as JSON text, where they are not an empty account."""
        self._gates: dict[str, Gate] = {}

    @property
    def url(self) -> str:
        return f"{super().url}/api/v1"

    def hold(self, agent_id: str) -> Gate:
        """Hold back the answers about `agent_id` until the gate is opened."""
        gate = self._gates[agent_id] = Gate()
        return gate

    def answer(self, agent_id: str) -> str:
        self.asked.append(agent_id)
        gate = self._gates.get(agent_id)
        if gate is not None:
            gate.arrivals.release()
            gate.opened.wait(LONGEST_HOLD_S)
        return self.bodies.get(agent_id) or json.dumps({"agent_id": agent_id, "balance_usd": 0})

    def release_waiting(self) -> None:
        for gate in self._gates.values():
            gate.opened.set()


class _Handler(LoopbackHandler, BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked_for = parse_qs(urlsplit(self.path).query)["agent_id"][0]
        self.send_answer(200, self.stub.answer(asked_for).encode())
