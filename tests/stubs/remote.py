"""A loopback remote for kill tests: counts effects by key, and can kill its client right after applying one."""

from __future__ import annotations

import os
import signal
from collections import Counter
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, urlsplit

from deploy.local.stack.loopback import LoopbackHandler, LoopbackServer


class Remote(LoopbackServer):
    """The stub; `effects` counts what was applied. It stands in the test's process, which outlives its clients."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.effects: Counter[str] = Counter()


class _Handler(LoopbackHandler, BaseHTTPRequestHandler):
    """`POST /apply?key=&pid=&dedupe=` applies; `GET /effects?key=` tells how often."""

    def do_POST(self) -> None:
        query, effects = self._query(), self.stub.effects
        key = query["key"]
        if not (query.get("dedupe") and effects[key]):
            effects[key] += 1
        if query.get("pid"):
            os.kill(int(query["pid"]), signal.SIGKILL)
            self.close_connection = True
            return
        self.send_json({"key": key})

    def do_GET(self) -> None:
        self.send_json({"count": self.stub.effects[self._query()["key"]]})

    def _query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query))
