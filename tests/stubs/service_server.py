"""A service on loopback whose answers a test can hold back, so that a job is in the middle of its work for as long as
the test needs it to be, and which tells in what order it was asked.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import parse_qs, urlsplit

LONGEST_HOLD_S = 60.0


class Gate:
    """What holds an agent's answers back."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.arrivals = threading.Semaphore(0)

    def wait_arrived(self, timeout_s: float = 60.0) -> None:
        """Return once another request stands at the gate."""
        assert self.arrivals.acquire(timeout=timeout_s), f"nobody asked the service within {timeout_s:g} s"


class ServiceServer:
    """The stub, as a context manager; every agent has an empty account at the casino."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        """The agents in the order in which they were asked for."""
        self.bodies: dict[str, str] = {}
        """Answers by agent, as JSON text, where they are not an empty account."""
        self._gates: dict[str, Gate] = {}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.stub = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/api/v1"

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

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for gate in self._gates.values():
            gate.opened.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stub: ServiceServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked_for = parse_qs(urlsplit(self.path).query)["agent_id"][0]
        body = cast("_Server", self.server).stub.answer(asked_for).encode()
        # Who asked may have been killed meanwhile.
        with suppress(OSError):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
