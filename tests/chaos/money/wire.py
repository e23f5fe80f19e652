"""The way to the outside: one request over a real socket, each step of which is a point."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlencode

from agentstate.errors import ServiceInDoubt, ServiceUnreachable

Step = Callable[[str], None]

TIMEOUT_S = 2.0
"""Below every deadline of the runs: a call keeps its deadline by its own timeouts."""
_SERVER_FAULT = 500


def _no_step(_name: str) -> None:
    """Nothing watches."""


class Wire:
    """A client of the remote.

    Args:
        port: where it listens.
        keyed: whether to use it as one that honours keys.
        fault: what is to go wrong with the next bet; see `remote.Remote`.
        step: is told each step of a bet.
    """

    def __init__(self, port: int, *, keyed: bool = False, fault: str = "", step: Step = _no_step) -> None:
        self._port, self._keyed, self.fault, self.step = port, keyed, fault, step

    def bet(self, agent: str, tag: str) -> dict[str, Any]:
        """Bet once.

        Raises:
            ServiceUnreachable: not sent. ServiceInDoubt: sent, and no answer that tells anything.
        """
        fault, self.fault = self.fault, ""
        headers = {"Idempotency-Key": tag, "Fault": f"{fault}:{os.getpid()}"} if fault else {"Idempotency-Key": tag}
        path = "/keyed/bets" if self._keyed else "/plain/bets"
        try:
            status, content = self._exchange("POST", path, json.dumps({"agent": agent}).encode(), headers)
            if status >= _SERVER_FAULT:
                raise ServiceInDoubt(f"the bet was answered {status}.")
            answer = json.loads(content)
        except ConnectionRefusedError as error:
            raise ServiceUnreachable("the remote does not listen.") from error
        except (OSError, HTTPException, ValueError) as error:
            raise ServiceInDoubt(f"the bet has no answer ({type(error).__name__}).") from error
        if not isinstance(answer, dict):
            raise ServiceInDoubt("the bet has an answer that tells nothing.")
        return answer

    def bets(self, agent: str, tag: str) -> list[dict[str, Any]]:
        """The bets under a tag."""
        found: list[dict[str, Any]] = self._get(f"/bets?{urlencode({'agent': agent, 'tag': tag})}")
        return found

    def truth(self) -> dict[str, Any]:
        """All bets, and how many requests were made, by agent."""
        found: dict[str, Any] = self._get("/truth")
        return found

    def _get(self, path: str) -> Any:
        return json.loads(self._exchange("GET", path, None, {})[1])

    def _exchange(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = _Watched(self._port, lambda name: self.step(f"{name} {method}"))
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
            self.step(f"after reading {method}")
            return response.status, content
        finally:
            connection.close()


class _Watched(HTTPConnection):
    """A connection that tells each of its steps."""

    def __init__(self, port: int, step: Step) -> None:
        super().__init__("127.0.0.1", port, timeout=TIMEOUT_S)
        self._step = step

    def connect(self) -> None:
        """Connect."""
        self._step("before connecting")
        super().connect()
        self._step("after connecting")

    def send(self, data: Any) -> None:
        """Send."""
        self._step("before sending")
        super().send(data)
        self._step("after sending")

    def getresponse(self) -> HTTPResponse:
        """Receive."""
        self._step("before receiving")
        response = super().getresponse()
        self._step("after receiving")
        return response
