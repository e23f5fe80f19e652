"""The lottery of the how-to, at a gateway's routes and at its own; it can forget to answer."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import urlsplit


class LotteryServer:
    """The stub, as a context manager. While `silent` it sells and does not answer."""

    def __init__(self) -> None:
        self.tickets: list[dict[str, Any]] = []
        self.silent = False
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.stub = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def balance(self) -> float:
        return 100 - sum(ticket["price"] for ticket in self.tickets)

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
    stub: LotteryServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        lottery = cast("_Server", self.server).stub
        if urlsplit(self.path).path.endswith("/tickets"):
            self._answer({"tickets": lottery.tickets})
        else:
            self._answer({"agent_id": "ag_7", "balance_usd": lottery.balance()})

    def do_POST(self) -> None:
        lottery = cast("_Server", self.server).stub
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ticket = {"ticket_id": f"t{len(lottery.tickets)}", "price": body["price"], "memo": body["memo"]}
        lottery.tickets.append(ticket)
        if lottery.silent:
            self.close_connection = True
            return
        self._answer(ticket)

    def _answer(self, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
