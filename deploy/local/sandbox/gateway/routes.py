"""Which names of the gateway lead where: `GET {service}/{view}` and `POST {service}/{operation}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from deploy.local.sandbox.gateway.casino import CasinoFace
from deploy.local.sandbox.gateway.domains import DomainsFace
from deploy.local.sandbox.gateway.escrow import EscrowFace
from deploy.local.sandbox.gateway.faucet import FaucetFace
from deploy.local.sandbox.gateway.orders import OrdersFace
from deploy.local.sandbox.gateway.shapes import Body
from deploy.local.sandbox.gateway.swaps import SwapsFace
from deploy.local.sandbox.gateway.trading import TradingFace
from deploy.local.sandbox.gateway.transfers import TransfersFace
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
        transfers, orders, swaps = TransfersFace(books), OrdersFace(books), SwapsFace(books)
        self._views: dict[str, View] = {
            "casino/state": casino.state, "casino/bets": casino.bets, "casino/export": casino.export,
            "casino/audit": casino.audit, "casino/ledger": casino.ledger,
            "casino/withdrawals": transfers.withdrawals, "casino/deposits": transfers.deposits,
            "casino/daily-state": transfers.daily_state, "casino/referral": transfers.referral,
            "escrow/state": escrow.state, "escrow/get": escrow.get, "escrow/stats": escrow.stats,
            "faucet/state": faucet.state, "faucet/stats": faucet.stats,
            "trading/state": trading.state, "trading/positions": trading.positions,
            "trading/history": trading.history, "trading/orders": orders.orders,
            "domains/state": domains.state, "domains/search": domains.search, "domains/list": domains.list,
            "wallet/state": wallet.state, "wallet/balance": wallet.balance, "wallet/activity": swaps.activity,
            "wallet/swap-status": swaps.status,
        }  # fmt: skip
        self._operations: dict[str, Operation] = {
            "casino/register": casino.register, "casino/deposit": casino.deposit, "casino/bet": casino.bet,
            "casino/pay": transfers.pay, "casino/withdraw": transfers.withdraw, "casino/daily": transfers.daily,
            "escrow/create": escrow.create, "escrow/complete": escrow.complete, "escrow/release": escrow.release,
            "escrow/dispute": escrow.dispute,
            "faucet/claim": faucet.claim,
            "trading/deposit": trading.deposit, "trading/open": trading.open, "trading/close": trading.close,
            "trading/limit": orders.limit, "trading/cancel": orders.cancel,
            "domains/deposit": domains.deposit, "domains/register": domains.register, "domains/renew": domains.renew,
            "wallet/create": wallet.create, "wallet/deposit": wallet.deposit, "wallet/send": wallet.send,
            "wallet/swap": swaps.swap,
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
