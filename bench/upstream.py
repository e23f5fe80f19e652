"""A service on loopback for benchmarks: answers one state, slowly if asked to, and counts how often it was asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Upstream(ThreadingHTTPServer):
    """The server; `asked` counts, `delay_s` is how long each answer takes."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = 0
        self.delay_s = 0.0
        self.arrived = threading.Semaphore(0)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_port}/api/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_GET(self) -> None:
        self.server.asked += 1
        self.server.arrived.release()
        time.sleep(self.server.delay_s)
        agent = parse_qs(urlsplit(self.path).query)["agent_id"][0]
        body = STATE.replace(b"AGENT", agent.encode())
        with suppress(OSError):  # who asked may have been killed
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


STATE = (
    b'{"agent_id":"AGENT","balance_usd":100.099,"tier":"silver","risk_factor":0.5,"lifetime":{"total_deposited":250.0,'
    b'"total_withdrawn":20.5,"total_wagered":1234.56,"total_won":1180.25,"net_profit":-54.31},"recent_activity":['
    + b",".join(
        b'{"type":"debit","amount":2.5,"balance_after":%d.099,"reason":"reservation","at":"2026-08-01T10:00:00Z"}' % n
        for n in range(10)
    )
    + b"]}"
)
"""A casino's state with its ten newest movements, 1.2 KB."""


@contextmanager
def serving() -> Iterator[Upstream]:
    """A running server."""
    server = Upstream()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
