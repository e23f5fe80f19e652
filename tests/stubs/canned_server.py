"""A service on loopback that gives one and the same answer to everything, whatever that is."""

from __future__ import annotations

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast


class CannedServer:
    """The stub, as a context manager; set `status` and `content` at any time."""

    def __init__(self) -> None:
        self.status, self.content = 200, b"{}"
        self.asked: list[tuple[str, str, bytes]] = []
        """Method, path and body of each request."""
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.stub = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stub: CannedServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        stub = cast("_Server", self.server).stub
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        stub.asked.append((self.command, self.path, body))
        # Taken together: who has read an empty answer may set the next one before this one is written to its end.
        status, content = stub.status, stub.content
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
