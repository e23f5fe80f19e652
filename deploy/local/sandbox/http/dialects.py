"""The two dialects: `/api/v1/{service}/{name}` of the unified gateway, and the services' own `/own/{service}/...`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from deploy.local.sandbox.http.casino import CasinoHandler, CasinoRoutes, TransfersHandler
from deploy.local.sandbox.http.domains import DomainRoutes, DomainsHandler
from deploy.local.sandbox.http.escrow import EscrowHandler, EscrowRoutes
from deploy.local.sandbox.http.faucet import FaucetHandler, FaucetRoutes
from deploy.local.sandbox.http.route import RequestData, Route, find_route
from deploy.local.sandbox.http.serving import Answer, Parts, ServiceHandler, ServiceRequest, refusal_answer
from deploy.local.sandbox.http.trading import OrdersHandler, TradingHandler, TradingRoutes, VenueRoutes
from deploy.local.sandbox.http.values import Body
from deploy.local.sandbox.http.wallet import SwapsHandler, WalletHandler, WalletRoutes
from deploy.local.sandbox.model.books import Books, Refusal
from deploy.local.sandbox.model.funding import Keys

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
            "trading/fills": trading.list_fills,
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
        """Return the handler of `GET path`."""
        return _look_up(self._views, path)

    def find_operation(self, path: str) -> Operation:
        """Return the handler of `POST path`."""
        return _look_up(self._operations, path)


def _look_up(table: Mapping[str, Callable[[str, Any], Body]], path: str) -> Callable[[str, Any], Body]:
    if path not in table:
        raise Refusal(404, "not_found", f"There is no {path}.")
    return table[path]


KEY_PREFIX = "Bearer pf_"


class GatewayHandler(ServiceHandler):
    """`/api/v1/{service}/{name}`."""

    def initialize(self, parts: Parts, **others: Any) -> None:
        """Take the parts of the process (Tornado hands them in)."""
        super().initialize(parts)
        self._routes: GatewayRoutes = others["routes"]

    async def get(self, service: str, name: str) -> None:
        """Read something."""
        query = self.read_query()
        agent_id = query.get("agent_id", "")

        def act() -> Answer:
            view = self._routes.find_view(f"{service}/{name}")
            return 200, view(_require_agent_id(agent_id), query)

        await self._serve_authorized(service, name, agent_id, act, reads=True)

    async def post(self, service: str, name: str) -> None:
        """Do something."""
        body = self.read_body()
        given = body or {}
        agent_id, key, path = str(given.get("agent_id", "")), self.read_request_key(given), f"{service}/{name}"

        def act() -> Answer:
            if body is None:
                raise Refusal(400, "invalid_json", "The body is a JSON object.")
            operation = self._routes.find_operation(path)
            answer = self.answer_once(_require_agent_id(agent_id), path, key, lambda: operation(agent_id, body))
            return 201 if path in CREATES else 200, answer

        await self._serve_authorized(service, name, agent_id, act, key=key)

    async def _serve_authorized(
        self, service: str, name: str, agent_id: str, act: Callable[[], Answer], *, reads: bool = False, key: str = ""
    ) -> None:
        if not self.request.headers.get("Authorization", "").startswith(KEY_PREFIX):
            self.write_answer(
                401, {"error": "unauthorized", "message": "A key that begins with pf_ is needed."}, service
            )
            return
        path = f"{service}/{name}"
        await self.serve_request(
            ServiceRequest(service=service, name=name, agent_id=agent_id, act=act, path=path, reads=reads, key=key)
        )

    def answer_once(self, agent_id: str, path: str, key: str, act: Callable[[], Body]) -> Body:
        """Honour an idempotency key when the switch says so, and ignore it as the real services do otherwise."""
        if not key or not self._books.read_switch("idempotency_keys", default=False):
            return act()
        where = (agent_id, path, key)
        sql = "SELECT body FROM answers WHERE agent_id = ? AND route = ? AND request_key = ?"
        stored = self._books.query_row(sql, *where)
        if stored is not None:
            body: Body = json.loads(stored["body"])
            return body
        answer = act()
        self._books.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", *where, json.dumps(answer))
        return answer


def _require_agent_id(agent_id: str) -> str:
    if not agent_id:
        raise Refusal(400, "invalid_request", "agent_id is missing.")
    return agent_id


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


class OwnHandler(ServiceHandler):
    """`/own/{service}/...`."""

    def initialize(self, parts: Parts, **others: Any) -> None:
        """Take the parts of the process (Tornado hands them in)."""
        super().initialize(parts)
        self._faces: Mapping[str, Sequence[Route]] = others["faces"]
        self._keys = Keys(self._books)

    async def get(self, service: str, path: str) -> None:
        """Read something."""
        await self._serve_route(service, path)

    async def post(self, service: str, path: str) -> None:
        """Do something."""
        await self._serve_route(service, path)

    async def delete(self, service: str, path: str) -> None:
        """Take something back."""
        await self._serve_route(service, path)

    async def _serve_route(self, service: str, path: str) -> None:
        try:
            route, places = find_route(self._faces.get(service, ()), self.request.method or "", path)
            account = "" if route.public else self._find_account(service)
        except Refusal as refusal:
            self.write_answer(*refusal_answer(refusal), service)
            return
        body = self.read_body()
        given = RequestData(places=places, query=self.read_query() if route.reads else {}, body=body or {})

        def act() -> Answer:
            if body is None:
                raise Refusal(400, "invalid_json", "The body is a JSON object.")
            return route.status, route.act(account, given)

        whose = account or str(given.body.get("agent_casino_id", ""))
        asked = ServiceRequest(
            service=service,
            name=route.name,
            agent_id=whose,
            act=act,
            path=f"{service}{path}",
            reads=route.reads,
            key=self.read_request_key(dict(given.body)),
        )
        await self.serve_request(asked)

    def _find_account(self, service: str) -> str:
        scheme, _, key = self.request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            raise Refusal(401, "unauthorized", "Authorization: Bearer KEY is needed.")
        return self._keys.find_account(service, key)
