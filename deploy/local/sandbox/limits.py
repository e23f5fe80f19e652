"""Rate limits: a fixed window of 60 s per exact path and address, and one per agent for casino games.

Off unless the switch `rate_limits` is on: everything comes from one address here, and the real windows would stop a
fleet at 60 bets a minute. Refused and invalid requests count too, and no answer carries a rate-limit header.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from deploy.local.sandbox.gateway.shapes import to_iso
from deploy.local.sandbox.model.books import MICROS

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

Body = dict[str, str]


class RequestLimits:
    """Counters of the present window.

    Args:
        clock: gives seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._window = 0
        self._counts: dict[tuple[str, str], int] = {}

    def find_refusal(self, service: str, name: str, path: str, address: str, agent_id: str) -> Body | None:
        """The body of a 429, or None when the request may pass. Counts the request by its exact path."""
        self._turn_window()
        limit = PER_ADDRESS.get(f"{service}/{name}")
        if limit is not None and self._count_over((path, address), limit):
            return rate_limit_body(limit)
        if (service, name) == ("casino", "bet") and self._count_over(("agent", agent_id), PER_AGENT_BETS):
            reset = (self._window + 1) * WINDOW_S * MICROS
            return {"error": "rate_limit_exceeded", "message": "Too many bets.", "reset_at": to_iso(reset)}
        return None

    def _turn_window(self) -> None:
        window = int(self._clock()) // WINDOW_S
        if window != self._window:
            self._window = window
            self._counts.clear()

    def _count_over(self, key: tuple[str, str], limit: int) -> bool:
        self._counts[key] = self._counts.get(key, 0) + 1
        return self._counts[key] > limit


def rate_limit_body(limit: int = 60) -> Body:
    """The shape without a time of reset."""
    return {"error": "rate_limited", "message": f"Too many requests. Limit: {limit} per {WINDOW_S}s"}


def daily_limit_body() -> Body:
    """A rule of the service that looks like a rate limit: a day, told in prose alone."""
    return {"error": "ip_rate_limited", "message": "One claim per address in ~24h."}
