"""A service on loopback for benchmarks: answers one state, slowly if asked to, and counts how often it was asked."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from deploy.local.stack.loopback import LoopbackHandler, LoopbackServer


class Upstream(LoopbackServer):
    """The service; `asked` counts, `delay_s` is how long each answer takes."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.asked = 0
        self.delay_s = 0.0
        self.arrived = threading.Semaphore(0)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{super().url}/api/v1"


class _Handler(LoopbackHandler, BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.stub.asked += 1
        self.stub.arrived.release()
        time.sleep(self.stub.delay_s)
        agent = parse_qs(urlsplit(self.path).query)["agent_id"][0]
        self.send_answer(200, STATE.replace(b"AGENT", agent.encode()))


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
