"""One request of either dialect: rate limits, injected faults, the operation, and the answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from tornado.web import RequestHandler

from deploy.local.sandbox.faults import (
    CUT_OFF,
    HEADER,
    Fault,
    FaultPlan,
    drop_ledger_rows,
    drop_venue_data,
    zero_amounts,
)
from deploy.local.sandbox.http.values import Body, add_info, to_iso, to_usd
from deploy.local.sandbox.model.books import MICROS, Books, Crashed, Refusal
from deploy.local.sandbox.model.escrow import Escrows
from deploy.local.sandbox.model.funding import Funding

PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"

Answer: TypeAlias = tuple[int, Body | list[Body] | str]
"""Status, and a JSON object or a text that is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Parts shared by all handlers of a process."""

    books: Books
    plan: FaultPlan
    limits: RequestLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRequest:
    """One request: its service and operation, its agent, and the call that performs it."""

    service: str
    name: str
    agent_id: str
    act: Callable[[], Answer]
    path: str
    reads: bool
    key: str = ""


class ServiceHandler(RequestHandler):
    """Base of the handlers of both dialects."""

    def initialize(self, parts: Parts, **_others: Any) -> None:
        """Take the parts of the process (Tornado hands them in)."""
        self._parts = parts
        self._books = parts.books

    def read_body(self) -> dict[str, Any] | None:
        """The JSON object of the request, None when it is none."""
        try:
            body = json.loads(self.request.body or b"{}", parse_float=Decimal)
        except ValueError:
            body = None
        return body if isinstance(body, dict) else None

    def read_request_key(self, body: dict[str, Any]) -> str:
        """Return the caller's idempotency key, for the truth route."""
        headers = self.request.headers
        key = headers.get("Idempotency-Key") or headers.get("X-Idempotency-Key") or body.get("idempotency_key", "")
        return str(key)[:256]

    def read_query(self) -> dict[str, str]:
        """The parameters of a read."""
        return {key: self.get_query_argument(key) for key in self.request.query_arguments}

    async def serve_request(self, asked: ServiceRequest) -> None:
        """Answer as the services do, or as the fault demands that strikes this request."""
        try:
            header = self.request.headers.get(HEADER)
            fault = self._parts.plan.pick_fault(header, asked.service, asked.name, asked.agent_id, reads=asked.reads)
        except Refusal as refusal:
            self.write_answer(*refusal_answer(refusal), asked.service)
            return
        limited = self._find_limit(asked, fault)
        if fault is not None and not asked.reads:
            with self._books.open_transaction():
                self._books.record_fault(fault.kind, asked.service, asked.name, asked.agent_id, asked.key)
        if limited is not None:
            self.write_answer(429, dict(limited), asked.service)
        elif fault is None:
            self.write_answer(*self._perform(asked), asked.service)
        else:
            found = self._books.read_balances(asked.agent_id) if fault.kind == "lost_update" else None
            if fault.kind in {"late_commit", "lost_update"}:
                await asyncio.sleep(fault.delay_ms / 1_000)
            answer: Answer = (0, {})
            if not fault.is_preventing:
                answer = self._perform(asked, crash=fault.kind, stale=found)
                self.add_side_effects(fault, asked, answer[0])
            if fault.kind == "double_effect":
                answer = self._perform(asked)
            if fault.kind == "slow":
                await asyncio.sleep(fault.delay_ms / 1_000)
            self.spoil_answer(fault, answer, asked)

    def write_answer(self, status: int, body: Body | list[Body] | str, service: str) -> None:
        """Write an answer; every object carries `_info`."""
        self.set_status(status)
        is_text = isinstance(body, str)
        self.set_header("Content-Type", "text/csv; charset=utf-8" if is_text else "application/json")
        self.write(_encode_body(body, service))

    def _find_limit(self, asked: ServiceRequest, fault: Fault | None) -> dict[str, str] | None:
        address = self.request.headers.get("X-Forwarded-For", "unknown").split(",")[0].strip()
        over = self._parts.limits.find_refusal(asked.service, asked.name, asked.path, address, asked.agent_id)
        if fault is not None and fault.kind == "429_short":
            return rate_limit_body()
        if fault is not None and fault.kind == "429_business":
            return daily_limit_body()
        return over if self._books.read_switch("rate_limits", default=False) else None

    def _perform(self, asked: ServiceRequest, **spoilt: Any) -> Answer:
        try:
            with self._books.open_transaction(asked.key, **spoilt):
                return asked.act()
        except Refusal as refusal:
            return refusal_answer(refusal)
        except Crashed:
            return 0, {}

    def add_side_effects(self, fault: Fault, asked: ServiceRequest, status: int) -> None:
        """Apply the side effects of the fault, once the operation has happened."""
        if status not in {200, 201}:
            return
        with self._books.open_transaction():
            if fault.kind == "duplicate_deposit":
                Funding(self._books).credit_again(asked.agent_id)
            elif fault.kind == "counterparty_action":
                Escrows(self._books).act_as_counterparty(asked.agent_id)

    def spoil_answer(self, fault: Fault, answer: Answer, asked: ServiceRequest) -> None:
        """Answer as the fault demands; the effect, if any, is committed already."""
        status, body = answer
        if fault.kind in CUT_OFF:
            self.detach().close()
        elif fault.kind == "500_after_effect":
            failed: Body = {"error": "internal_error", "message": "Something failed. Please try again."}
            self.write_answer(500, failed, asked.service)
        elif fault.kind in {"400_after_effect", "fill_without_row"}:
            lie: Body = {"error": "trade_failed", "message": "The order could not be placed."}
            self.write_answer(400, lie, asked.service)
        elif fault.kind == "html_502":
            self.set_status(502)
            self.set_header("Content-Type", "text/html")
            self.write(PAGE)
        elif fault.kind == "truncate_json":
            whole = _encode_body(body, asked.service)
            self.set_status(status)
            self.set_header("Content-Type", "application/json")
            self.write(whole[:-20])
        else:
            self.write_answer(status, _alter_body(fault.kind, body), asked.service)


