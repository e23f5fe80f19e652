"""The outside: a loopback service that takes bets, counts what it did, and dies or kills on request.

It stands in a process of its own, so that what it counted survives its clients. Under `/keyed` it honours
`Idempotency-Key`, under `/plain` it does not; both let bets be found by their tag. The header `Fault` says what goes
wrong with one request.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from deploy.local.stack.loopback import LoopbackHandler, LoopbackServer

PRIZE = "7.00"
"""What every bet wins."""
LATE_S = 0.8
"""A late request is applied this long after its client is gone."""
SLOW_S = 0.3
"""How long a slow request takes."""

KILLS = ("kill-before", "kill-after", "kill-half")
"""The client is killed: before the bet is taken, after it and before the answer, in the middle of the answer."""
LOST_ANSWERS = ("cut-before", "cut-after", "error-before", "error-after", "garbage")
"""The client lives and gets no answer, or one that tells nothing."""


class Books:
    """What was done, by agent; safe between threads."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.bets: dict[str, list[dict[str, str]]] = {}

    def take(self, agent: str, tag: str, *, honours_keys: bool) -> dict[str, str]:
        """Take a bet, or give the one that was taken under the tag."""
        with self.guard:
            taken = self.bets.setdefault(agent, [])
            if honours_keys and (before := [bet for bet in taken if bet["tag"] == tag]):
                return before[0]
            bet = {"bet": f"{agent}:{len(taken) + 1}", "tag": tag, "won": PRIZE}
            taken.append(bet)
            return bet


class Remote(LoopbackHandler, BaseHTTPRequestHandler):
    """`POST /{keyed,plain}/bets`, `GET /bets?agent=&tag=`, `GET /truth`."""

    protocol_version = "HTTP/1.0"  # a connection for each request: one that is not answered is cut
    books: ClassVar[Books] = Books()

    def do_POST(self) -> None:
        """Take a bet, with the fault that is asked for."""
        content = self.read_content()
        if not content:
            return  # the client died before it had sent all
        body = json.loads(content)
        fault, _, pid = self.headers.get("Fault", "").partition(":")
        agent, tag = body["agent"], self.headers["Idempotency-Key"]
        self.books.requests[agent] += 1
        if not self._strikes_before(fault, pid):
            return
        bet = self.books.take(agent, tag, honours_keys=self.path.startswith("/keyed"))
        if self._strikes_after(fault, pid):
            self.send_json(bet)

    def do_GET(self) -> None:
        """Show the bets under a tag, or the whole truth."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with self.books.guard:
            if parts.path == "/truth":
                self.send_json({"bets": self.books.bets, "requests": self.books.requests})
                return
            found = [bet for bet in self.books.bets.get(query["agent"], []) if bet["tag"] == query["tag"]]
        self.send_json(found)

    def _strikes_before(self, fault: str, pid: str) -> bool:
        """Do what goes wrong before the bet is taken; False when it is never taken."""
        if fault in {"kill-before", "late"}:
            os.kill(int(pid), signal.SIGKILL)
        if fault == "error-before":
            self.send_json({"error": "busy"}, 503)
        time.sleep({"late": LATE_S, "slow": SLOW_S}.get(fault, 0))
        return fault not in {"kill-before", "cut-before", "error-before"}

    def _strikes_after(self, fault: str, pid: str) -> bool:
        """Do what goes wrong once the bet is taken; False when it is not to be answered any more."""
        if fault == "kill-half":
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 80\r\n\r\n{")
        if fault in {"kill-after", "kill-half"}:
            os.kill(int(pid), signal.SIGKILL)
        if fault == "error-after":
            self.send_json({"error": "lost"}, 500)
        if fault == "garbage":
            self.send_json("<html>")
        return fault not in {*LOST_ANSWERS, "kill-after", "kill-half", "late"}


if __name__ == "__main__":
    with LoopbackServer(Remote) as remote:
        sys.stdout.write(f"{remote.port}\n")
        sys.stdout.flush()
        sys.stdin.read()
