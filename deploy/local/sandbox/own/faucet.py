"""The faucet's own routes: no key, the agent in the body, no state."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.faucet import FaucetFace
from deploy.local.sandbox.gateway.shapes import Body
from deploy.local.sandbox.model.books import Books
from deploy.local.sandbox.own.route import Given, Route, read, write


class FaucetRoutes:
    """What the faucet answers under its own address."""

    def __init__(self, books: Books) -> None:
        self._face = FaucetFace(books)

    def routes(self) -> Sequence[Route]:
        """The table."""
        return (
            write("/faucet/claim", "claim", self._claim, public=True),
            read("/faucet/stats", "stats", lambda who, given: self._face.stats(who, given.query), public=True),
        )

    def _claim(self, _who: str, given: Given) -> Body:
        return self._face.claim(inputs.text(given.body, "agent_casino_id"), given.body)
