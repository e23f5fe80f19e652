"""The sandbox's own routes, which no real service has: readiness, faults, switches, test money, the exact books."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tornado.web import RequestHandler

from deploy.local.sandbox.faults import FaultPlan
from deploy.local.sandbox.http import values
from deploy.local.sandbox.model.books import Books, Refusal
from deploy.local.sandbox.model.escrow import Escrows
from deploy.local.sandbox.model.funding import Deposits, Funding
from deploy.local.sandbox.model.trading import Orders
from deploy.local.sandbox.model.truth import Truth

SWITCHES = {"idempotency_keys": False, "rate_limits": False, "kelly_cap": True}
"""Switches and how they stand at first."""


class HealthHandler(RequestHandler):
    """`GET /healthz`: answers once the books are open."""

    def get(self) -> None:
        """Say that the sandbox is ready."""
        self.write({"status": "ok"})


class ControlHandler(RequestHandler):
    """Base of the control routes: the parts of the process, and errors as JSON."""

    def initialize(self, books: Books, plan: FaultPlan) -> None:
        """Take the parts of the process (Tornado hands them in)."""
        self._books = books
        self._plan = plan

    def _read_object(self) -> dict[str, Any]:
        try:
            given = json.loads(self.request.body or b"{}")
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise Refusal(400, "invalid_json", "The body is a JSON object.")
        return given

    def _write_refusal(self, refusal: Refusal) -> None:
        self.set_status(refusal.status)
        self.write({"error": refusal.code, "message": refusal.message})


class FaultsHandler(ControlHandler):
    """`/__control/faults`: the standing plan."""

    def get(self) -> None:
        """Write the plan, and the faults injected so far."""
        self.write(self._plan.as_json())

    def post(self) -> None:
        """Replace the plan; it is kept over a restart."""
        try:
            given = self._read_object()
            self._plan.replace_rules(given)
        except Refusal as refusal:
            self._write_refusal(refusal)
            return
        with self._books.open_transaction():
            self._books.set_switch("faults", given)
        self.write(self._plan.as_json())

    def delete(self) -> None:
        """Let nothing go wrong any more."""
        self._plan.replace_rules({})
        with self._books.open_transaction():
            self._books.set_switch("faults", {})
        self.write(self._plan.as_json())


class SwitchesHandler(ControlHandler):
    """`/__control/switches`: behaviours that can be turned on and off."""

    def get(self) -> None:
        """Return the state of the switches."""
        self.write({name: self._books.read_switch(name, default) for name, default in SWITCHES.items()})

    def post(self) -> None:
        """Set the switches that the body names; kept over a restart."""
        try:
            given = _check_switches(self._read_object())
        except Refusal as refusal:
            self._write_refusal(refusal)
            return
        with self._books.open_transaction():
            for name, value in given.items():
                self._books.set_switch(name, value)
        self.get()


def _check_switches(given: dict[str, Any]) -> dict[str, bool]:
    if not set(given) <= set(SWITCHES) or not all(isinstance(value, bool) for value in given.values()):
        raise Refusal(400, "invalid_switch", f"Switches are {', '.join(SWITCHES)}: true or false.")
    return given


class ChainHandler(ControlHandler):
    """`/__control/chain`: events on a chain or by the clock, without a request of an agent."""

    def post(self) -> None:
        """`{"agent_id", "deposit"}` lets dollars arrive; `{"run": [...]}` runs `poll`, `empty`, `sweep`, `monitor`."""
        try:
            with self._books.open_transaction():
                self.write(self._run_chain(self._read_object()))
        except Refusal as refusal:
            self._write_refusal(refusal)

    def _run_chain(self, given: dict[str, Any]) -> dict[str, Any]:
        deposits = Deposits(self._books)
        runs: dict[str, Callable[[], Any]] = {
            "poll": deposits.poll_addresses,
            "empty": deposits.empty_addresses,
            "sweep": Escrows(self._books).refund_overdue,
            "monitor": Orders(self._books).fill_due_orders,
        }
        names = given.get("run", [])
        if not isinstance(names, list) or not set(names) <= set(runs):
            raise Refusal(400, "invalid_request", f"run is a list of {', '.join(runs)}.")
        if "deposit" in given:
            amount = values.read_micros({"deposit": Decimal(str(given["deposit"]))}, "deposit")
            deposits.add_on_chain(str(given.get("agent_id")), amount)
        return {name: runs[name]() for name in names}


class FundHandler(ControlHandler):
    """`POST /__control/fund`: test money for an account of either dialect, at once."""

    def post(self) -> None:
        """`{"agent_id", "service", "amount", "reference", "address"?}`."""
        try:
            given = self._read_object()
            amount = values.read_micros({"amount": Decimal(str(given.get("amount")))}, "amount")
            service = str(given.get("service"))
            accounts = {"casino": "casino", "wallet": f"wallet:{given.get('address')}"}
            account = accounts.get(service, service)
            with self._books.open_transaction():
                agent_id, reference = str(given.get("agent_id")), str(given.get("reference", ""))
                after = Funding(self._books).deposit_money(agent_id, service, amount, reference, account)
            self.write({"micros": after})
        except Refusal as refusal:
            self._write_refusal(refusal)


class TruthHandler(ControlHandler):
    """`GET /__truth[?agent_id=|request_key=]`: the exact books."""

    def get(self) -> None:
        """Balances, effects by reference, ledger rows."""
        agent_id, key = self.get_query_argument("agent_id", None), self.get_query_argument("request_key", None)
        if key is not None:
            self.write(Truth(self._books).read_request(key))
            return
        self.write(Truth(self._books).read_all(agent_id))
