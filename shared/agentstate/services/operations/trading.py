"""Trading: no reference of ours is kept, so one order a coin is in flight, and the history before it is remembered.

At its own routes, rows come from the service, and money and fees from the venue behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, get_args

from agentstate.errors import ServiceAnswerInvalid
from agentstate.money.amounts import Money, parse_money
from agentstate.money.effects.operation import Intent
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown, Verdict
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.own_request import OwnRequest, add_own_paths, own_view
from agentstate.services.operations.accounts import TradingDeposit, TradingJoin
from agentstate.services.operations.base import NO_BASELINE, ServiceOperation
from agentstate.services.operations.fields import Dollars, Range, Text
from agentstate.services.operations.names import Service
from agentstate.services.operations.receipts import NOTHING, Receipt
from agentstate.services.operations.trading_orders import Cancel, Coin, Limit, Side
from agentstate.services.wire import Answer, Body, decode_json, wire_amount

COINS: Final[tuple[Coin, ...]] = get_args(Coin)
SIDES: Final[tuple[Side, ...]] = get_args(Side)
HISTORY_ROWS: Final = 200
VENUE: Final = "hyperliquid"
"""The only `source` whose silence proves anything; the service falls back to its own rows without an error."""

SETTLE_S: Final = 60.0
LOT_SHARE: Final = Decimal("0.02")
LOT_DOLLARS: Final = Decimal(2)
"""A size is cut to whole lots, so the position is smaller than what was asked for by up to this much."""

CLOSE_WINDOW_MS: Final = 3_000
"""How far the service's time of closing and the venue's may be apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionReceipt(Receipt):
    """An open position: only the fee has left the balance, the margin is tied up."""

    coin: str
    side: str
    notional: Money
    margin: Money
    entry_price: Decimal


@dataclass(frozen=True, kw_only=True)
class Open(ServiceOperation[PositionReceipt]):
    """Open a position of `size` dollars."""

    name = "trading.open"
    guarantee = Guarantee.VERIFIABLE
    settle_window_s = SETTLE_S
    refusals = frozenset(
        {
            "invalid_coin", "invalid_side", "invalid_size", "invalid_amount", "invalid_leverage",
            "position_too_large", "daily_loss_limit_reached", "wallet_not_configured", "insufficient_balance",
        }
    )  # fmt: skip

    coin: Coin
    side: Side
    size: Dollars
    leverage: Annotated[int, Range(1, 50)] = 1

    def build_body(self, tag: str) -> Body:
        """Return the order; the tag travels in the header alone, since the service keeps no reference."""
        del tag
        return {"coin": self.coin, "side": self.side, "size_usd": wire_amount(self.size), "leverage": self.leverage}

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`POST trade/open`; the fee is the venue's."""
        answer = await request.send_operation("trade/open", body)
        return {**answer, "fee_usd": fill_of_order(await _read_own_fills(request), answer.get("hl_order_id")).fee}

    def read_receipt(self, answer: Answer) -> PositionReceipt:
        """Debit the fee alone; the margin is tied up."""
        fee = answer.get_money("fee_usd")
        return PositionReceipt(
            reference=answer.get_text("position_id"),
            debited=fee,
            fee=fee,
            coin=answer.get_text("coin"),
            side=answer.get_text("side"),
            notional=answer.get_money("size_usd"),
            margin=answer.get_money("margin_used"),
            entry_price=answer.get_number("entry_price"),
            raw=answer.body,
        )

    def serial_key(self) -> str:
        """Return a key of the coin: one order a coin at a time."""
        return f"trading:{self.coin}"

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return the newest positions before the call, in the service's own time."""
        _, rows = _read_history(outside, agent_id)
        newest = max((row.get_text("opened_at") for row in rows), default="")
        ids = [row.get_text("position_id") for row in rows if row.get_text("opened_at") == newest]
        return {"newest": newest, "ids": ids}

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look for exactly one new position that fits the order."""
        source, rows = _read_history(outside, intent.agent_id)
        if source != VENUE:
            return Unknown(f"the history comes from {source}, not from the venue", settles_in_s=SETTLE_S)
        if intent.baseline is None:
            return Unknown(NO_BASELINE)
        newest, ids = intent.baseline["newest"], intent.baseline["ids"]
        new = [
            row
            for row in rows
            if (opened := row.get_text("opened_at")) > newest
            or (opened == newest and row.get_text("position_id") not in ids)
        ]
        fitting = [row for row in new if self._matches_row(row)]
        return self.match_only_one(outside, intent, fitting, "position", all_shown=len(new) < HISTORY_ROWS)

    def _matches_row(self, row: Answer) -> bool:
        """Return whether coin, side and leverage are the order's, and the size is smaller by at most a lot."""
        size = parse_money(self.size)
        try:
            gap = size - row.get_money("size_usd")
        except ServiceAnswerInvalid:
            return False
        allowed = Money(max(size.amount * LOT_SHARE, LOT_DOLLARS), rounding="half_even")
        same = (row.get("coin"), row.get("side"), row.get("leverage")) == (self.coin, self.side, self.leverage)
        return same and NOTHING <= gap <= allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseReceipt(Receipt):
    """A closed position: `profit` (below zero for a loss) and the fee have moved."""

    profit: Money
    exit_price: Decimal


