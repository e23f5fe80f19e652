"""A loopback remote for kill tests: counts effects by key, and can kill its client right after applying one.

It stands in its own process, so that what it counted survives the client.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit


class Remote(BaseHTTPRequestHandler):
    """`POST /apply?key=&pid=&dedupe=` applies; `GET /effects?key=` tells how often."""

    effects: ClassVar[Counter[str]] = Counter()

    def do_POST(self) -> None:
        query = self._query()
        key = query["key"]
        if not (query.get("dedupe") and self.effects[key]):
            self.effects[key] += 1
        if query.get("pid"):
            os.kill(int(query["pid"]), signal.SIGKILL)
            return
        self._answer({"key": key})

    def do_GET(self) -> None:
        self._answer({"count": self.effects[self._query()["key"]]})

    def log_message(self, *_values: object) -> None:
        """Silent."""

    def _query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def _answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", 0), Remote)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
