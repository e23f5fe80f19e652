"""Which names of the gateway lead where: `GET {service}/{view}` and `POST {service}/{operation}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from deploy.local.sandbox.gateway.casino import CasinoHandler
from deploy.local.sandbox.gateway.domains import DomainsHandler
from deploy.local.sandbox.gateway.escrow import EscrowHandler
from deploy.local.sandbox.gateway.faucet import FaucetHandler
from deploy.local.sandbox.gateway.orders import OrdersHandler
from deploy.local.sandbox.gateway.shapes import Body
from deploy.local.sandbox.gateway.swaps import SwapsHandler
from deploy.local.sandbox.gateway.trading import TradingHandler
from deploy.local.sandbox.gateway.transfers import TransfersHandler
from deploy.local.sandbox.gateway.wallet import WalletHandler
from deploy.local.sandbox.model.books import Books
from deploy.local.sandbox.model.refusal import Refusal

View: TypeAlias = Callable[[str, Mapping[str, str]], Body]
Operation: TypeAlias = Callable[[str, Mapping[str, Any]], Body]

CREATES = {"escrow/create", "domains/register"}
"""Operations that answer 201."""


class GatewayRoutes:
    """The gateway's table of routes over one set of books."""

    def __init__(self, books: Books) -> None:
        casino, escrow, faucet = CasinoHandler(books), EscrowHandler(books), FaucetHandler(books)
        trading, domains, wallet = TradingHandler(books), DomainsHandler(books), WalletHandler(books)
        transfers, orders, swaps = TransfersHandler(books), OrdersHandler(books), SwapsHandler(books)
        self._views: dict[str, View] = {
            "casino/state": casino.read_state, "casino/bets": casino.list_bets, "casino/export": casino.export_bets,
            "casino/audit": casino.audit_bet, "casino/ledger": casino.list_ledger,
            "casino/withdrawals": transfers.list_withdrawals, "casino/deposits": transfers.list_deposits,
            "casino/daily-state": transfers.read_daily_state, "casino/referral": transfers.read_referral,
            "escrow/state": escrow.read_state, "escrow/get": escrow.get_escrow, "escrow/stats": escrow.read_stats,
            "faucet/state": faucet.read_state, "faucet/stats": faucet.read_stats,
            "trading/state": trading.read_state, "trading/positions": trading.list_positions,
            "trading/history": trading.list_history, "trading/orders": orders.list_orders,
            "domains/state": domains.read_state, "domains/search": domains.search_domain,
            "domains/list": domains.list_domains,
            "wallet/state": wallet.read_state, "wallet/balance": wallet.read_balance,
            "wallet/activity": swaps.list_activity,
            "wallet/swap-status": swaps.read_swap_status,
        }  # fmt: skip
        self._operations: dict[str, Operation] = {
            "casino/register": casino.register_agent, "casino/deposit": casino.deposit_money,
            "casino/bet": casino.place_bet,
            "casino/pay": transfers.pay_agent, "casino/withdraw": transfers.withdraw_money,
            "casino/daily": transfers.claim_daily_bonus,
            "escrow/create": escrow.create_escrow, "escrow/complete": escrow.complete_escrow,
            "escrow/release": escrow.release_escrow,
            "escrow/dispute": escrow.dispute_escrow,
            "faucet/claim": faucet.claim_dollar,
            "trading/deposit": trading.deposit_money, "trading/open": trading.open_position,
            "trading/close": trading.close_position,
            "trading/limit": orders.place_order, "trading/cancel": orders.cancel_order,
            "domains/deposit": domains.deposit_money, "domains/register": domains.register_domain,
            "domains/renew": domains.renew_domain,
            "wallet/create": wallet.create_address, "wallet/deposit": wallet.deposit_money,
            "wallet/send": wallet.send_usdc,
            "wallet/swap": swaps.order_swap,
        }  # fmt: skip

    def find_view(self, path: str) -> View:
        """What answers `GET path`."""
        return _look_up(self._views, path)

    def find_operation(self, path: str) -> Operation:
        """What answers `POST path`."""
        return _look_up(self._operations, path)


def _look_up(table: Mapping[str, Callable[[str, Any], Body]], path: str) -> Callable[[str, Any], Body]:
    if path not in table:
        raise Refusal(404, "not_found", f"There is no {path}.")
    return table[path]
