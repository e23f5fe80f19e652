"""The escrow service's own routes: no prefix, the casino's key, no list."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.escrow import stats_json
from deploy.local.sandbox.gateway.shapes import Body, to_iso, to_usd
from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.escrow import Escrows
from deploy.local.sandbox.model.refusal import Refusal
from deploy.local.sandbox.own.route import RequestData, Route, read_route, write_route


class EscrowRoutes:
    """What the escrow service answers under its own address."""

    def __init__(self, books: Books) -> None:
        self._escrows = Escrows(books)

    def list_routes(self) -> Sequence[Route]:
        """The table."""
        return (
            write_route("/escrow/create", "create", self._create_escrow, status=201),
            write_route("/escrow/complete/{}", "complete", self._complete_escrow),
            write_route("/escrow/release/{}", "release", self._release_escrow),
            write_route("/escrow/dispute/{}", "dispute", self._dispute_escrow),
            read_route("/escrow/stats", "stats", lambda _who, _given: stats_json(self._escrows), public=True),
            read_route("/escrow/{}", "get", self._get_escrow, public=True),
        )

    def _create_escrow(self, who: str, given: RequestData) -> Body:
        row = self._escrows.create_escrow(
            who,
            inputs.read_text(given.body, "counterparty_agent_id", "invalid_counterparty"),
            inputs.read_micros(given.body, "amount_usd"),
            inputs.read_text(given.body, "description", "invalid_description"),
            inputs.read_integer(given.body, "timeout_hours", 24, "invalid_timeout"),
        )
        return _own_escrow_json(row)

    def _complete_escrow(self, who: str, given: RequestData) -> Body:
        row = translate_refusal(lambda: self._escrows.complete_escrow(who, given.places[0]))
        return {"escrow_id": row["escrow_id"], "status": row["status"], "auto_release_at": to_iso(row["due_at"])}

    def _release_escrow(self, who: str, given: RequestData) -> Body:
        row = translate_refusal(lambda: self._escrows.release_escrow(who, given.places[0]))
        return {
            "escrow_id": row["escrow_id"],
            "status": row["status"],
            "amount_released": to_usd(row["amount"] - row["fee"]),
            "commission": to_usd(row["fee"]),
            "referral_commission": 0,
            "counterparty_id": row["counterparty"],
        }

    def _dispute_escrow(self, who: str, given: RequestData) -> Body:
        row = translate_refusal(lambda: self._escrows.dispute_escrow(who, given.places[0]))
        return {"escrow_id": row["escrow_id"], "status": row["status"], "reason": "No reason provided"}

    def _get_escrow(self, _who: str, given: RequestData) -> Body:
        return _own_escrow_json(translate_refusal(lambda: self._escrows.get_escrow(given.places[0])))


def translate_refusal(act: Callable[[], Row]) -> Row:
    """The service's own codes for what the model refuses."""
    try:
        return act()
    except Refusal as refusal:
        if refusal.code == "escrow_not_found":
            raise Refusal(404, "not_found", "Escrow not found") from None
        if refusal.code in {"not_counterparty", "not_creator", "not_participant"}:
            raise Refusal(403, "forbidden", refusal.message) from None
        raise


def _own_escrow_json(row: Row) -> Body:
    return {
        "escrow_id": row["escrow_id"],
        "status": row["status"],
        "amount_usd": to_usd(row["amount"]),
        "commission_usd": to_usd(row["fee"]),
        "net_to_counterparty": to_usd(row["amount"] - row["fee"]),
        "description": row["description"],
        "creator_id": row["creator"],
        "counterparty_id": row["counterparty"],
        "created_at": to_iso(row["created_at"]),
        "auto_release_at": to_iso(row["due_at"]),
    }
