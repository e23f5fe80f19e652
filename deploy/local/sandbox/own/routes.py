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


def faces(books: Books) -> Mapping[str, Sequence[Route]]:
    """The routes by service; `venue` stands for the exchange behind trading."""
    return {
        "casino": CasinoRoutes(books).routes(),
        "escrow": EscrowRoutes(books).routes(),
        "faucet": FaucetRoutes(books).routes(),
        "trading": TradingRoutes(books).routes(),
        "venue": VenueRoutes(books).routes(),
        "wallet": WalletRoutes(books).routes(),
        "domains": DomainRoutes(books).routes(),
    }
