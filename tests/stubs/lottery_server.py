"""The lottery of the how-to, at a gateway's routes and at its own; it can forget to answer."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from deploy.local.stack.loopback import LoopbackHandler, LoopbackServer


class LotteryServer(LoopbackServer):
    """The stub. While `silent` it sells and does not answer."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.tickets: list[dict[str, Any]] = []
        self.silent = False

    def balance(self) -> float:
        return 100 - sum(ticket["price"] for ticket in self.tickets)


class _Handler(LoopbackHandler, BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        lottery = self.stub
        if urlsplit(self.path).path.endswith("/tickets"):
            self.send_json({"tickets": lottery.tickets})
        else:
            self.send_json({"agent_id": "ag_7", "balance_usd": lottery.balance()})

    def do_POST(self) -> None:
        lottery = self.stub
        body = json.loads(self.read_content())
        ticket = {"ticket_id": f"t{len(lottery.tickets)}", "price": body["price"], "memo": body["memo"]}
        lottery.tickets.append(ticket)
        if lottery.silent:
            self.close_connection = True
            return
        self.send_json(ticket)
