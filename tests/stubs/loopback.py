"""A stub that listens on loopback: the life of its server, and how its handler answers."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast


class Server(ThreadingHTTPServer):
    """Serves for a stub, which its handlers reach."""

    daemon_threads = True
    stub: Any


class Loopback:
    """A stub as a context manager; it serves while it is entered."""

    def __init__(self, handler: type[BaseHTTPRequestHandler], server: type[Server] = Server) -> None:
        self._server = server(("127.0.0.1", 0), handler)
        self._server.stub = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def release(self) -> None:
        """Let go whoever is held back; the stub is about to stop."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    """One connection to a stub, kept open."""

    protocol_version = "HTTP/1.1"

    @property
    def stub(self) -> Any:
        return cast("Server", self.server).stub

    def send(self, status: int, content: bytes) -> None:
        """One whole answer, as JSON."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
