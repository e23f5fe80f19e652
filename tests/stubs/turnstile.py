"""A turnstile before Qdrant: it lets requests through, counts the points that they write, and can kill its client with
`kill -9` at a chosen one, before the server has it or after the server has done it and before the client knows.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler

from deploy.local.stack.loopback import LoopbackHandler, LoopbackServer

_UPSERT = re.compile(r"/collections/([^/]+)/points(\?|$)")


class Turnstile(LoopbackServer):
    """The stub.

    Args:
        port: Qdrant's, on this machine.
    """

    def __init__(self, port: int) -> None:
        super().__init__(_Handler)
        self.target = port
        self.client: Future[int] = Future()
        """Process id of the client that is to be killed, once it is known."""
        self.deadly: tuple[str, str, int, bool] | None = None
        """Method, how the path is to begin, which such request, and whether the server is to have it before."""
        self.written: list[tuple[str, int]] = []
        """Collection and number of points of each request that writes some."""

    def kills(self, method: str, path: str, *, done: bool) -> bool:
        """Kill the client if this is where it is to die."""
        if self.deadly is None:
            return False
        wanted, begins, count, when = self.deadly
        if (wanted, when) != (method, done) or not re.match(begins, path):
            return False
        self.deadly = (wanted, begins, count - 1, when) if count > 1 else None
        if count == 1:
            os.kill(self.client.result(60), signal.SIGKILL)
        return count == 1


class _Handler(LoopbackHandler, BaseHTTPRequestHandler):
    def _pass(self) -> None:
        stub, body = self.stub, self.read_content()
        if stub.kills(self.command, self.path, done=False):
            self.close_connection = True
            return
        server = http.client.HTTPConnection("127.0.0.1", stub.target, timeout=60)
        try:
            server.request(self.command, self.path, body or None, dict(self.headers))
            answer = server.getresponse()
            content = answer.read()
        finally:
            server.close()
        if self.command == "PUT" and (found := _UPSERT.match(self.path)):
            stub.written.append((found[1], len(json.loads(body)["points"])))
        if stub.kills(self.command, self.path, done=True):
            self.close_connection = True
            return
        self.send_answer(answer.status, content)

    def do_GET(self) -> None:
        self._pass()

    def do_POST(self) -> None:
        self._pass()

    def do_PUT(self) -> None:
        self._pass()

    def do_DELETE(self) -> None:
        self._pass()
