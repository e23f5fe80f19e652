"""One request of the gateway: who asks, does it pass, what goes wrong, what happens, what is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tornado.web import RequestHandler

from deploy.local.sandbox.faults import HEADER, Fault, FaultPlan, zeroed
from deploy.local.sandbox.gateway.routes import CREATES, Routes
from deploy.local.sandbox.gateway.shapes import Body, informed, usd
from deploy.local.sandbox.limits import Limits, short_429
from deploy.local.sandbox.model.books import Books
from deploy.local.sandbox.model.refusal import Refusal

KEY_PREFIX = "Bearer pf_"
PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"

Answer = tuple[int, Body]


class GatewayHandler(RequestHandler):
    """`/api/v1/{service}/{name}`."""

    def initialize(self, books: Books, routes: Routes, plan: FaultPlan, limits: Limits) -> None:
        """Take the parts of the process (Tornado hands them in)."""
        self._books = books
        self._routes = routes
        self._plan = plan
        self._limits = limits

    async def get(self, service: str, name: str) -> None:
        """Read something."""
        query = {key: self.get_query_argument(key) for key in self.request.query_arguments}
        agent_id = query.get("agent_id", "")

        def act() -> Answer:
            view = self._routes.view(f"{service}/{name}")
            with self._books.transaction():
                return 200, view(_named(agent_id), query)

        await self._serve(service, name, agent_id, act, reads=True)

    async def post(self, service: str, name: str) -> None:
        """Do something."""
        body = self._body()
        given = body or {}
        agent_id, key, path = str(given.get("agent_id", "")), self._request_key(given), f"{service}/{name}"

        def act() -> Answer:
            if body is None:
                raise Refusal(400, "invalid_json", "The body is a JSON object.")
            operation = self._routes.operation(path)
            with self._books.transaction(key):
                answer = self._once(_named(agent_id), path, key, lambda: operation(agent_id, body))
            return 201 if path in CREATES else 200, answer

        await self._serve(service, name, agent_id, act, reads=False)

    def _body(self) -> dict[str, Any] | None:
        try:
            body = json.loads(self.request.body or b"{}", parse_float=Decimal)
        except ValueError:
            body = None
        return body if isinstance(body, dict) else None

    def _request_key(self, body: dict[str, Any]) -> str:
        headers = self.request.headers
        key = headers.get("Idempotency-Key") or headers.get("X-Idempotency-Key") or body.get("idempotency_key", "")
        return str(key)[:256]

    def _once(self, agent_id: str, path: str, key: str, act: Callable[[], Body]) -> Body:
        """Honour an idempotency key when the switch says so, and ignore it as the real services do otherwise."""
        if not key or not self._books.switch("idempotency_keys", default=False):
            return act()
        where = (agent_id, path, key)
        sql = "SELECT body FROM answers WHERE agent_id = ? AND route = ? AND request_key = ?"
        stored = self._books.row(sql, *where)
        if stored is not None:
            body: Body = json.loads(stored["body"])
            return body
        answer = act()
        self._books.run("INSERT INTO answers VALUES (?, ?, ?, ?)", *where, json.dumps(answer))
        return answer

    async def _serve(self, service: str, name: str, agent_id: str, act: Callable[[], Answer], *, reads: bool) -> None:
        if not self.request.headers.get("Authorization", "").startswith(KEY_PREFIX):
            self._write(401, {"error": "unauthorized", "message": "A key that begins with pf_ is needed."}, service)
            return
        try:
            fault = self._plan.pick(self.request.headers.get(HEADER), service, name, agent_id, reads=reads)
        except Refusal as refusal:
            self._write(*_refused(refusal), service)
            return
        limited = self._limited(service, name, agent_id, fault)
        if limited is not None:
            self._write(429, limited, service)
            return
        await self._with(fault, service, act)

    def _limited(self, service: str, name: str, agent_id: str, fault: Fault | None) -> dict[str, str] | None:
        address = self.request.headers.get("X-Forwarded-For", "unknown").split(",")[0].strip()
        over = self._limits.refused(f"{service}/{name}", address, agent_id)
        if fault is not None and fault.kind == "429_short":
            return short_429()
        return over if self._books.switch("rate_limits", default=False) else None

    async def _with(self, fault: Fault | None, service: str, act: Callable[[], Answer]) -> None:
        if fault is None:
            self._write(*_performed(act), service)
            return
        if fault.kind == "late_commit":
            await asyncio.sleep(fault.delay_ms / 1_000)
        answer = (0, {}) if fault.prevents else _performed(act)
        if fault.kind == "slow":
            await asyncio.sleep(fault.delay_ms / 1_000)
        self._spoil(fault, answer, service)

    def _spoil(self, fault: Fault, answer: Answer, service: str) -> None:
        """Answer as the fault demands; the effect, if any, is committed already."""
        if fault.kind in {"commit_then_drop", "drop_before_commit"}:
            self.detach().close()
        elif fault.kind == "500_after_effect":
            self._write(500, {"error": "internal_error", "message": "Something failed. Please try again."}, service)
        elif fault.kind == "400_after_effect":
            self._write(400, {"error": "trade_failed", "message": "The order could not be placed."}, service)
        elif fault.kind == "html_502":
            self.set_status(502)
            self.set_header("Content-Type", "text/html")
            self.write(PAGE)
        elif fault.kind == "truncate_json":
            self._write_text(answer[0], json.dumps(informed(answer[1], service))[:-20])
        elif fault.kind == "silent_zero":
            self._write(answer[0], zeroed(answer[1]), service)
        else:
            self._write(*answer, service)

    def _write(self, status: int, body: Body | dict[str, str], service: str) -> None:
        self._write_text(status, json.dumps(informed(body, service)))

    def _write_text(self, status: int, text: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.write(text)


def _performed(act: Callable[[], Answer]) -> Answer:
    try:
        return act()
    except Refusal as refusal:
        return _refused(refusal)


def _named(agent_id: str) -> str:
    if not agent_id:
        raise Refusal(400, "invalid_request", "agent_id is missing.")
    return agent_id


def _refused(refusal: Refusal) -> Answer:
    details = {name: usd(value) if isinstance(value, int) else value for name, value in refusal.details.items()}
    return refusal.status, {"error": refusal.code, "message": refusal.message, **details}
