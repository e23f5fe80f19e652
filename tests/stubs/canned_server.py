"""A service on loopback that gives one and the same answer to everything, whatever that is."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler

from deploy.local.stack.loopback import LoopbackHandler, LoopbackServer


class CannedServer(LoopbackServer):
    """The stub; set `status` and `content` at any time."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.status, self.content = 200, b"{}"
        self.asked: list[tuple[str, str, bytes]] = []
        """Method, path and body of each request."""


class _Handler(LoopbackHandler, BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.stub.asked.append((self.command, self.path, self.read_content()))
        # Taken together: who has read an empty answer may set the next one before this one is written to its end.
        status, content = self.stub.status, self.stub.content
        self.send_answer(status, content)
