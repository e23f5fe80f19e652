"""Which names of the gateway lead where: `GET {service}/{view}` and `POST {service}/{operation}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from deploy.local.sandbox.gateway.casino import CasinoFace
from deploy.local.sandbox.gateway.domains import DomainsFace
from deploy.local.sandbox.gateway.escrow import EscrowFace
from deploy.local.sandbox.gateway.faucet import FaucetFace
from deploy.local.sandbox.gateway.shapes import Body
from deploy.local.sandbox.gateway.trading import TradingFace
from deploy.local.sandbox.gateway.wallet import WalletFace
from deploy.local.sandbox.model.books import Books
from deploy.local.sandbox.model.refusal import Refusal

View: TypeAlias = Callable[[str, Mapping[str, str]], Body]
Operation: TypeAlias = Callable[[str, Mapping[str, Any]], Body]

CREATES = {"escrow/create", "domains/register"}
"""Operations that answer 201."""


class Routes:
    """The gateway's table of routes over one set of books."""

    def __init__(self, books: Books) -> None:
        casino, escrow, faucet = CasinoFace(books), EscrowFace(books), FaucetFace(books)
        trading, domains, wallet = TradingFace(books), DomainsFace(books), WalletFace(books)
        self._views: dict[str, View] = {
            "casino/state": casino.state, "casino/bets": casino.bets, "casino/export": casino.export,
            "casino/audit": casino.audit, "casino/ledger": casino.ledger,
            "escrow/state": escrow.state, "escrow/get": escrow.get,
            "faucet/state": faucet.state,
            "trading/state": trading.state, "trading/positions": trading.positions,
            "trading/history": trading.history,
            "domains/state": domains.state, "domains/search": domains.search, "domains/list": domains.list,
            "wallet/state": wallet.state, "wallet/balance": wallet.balance,
        }  # fmt: skip
        self._operations: dict[str, Operation] = {
            "casino/register": casino.register, "casino/deposit": casino.deposit, "casino/bet": casino.bet,
            "escrow/create": escrow.create, "escrow/complete": escrow.complete, "escrow/release": escrow.release,
            "escrow/dispute": escrow.dispute,
            "faucet/claim": faucet.claim,
            "trading/deposit": trading.deposit, "trading/open": trading.open, "trading/close": trading.close,
            "domains/deposit": domains.deposit, "domains/register": domains.register,
            "wallet/create": wallet.create, "wallet/deposit": wallet.deposit, "wallet/send": wallet.send,
        }  # fmt: skip

    def view(self, path: str) -> View:
        """What answers `GET path`."""
        return _found(self._views, path)

    def operation(self, path: str) -> Operation:
        """What answers `POST path`."""
        return _found(self._operations, path)


def _found(table: Mapping[str, Callable[[str, Any], Body]], path: str) -> Callable[[str, Any], Body]:
    if path not in table:
        raise Refusal(404, "not_found", f"There is no {path}.")
    return table[path]