@dataclass(frozen=True, kw_only=True)
class Close(ServiceOperation[CloseReceipt]):
    """Close a position."""

    name = "trading.close"
    guarantee = Guarantee.VERIFIABLE
    settle_window_s = SETTLE_S
    refusals = frozenset({"position_not_found", "position_not_open"})
    already = frozenset({"position_not_found", "position_not_open"})
    reference = "position id"
    serial = "trading:close"  # closing one position can close others of its coin.

    position_id: Text

    def build_body(self, tag: str) -> Body:
        """Return the position's id."""
        del tag
        return {"position_id": self.position_id}

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`POST trade/close`; profit and fee are the venue's."""
        answer = await request.send_operation("trade/close", body)
        fill = fill_of_order(await _read_own_fills(request), answer.get("hl_order_id"))
        return {**answer, **_close_figures(fill)}

    def read_receipt(self, answer: Answer) -> CloseReceipt:
        """Credit a profit; debit a loss and the fee."""
        profit, fee = answer.get_money("realized_pnl"), answer.get_money("close_fee_usd")
        return CloseReceipt(
            reference=answer.get_text("position_id"),
            debited=max(-profit, NOTHING) + fee,
            credited=max(profit, NOTHING),
            fee=fee,
            profit=profit,
            exit_price=answer.get_number("exit_price"),
            raw=answer.body,
        )

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return whether the position was open before the call, so that another's closing is not taken for ours.

        None for one that the history, which shows the newest alone, does not reach.
        """
        _, rows = _read_history(outside, agent_id)
        own = [row for row in rows if row.get("position_id") == self.position_id]
        return {"open": own[0].get_text("status") == "open" if own else None}

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look at the position's own row."""
        if intent.baseline is not None and intent.baseline["open"] is False:
            return Absent("the position was not open before this call, which was therefore refused")
        source, rows = _read_history(outside, intent.agent_id)
        if source != VENUE:
            return Unknown(f"the history comes from {source}, not from the venue", settles_in_s=SETTLE_S)
        own = [row for row in rows if row.get("position_id") == self.position_id]
        if not own:
            return Unknown(f"the position is not among the newest {HISTORY_ROWS}; look at the trading service")
        if own[0].get_text("status") == "closed":
            return Applied(self.read_receipt(own[0]))
        return self.absent_if_settled(outside, intent, "the position is still open")


def _read_history(outside: Gateway, agent_id: str) -> tuple[str, list[Answer]]:
    answer = Answer(outside.read(agent_id, Service.TRADING, "history", limit=str(HISTORY_ROWS)))
    return answer.get_text("source"), answer.get_items("trades")


# The exchange behind trading knows the money exactly, where the trading service only estimates in cents.


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueAccount:
    """An account at the venue, in dollars: its value, the margin in use, and the gains of open positions."""

    value: Decimal
    margin: Decimal
    unrealized: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """The result of one order; `at_ms` milliseconds since 1970."""

    order: str
    coin: str
    price: Decimal
    fee: Decimal
    profit: Decimal
    closes: bool
    at_ms: int


async def read_account(request: OwnRequest, address: str) -> VenueAccount:
    """Return the account of an address."""
    query = {"type": "clearinghouseState", "user": address}
    state = Answer(decode_json(await request.query_public("venue", "info", query)))
    summary = state.get_object("marginSummary")
    gains = [entry.get_object("position").get_number("unrealizedPnl") for entry in state.get_items("assetPositions")]
    return VenueAccount(
        value=summary.get_number("accountValue"),
        margin=summary.get_number("totalMarginUsed"),
        unrealized=sum(gains, Decimal(0)),
    )


