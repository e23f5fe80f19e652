"""The escrow service over HTTP: on the gateway, and its own routes, which have no prefix and no list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.local.sandbox.http import values
from deploy.local.sandbox.http.route import RequestData, Route, read_route, write_route
from deploy.local.sandbox.http.values import Body, to_cents, to_iso, to_usd
from deploy.local.sandbox.model.books import MICROS, Books, Refusal, Row
from deploy.local.sandbox.model.escrow import LISTED, Escrows


class EscrowHandler:
    """Requests of the escrow service in the gateway's words."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._escrows = Escrows(books)

    def create_escrow(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`create {counterparty_agent_id, amount_usd, description, timeout_hours?}`."""
        row = self._escrows.create_escrow(
            agent_id,
            values.read_text(body, "counterparty_agent_id", "invalid_counterparty"),
            values.read_micros(body, "amount_usd"),
            values.read_text(body, "description", "invalid_description"),
            values.read_integer(body, "timeout_hours", 24, "invalid_timeout"),
        )
        return _escrow_json(row)

    def complete_escrow(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`complete {escrow_id}`, by the counterparty."""
        return _escrow_json(self._escrows.complete_escrow(agent_id, values.read_text(body, "escrow_id")))

    def release_escrow(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`release {escrow_id}`, by the creator."""
        return _escrow_json(self._escrows.release_escrow(agent_id, values.read_text(body, "escrow_id")))

    def dispute_escrow(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`dispute {escrow_id}`, by either side."""
        return _escrow_json(self._escrows.dispute_escrow(agent_id, values.read_text(body, "escrow_id")))

    def get_escrow(self, _agent_id: str, query: Mapping[str, str]) -> Body:
        """`get?escrow_id`: public."""
        return _escrow_json(self._escrows.get_escrow(query.get("escrow_id", "")))

    def read_stats(self, _agent_id: str, _query: Mapping[str, str]) -> Body:
        """`stats`: sums over all escrows."""
        return stats_json(self._escrows)

    def read_state(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`state`: the agent's locked amount, and the newest 200 escrows on either side."""
        rows = self._escrows.list_of_agent(agent_id)
        return {
            "agent_id": agent_id,
            "balance_usd": to_usd(self._books.read_balance(agent_id)),
            "locked_usd": to_usd(self._escrows.sum_locked(agent_id)),
            "escrows": [_escrow_json(row) for row in rows],
            "truncated": len(rows) == LISTED,
        }


def _escrow_json(row: Row) -> Body:
    return {
        "escrow_id": row["escrow_id"],
        "status": row["status"],
        "creator_agent_id": row["creator"],
        "counterparty_agent_id": row["counterparty"],
        "amount_usd": to_usd(row["amount"]),
        "commission_usd": to_usd(row["fee"]),
        "net_to_counterparty": to_usd(row["amount"] - row["fee"]),
        "description": row["description"],
        "created_at": to_iso(row["created_at"]),
        "changed_at": to_iso(row["changed_at"]),
        "auto_release_at": to_iso(row["due_at"]),
    }


def stats_json(escrows: Escrows) -> Body:
    """Counts and volumes of all escrows, rounded to cents."""
    row = escrows.sum_escrows()
    if row is None:
        return {}
    return {
        "total_created": row["created"],
        "total_released": row["released"],
        "total_disputed": row["disputed"],
        "total_volume_usd": to_cents(row["volume"]),
        "total_commission_usd": to_cents(row["fees"]),
        "commission_rate": "1%",
    }


class EscrowRoutes:
    """The escrow service's own routes."""

    def __init__(self, books: Books) -> None:
        self._escrows = Escrows(books)

    def list_routes(self) -> Sequence[Route]:
        """The table."""
        return (
            write_route("/escrow/create", "create", self.create_escrow, status=201),
            write_route("/escrow/complete/{}", "complete", self.complete_escrow),
            write_route("/escrow/release/{}", "release", self.release_escrow),
            write_route("/escrow/dispute/{}", "dispute", self.dispute_escrow),
            read_route("/escrow/stats", "stats", lambda _who, _given: stats_json(self._escrows), public=True),
            read_route("/escrow/{}", "get", self.get_escrow, public=True),
        )

    def create_escrow(self, who: str, given: RequestData) -> Body:
        """Answer `POST /escrow/create`."""
        row = self._escrows.create_escrow(
            who,
            _read_account(given.body),
            values.read_micros(given.body, "amount_usd"),
            values.read_text(given.body, "description", "invalid_description"),
            values.read_integer(given.body, "timeout_hours", 24, "invalid_timeout"),
        )
        shown = _own_escrow_json(row)
        return {name: shown[name] for name in shown if not name.endswith("ed_at")}

    def complete_escrow(self, who: str, given: RequestData) -> Body:
        """Answer `POST /escrow/complete/{id}`."""
        row = self._escrows.complete_escrow(who, given.places[0])
        return {"escrow_id": row["escrow_id"], "status": row["status"], "auto_release_at": to_iso(row["due_at"])}

    def release_escrow(self, who: str, given: RequestData) -> Body:
        """Answer `POST /escrow/release/{id}`."""
        row = self._escrows.release_escrow(who, given.places[0])
        return {
            "escrow_id": row["escrow_id"],
            "status": row["status"],
            "amount_released": to_usd(row["amount"] - row["fee"]),
            "commission": to_usd(row["fee"]),
            "referral_commission": 0,
            "counterparty_id": row["counterparty"],
        }

    def dispute_escrow(self, who: str, given: RequestData) -> Body:
        """Answer `POST /escrow/dispute/{id}`."""
        row = self._escrows.dispute_escrow(who, given.places[0])
        return {"escrow_id": row["escrow_id"], "status": row["status"], "reason": "No reason provided"}

    def get_escrow(self, _who: str, given: RequestData) -> Body:
        """Answer `GET /escrow/{id}`."""
        return _own_escrow_json(self._escrows.get_escrow(given.places[0]))


def _read_account(body: Mapping[str, Any]) -> str:
    account = values.read_text(body, "counterparty_agent_id", "invalid_counterparty")
    if not account.startswith("ag_"):
        raise Refusal(400, "invalid_counterparty", "counterparty_agent_id must be in ag_xxx format")
    return account


def _own_escrow_json(row: Row) -> Body:
    changed = to_iso(row["changed_at"])
    return {
        "escrow_id": row["escrow_id"],
        "status": row["status"],
        "amount_usd": to_usd(row["amount"]),
        "commission_usd": to_usd(row["fee"]),
        "net_to_counterparty": to_usd(row["amount"] - row["fee"]),
        "description": row["description"],
        "creator_id": row["creator"],
        "counterparty_id": row["counterparty"],
        "timeout_hours": (row["due_at"] - row["created_at"]) // (3_600 * MICROS),
        "created_at": to_iso(row["created_at"]),
        "auto_release_at": to_iso(row["due_at"]),
        "completed_at": changed if row["status"] in {"completed", "released"} else None,
        "released_at": changed if row["status"] == "released" else None,
        "disputed_at": changed if row["status"] == "disputed" else None,
    }
