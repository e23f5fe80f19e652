"""The faucet's own routes: no key, the agent in the body, no state."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.faucet import FaucetHandler
from deploy.local.sandbox.gateway.shapes import Body
from deploy.local.sandbox.model.books import Books
from deploy.local.sandbox.own.route import RequestData, Route, read_route, write_route


class FaucetRoutes:
    """What the faucet answers under its own address."""

    def __init__(self, books: Books) -> None:
        self._face = FaucetHandler(books)

    def list_routes(self) -> Sequence[Route]:
        """The table."""
        return (
            write_route("/faucet/claim", "claim", self._claim_dollar, public=True),
            read_route(
                "/faucet/stats", "stats", lambda who, given: self._face.read_stats(who, given.query), public=True
            ),
        )

    def _claim_dollar(self, _who: str, given: RequestData) -> Body:
        return self._face.claim_dollar(inputs.read_text(given.body, "agent_casino_id"), given.body)