async def read_fills(request: OwnRequest, address: str) -> list[Fill]:
    """Return the newest fills, one for each order."""
    content = await request.query_public("venue", "info", {"type": "userFills", "user": address})
    if content.lstrip()[:1] == b"[":  # the venue answers with a bare list
        content = b'{"fills":' + content + b"}"
    parts_by_order: dict[str, list[Answer]] = {}
    for row in Answer(decode_json(content)).get_items("fills"):
        parts_by_order.setdefault(str(row.get("oid")), []).append(row)
    return [
        Fill(
            order=order,
            coin=parts[0].get_text("coin"),
            price=parts[0].get_number("px"),
            fee=sum((part.get_number("fee") for part in parts), Decimal(0)),
            profit=sum((part.get_number("closedPnl") for part in parts), Decimal(0)),
            closes=parts[0].get_text("dir").startswith("Close"),
            at_ms=int(parts[0].get_number("time")),
        )
        for order, parts in parts_by_order.items()
    ]


def fill_of_order(fills: Sequence[Fill], order: object) -> Fill:
    """Return the fill of an order; raises ServiceAnswerInvalid when the venue does not show one yet."""
    for fill in fills:
        if fill.order == str(order):
            return fill
    raise ServiceAnswerInvalid(f"the venue shows no fill of order {str(order)[:40]!r} yet.")


@own_view("trading", "state")
async def read_own_state(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """`GET auth/account` and `trade/positions`, and the account at the venue."""
    account, positions = await asyncio.gather(request.read_json("auth/account"), request.read_json("trade/positions"))
    venue = await read_account(request, _wallet_address(account))
    return {
        **request.rename_account(account),
        "balance_usd": venue.value - venue.unrealized,
        "equity_usd": venue.value,
        "margin_used": venue.margin,
        "positions": positions.get("positions"),
        "source": Answer(positions).get_text("source"),
    }


@own_view("trading", "history")
async def read_own_history(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """Read the service's newest 50 rows, each with the venue's figures of its fills; `source` as the venue answers."""
    rows, present, fills = await asyncio.gather(
        request.read_json("trade/positions", status="all"),
        request.read_json("trade/positions"),
        _read_own_fills(request),
    )
    trades = [_build_trade(row, fills) for row in Answer(rows).get_items("positions")]
    return {"trades": trades, "source": Answer(present).get_text("source")}


async def _read_own_fills(request: OwnRequest) -> list[Fill]:
    return await read_fills(request, _wallet_address(await request.read_json("auth/account")))


def _wallet_address(account: Body) -> str:
    return Answer(account).get_object("hl_wallet").get_text("address")


def _build_trade(row: Answer, fills: Sequence[Fill]) -> Body:
    """Translate a raw row into the gateway's words; figures that the venue lacks are left out, never invented."""
    trade: Body = {
        "position_id": row.get_text("id"),
        "status": row.get_text("status"),
        "coin": row.get_text("coin"),
        "side": row.get_text("side"),
        "size_usd": row.get_number("sizeUsd"),
        "entry_price": row.get_number("entryPrice"),
        "leverage": row.get("leverage"),
        "margin_used": row.get_number("marginUsed"),
        "opened_at": datetime.fromtimestamp(int(row.get_number("openedAt")), UTC).isoformat(),
    }
    opening = [fill for fill in fills if fill.order == str(row.get("hlOrderId"))]
    trade |= {"fee_usd": opening[0].fee} if opening else {}
    if trade["status"] != "closed":
        return trade
    at_ms = int(row.get_number("closedAt")) * 1_000
    near = [fill for fill in fills if fill.closes and abs(fill.at_ms - at_ms) <= CLOSE_WINDOW_MS]
    closing = [fill for fill in near if fill.coin == trade["coin"]]
    return trade | (_close_figures(closing[0]) if len(closing) == 1 else {})


def _close_figures(fill: Fill) -> Body:
    return {"realized_pnl": fill.profit, "close_fee_usd": fill.fee, "exit_price": fill.price}


add_own_paths("trading", {"positions": "trade/positions"})

open = Open  # noqa: A001 users write `trading.open(...)`
close = Close
limit = Limit
cancel = Cancel
join = TradingJoin
deposit = TradingDeposit
