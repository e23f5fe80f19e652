"""The escrow service's own routes: no prefix, the casino's key, no list."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.escrow import escrow_stats
from deploy.local.sandbox.gateway.shapes import Body, iso, usd
from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.escrow import Escrows
from deploy.local.sandbox.model.refusal import Refusal
from deploy.local.sandbox.own.route import Given, Route, read, write


class EscrowRoutes:
    """What the escrow service answers under its own address."""

    def __init__(self, books: Books) -> None:
        self._escrows = Escrows(books)

    def routes(self) -> Sequence[Route]:
        """The table."""
        return (
            write("/escrow/create", "create", self._create, status=201),
            write("/escrow/complete/{}", "complete", self._complete),
            write("/escrow/release/{}", "release", self._release),
            write("/escrow/dispute/{}", "dispute", self._dispute),
            read("/escrow/stats", "stats", lambda _who, _given: escrow_stats(self._escrows), public=True),
            read("/escrow/{}", "get", self._get, public=True),
        )

    def _create(self, who: str, given: Given) -> Body:
        row = self._escrows.create(
            who,
            inputs.text(given.body, "counterparty_agent_id", "invalid_counterparty"),
            inputs.micros(given.body, "amount_usd"),
            inputs.text(given.body, "description", "invalid_description"),
            inputs.whole(given.body, "timeout_hours", 24, "invalid_timeout"),
        )
        return _shown(row)

    def _complete(self, who: str, given: Given) -> Body:
        row = _known(lambda: self._escrows.complete(who, given.places[0]))
        return {"escrow_id": row["escrow_id"], "status": row["status"], "auto_release_at": iso(row["due_at"])}

    def _release(self, who: str, given: Given) -> Body:
        row = _known(lambda: self._escrows.release(who, given.places[0]))
        return {
            "escrow_id": row["escrow_id"],
            "status": row["status"],
            "amount_released": usd(row["amount"] - row["fee"]),
            "commission": usd(row["fee"]),
            "referral_commission": 0,
            "counterparty_id": row["counterparty"],
        }

    def _dispute(self, who: str, given: Given) -> Body:
        row = _known(lambda: self._escrows.dispute(who, given.places[0]))
        return {"escrow_id": row["escrow_id"], "status": row["status"], "reason": "No reason provided"}

    def _get(self, _who: str, given: Given) -> Body:
        return _shown(_known(lambda: self._escrows.get(given.places[0])))


def _known(act: Callable[[], Row]) -> Row:
    """The service's own codes for what the model refuses."""
    try:
        return act()
    except Refusal as refusal:
        if refusal.code == "escrow_not_found":
            raise Refusal(404, "not_found", "Escrow not found") from None
        if refusal.code in {"not_counterparty", "not_creator", "not_participant"}:
            raise Refusal(403, "forbidden", refusal.message) from None
        raise


def _shown(row: Row) -> Body:
    return {
        "escrow_id": row["escrow_id"],
        "status": row["status"],
        "amount_usd": usd(row["amount"]),
        "commission_usd": usd(row["fee"]),
        "net_to_counterparty": usd(row["amount"] - row["fee"]),
        "description": row["description"],
        "creator_id": row["creator"],
        "counterparty_id": row["counterparty"],
        "created_at": iso(row["created_at"]),
        "auto_release_at": iso(row["due_at"]),
    }