def refusal_answer(refusal: Refusal) -> Answer:
    """A refusal as the services answer it."""
    details = {name: to_usd(value) if isinstance(value, int) else value for name, value in refusal.details.items()}
    return refusal.status, {"error": refusal.code, "message": refusal.message, **details}


def _encode_body(body: Body | list[Body] | str, service: str) -> str:
    if isinstance(body, str):
        return body
    return json.dumps(add_info(body, service) if isinstance(body, dict) else body)


def _alter_body(kind: str, body: Body | list[Body] | str) -> Body | list[Body] | str:
    if not isinstance(body, dict):
        return body
    changes: dict[str, Callable[[Body], Body]] = {
        "silent_zero": zero_amounts,
        "stale_source": drop_venue_data,
        "ledger_gap": drop_ledger_rows,
    }
    return changes[kind](body) if kind in changes else body


WINDOW_S = 60
PER_ADDRESS = {
    "casino/bet": 60, "casino/bets": 60, "casino/export": 60, "casino/register": 10, "casino/join": 10,
    "casino/withdraw": 5,
    "escrow/create": 20, "escrow/complete": 30, "escrow/release": 30, "escrow/dispute": 10, "faucet/claim": 5,
    "trading/open": 30, "trading/close": 30, "trading/join": 10, "wallet/send": 20, "wallet/swap": 30,
    "wallet/create": 10, "wallet/join": 10,
}  # fmt: skip
"""Requests a minute and exact path; what is not listed is unlimited."""

PER_AGENT_BETS = 60


class RequestLimits:
    """Counters of the present window.

    Args:
        clock: gives seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._window = 0
        self._counts: dict[tuple[str, str], int] = {}

    def find_refusal(self, service: str, name: str, path: str, address: str, agent_id: str) -> dict[str, str] | None:
        """The body of a 429, or None when the request may pass. Counts the request by its exact path."""
        window = int(self._clock()) // WINDOW_S
        if window != self._window:
            self._window = window
            self._counts.clear()
        limit = PER_ADDRESS.get(f"{service}/{name}")
        if limit is not None and self._count_over((path, address), limit):
            return rate_limit_body(limit)
        if (service, name) == ("casino", "bet") and self._count_over(("agent", agent_id), PER_AGENT_BETS):
            reset = (self._window + 1) * WINDOW_S * MICROS
            return {"error": "rate_limit_exceeded", "message": "Too many bets.", "reset_at": to_iso(reset)}
        return None

    def _count_over(self, key: tuple[str, str], limit: int) -> bool:
        self._counts[key] = self._counts.get(key, 0) + 1
        return self._counts[key] > limit


def rate_limit_body(limit: int = 60) -> dict[str, str]:
    """The shape without a time of reset."""
    return {"error": "rate_limited", "message": f"Too many requests. Limit: {limit} per {WINDOW_S}s"}


def daily_limit_body() -> dict[str, str]:
    """A rule of the service that looks like a rate limit: a day, told in prose alone."""
    return {"error": "ip_rate_limited", "message": "One claim per address in ~24h."}
