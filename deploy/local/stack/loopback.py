"""An HTTP server on loopback that simulates a remote service in tests, benchmarks and chaos runs.

Here is the life of such a server and how its handler answers; what it answers is said where it is used.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType, TracebackType
from typing import Any, Self, cast

_JSON = MappingProxyType({"Content-Type": "application/json"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
    stub: Any

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of an error, unless it is that of a client that gave up or was killed, which is part of the plan."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class LoopbackServer:
    """A stub as a context manager; it serves while it is entered.

    Args:
        handler: answers; it finds the stub as its `stub`.
    """

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = _Server(("127.0.0.1", 0), handler)
        self._server.stub = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """The root URL, or the address for a client."""
        return f"http://127.0.0.1:{self.port}"

    def release_waiting(self) -> None:
        """Release the requests that are held back; the stub is about to stop."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release_waiting()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class LoopbackHandler(BaseHTTPRequestHandler):
    """One connection to a stub, kept open."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def stub(self) -> Any:
        """The stub that it answers for."""
        return cast("_Server", self.server).stub

    def read_content(self) -> bytes:
        """The body of the request."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def send_answer(self, status: int, content: bytes, headers: Mapping[str, str] = _JSON) -> None:
        """One whole answer."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def send_json(self, value: object, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        """One whole answer, from a value."""
        self.send_answer(status, json.dumps(value).encode(), {**_JSON, **headers})

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
