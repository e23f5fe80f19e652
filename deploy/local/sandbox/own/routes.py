"""All routes of the services' own dialect, by service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deploy.local.sandbox.model.books import Books
from deploy.local.sandbox.own.casino import CasinoRoutes
from deploy.local.sandbox.own.domains import DomainRoutes
from deploy.local.sandbox.own.escrow import EscrowRoutes
from deploy.local.sandbox.own.faucet import FaucetRoutes
from deploy.local.sandbox.own.route import Route
from deploy.local.sandbox.own.trading import TradingRoutes
from deploy.local.sandbox.own.venue import VenueRoutes
from deploy.local.sandbox.own.wallet import WalletRoutes


def own_routes(books: Books) -> Mapping[str, Sequence[Route]]:
    """The routes by service; `venue` stands for the exchange behind trading."""
    return {
        "casino": CasinoRoutes(books).list_routes(),
        "escrow": EscrowRoutes(books).list_routes(),
        "faucet": FaucetRoutes(books).list_routes(),
        "trading": TradingRoutes(books).list_routes(),
        "venue": VenueRoutes(books).list_routes(),
        "wallet": WalletRoutes(books).list_routes(),
        "domains": DomainRoutes(books).list_routes(),
    }
