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
from agentstate.services.operations.trading_orders import Cancel, Coin, Limit, Side, is_resting, plain_coin
from agentstate.services.wire import Answer, Body, decode_json, wire_amount

COINS: Final[tuple[str, ...]] = ("BTC", "ETH", "SOL")
"""Three of the markets that the service lists."""

SIDES: Final[tuple[Side, ...]] = get_args(Side)
HISTORY_ROWS: Final = 50
VENUE: Final = "hyperliquid"
"""The only `source` whose silence proves anything; the service falls back to its own rows without an error."""

SETTLE_S: Final = 60.0
MOST_FILLED: Final = Decimal("2.1")
"""A size is rounded to the nearest whole lot, so the position may be up to twice what was asked for."""

CLOSE_WINDOW_MS: Final = 3_000
"""How far the service's time of closing and the venue's may be apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionReceipt(Receipt):
    """An open position: only the fee has left the balance, the margin is tied up.

    `notional` and `leverage` are the real ones: the service rounds the size to the nearest lot, and cuts the leverage
    to the account's limit.
    """

    coin: str
    side: str
    notional: Money
    margin: Money
    entry_price: Decimal
    leverage: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Open(ServiceOperation[PositionReceipt]):
    """Open a position of about `size` dollars: the service rounds to the nearest lot of the market."""

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
            leverage=answer.get_number("leverage"),
            raw=answer.body,
        )

    def serial_key(self) -> str:
        """Return a key of the coin: one order a coin at a time."""
        return f"trading:{plain_coin(self.coin)}"

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return the newest positions and fills before the call, and the orders of the coin that rest."""
        _, rows = _read_history(outside, agent_id)
        newest = max((row.get_text("opened_at") for row in rows), default="")
        ids = [row.get_text("position_id") for row in rows if row.get_text("opened_at") == newest]
        orders = self.read_view(outside, agent_id, "orders").get_items("orders")
        resting = [row.get_text("order_id") for row in orders if _is_of_coin(row, self.coin) and is_resting(row)]
        marks = _mark_fills(self.read_fills(outside, agent_id), rows)
        return {"newest": newest, "ids": ids, "resting": resting, **marks}

    def read_fills(self, outside: Gateway, agent_id: str) -> list[Answer]:
        """Return the newest fills that the venue shows."""
        return self.read_view(outside, agent_id, "fills").get_items("fills")

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Judge by the venue: absent only when it shows no fill of the coin, and the service no position, since.

        The service may answer `trade_failed` after the venue filled the order, and then has no row of it.
        """
        source, rows = _read_history(outside, intent.agent_id)
        if source != VENUE:
            return Unknown(f"the history comes from {source}, not from the venue", settles_in_s=SETTLE_S)
        baseline = intent.baseline
        if baseline is None:
            return NO_BASELINE
        own = [row for row in rows if _is_of_coin(row, self.coin)]
        new = [
            row
            for row in own
            if (opened := row.get_text("opened_at")) > baseline["newest"]
            or (opened == baseline["newest"] and row.get_text("position_id") not in baseline["ids"])
        ]
        fills = _new_fills(self.read_fills(outside, intent.agent_id), baseline, self.coin)
        unexplained = _unexplained_fills(fills, own, baseline)
        filled_by_itself = self._count_filled(outside, intent)
        fitting = [row for row in new if self._matches_row(row)]
        if len(new) == len(fitting) == 1 and not unexplained and not filled_by_itself and len(rows) < HISTORY_ROWS:
            return Applied(self.read_receipt(fitting[0]))
        if new or unexplained or filled_by_itself or len(new) >= HISTORY_ROWS:
            return self.unknown_for_good(
                outside,
                intent,
                f"since before the call there are {len(new)} new positions in {self.coin} ({len(fitting)} fit), "
                f"{len(unexplained)} fills without a position, and {filled_by_itself} resting orders that filled; "
                "look at the venue",
            )
        return self.absent_if_settled(outside, intent, f"no new position and no fill in {self.coin} is there")

    def _count_filled(self, outside: Gateway, intent: Intent) -> int:
        resting = frozenset(intent.baseline.get("resting", ()))
        if not resting:
            return 0
        orders = self.read_view(outside, intent.agent_id, "orders").get_items("orders")
        return sum(row.get("status") == "filled" and row.get("order_id") in resting for row in orders)

    def _matches_row(self, row: Answer) -> bool:
        """Return whether side and leverage can be the order's, and the size what rounding makes of it."""
        try:
            size, leverage = row.get_money("size_usd"), row.get_number("leverage")
        except ServiceAnswerInvalid:
            return False
        most = parse_money(self.size).amount * MOST_FILLED
        return row.get("side") == self.side and 1 <= leverage <= self.leverage and 0 < size.amount <= most


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
    refusals = frozenset({"position_not_found"})
    already = frozenset({"position_not_found"})
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
        """Return whether the position was open before the call, and the newest fills.

        `open` is None for a position that the history, which shows the newest alone, does not reach.
        """
        _, rows = _read_history(outside, agent_id)
        own = [row for row in rows if row.get("position_id") == self.position_id]
        is_open = own[0].get_text("status") == "open" if own else None
        return {"open": is_open, **_mark_fills(self.read_view(outside, agent_id, "fills").get_items("fills"), rows)}

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look at the position's own row, and at the venue: the service may deny a close that the venue did."""
        if intent.baseline is not None and intent.baseline["open"] is False:
            return Absent("the position was not open before this call, which was therefore refused")
        source, rows = _read_history(outside, intent.agent_id)
        if source != VENUE:
            return Unknown(f"the history comes from {source}, not from the venue", settles_in_s=SETTLE_S)
        own = next((row for row in rows if row.get("position_id") == self.position_id), None)
        if own is None:
            return self.unknown_for_good(outside, intent, f"the position is not among the newest {HISTORY_ROWS}")
        if own.get_text("status") == "closed" and own.get("realized_pnl") is not None:
            return Applied(self.read_receipt(own))
        return self._judge_by_fills(outside, intent, own, rows)

    def _judge_by_fills(self, outside: Gateway, intent: Intent, own: Answer, rows: Sequence[Answer]) -> Verdict:
        """Judge a close that the position's row does not show in full by the venue's closing fills since."""
        coin, is_closed = own.get_text("coin"), own.get_text("status") == "closed"
        fills = self.read_view(outside, intent.agent_id, "fills").get_items("fills")
        others = [row for row in rows if row is not own and _is_of_coin(row, coin)]
        baseline = intent.baseline or {}
        unexplained = _unexplained_fills(_new_fills(fills, baseline, coin), others, baseline)
        closing = [fill for fill in unexplained if fill.get_flag("closes")]
        if len(closing) == 1 and intent.baseline is not None:
            figures = {name: closing[0].get(name) for name in ("realized_pnl", "close_fee_usd", "exit_price")}
            return Applied(self.read_receipt(Answer({**own.body, **figures})))
        if closing or is_closed:
            reason = f"the position's row is {own.get('status')}, and the venue shows {len(closing)} closing fills"
            return self.unknown_for_good(outside, intent, reason)
        return self.absent_if_settled(outside, intent, "the position is still open")


def _read_history(outside: Gateway, agent_id: str) -> tuple[str, list[Answer]]:
    answer = Answer(outside.read(agent_id, Service.TRADING, "history", limit=str(HISTORY_ROWS)))
    return answer.get_text("source"), answer.get_items("trades")


def _is_of_coin(row: Answer, coin: str) -> bool:
    return plain_coin(str(row.get("coin"))) == plain_coin(coin)


def _mark_fills(fills: Sequence[Answer], rows: Sequence[Answer]) -> Mapping[str, Any]:
    """Return the newest fills (their time, and the orders of that time) and the closed positions, as a baseline."""
    until = max((int(fill.get_number("at_ms")) for fill in fills), default=0)
    orders = [fill.get_text("order") for fill in fills if fill.get("at_ms") == until]
    closed = [row.get_text("position_id") for row in rows if row.get("status") == "closed"]
    return {"filled_ms": until, "orders": orders, "closed": closed}


def _new_fills(fills: Sequence[Answer], baseline: Mapping[str, Any], coin: str) -> list[Answer]:
    until, known = baseline.get("filled_ms", 0), baseline.get("orders", ())
    return [
        fill
        for fill in fills
        if _is_of_coin(fill, coin)
        and ((at_ms := fill.get_number("at_ms")) > until or (at_ms == until and fill.get("order") not in known))
    ]


def _unexplained_fills(
    fills: Sequence[Answer], rows: Sequence[Answer], baseline: Mapping[str, Any]
) -> Sequence[Answer]:
    """Return the fills that no position stands for: as its opening order, or by having been closed since the baseline.

    A position that was closed explains one closing fill, whichever of several it is.
    """
    opened = {row.get("order") for row in rows}
    rest = [fill for fill in fills if fill.get("order") not in opened]
    known = baseline.get("closed", ())
    closed = sum(row.get("status") == "closed" and row.get("position_id") not in known for row in rows)
    closing = [fill for fill in rest if fill.get_flag("closes")]
    return [fill for fill in rest if not fill.get_flag("closes")] + closing[closed:]


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


DEXES: Final[Sequence[Mapping[str, str]]] = ({}, {"dex": "xyz"})
"""The venue keeps crypto and the other markets (stocks, metals, currencies) apart."""


async def read_account(request: OwnRequest, address: str) -> VenueAccount:
    """Return the account of an address, over both of the venue's markets."""
    query = {"type": "clearinghouseState", "user": address}
    contents = await asyncio.gather(*(request.query_public("venue", "info", {**query, **dex}) for dex in DEXES))
    states = [Answer(decode_json(content)) for content in contents]
    summaries = [state.get_object("marginSummary") for state in states]
    positions = [entry.get_object("position") for state in states for entry in state.get_items("assetPositions")]
    return VenueAccount(
        value=sum((each.get_number("accountValue") for each in summaries), Decimal(0)),
        margin=sum((each.get_number("totalMarginUsed") for each in summaries), Decimal(0)),
        unrealized=sum((each.get_number("unrealizedPnl") for each in positions), Decimal(0)),
    )


async def read_fills(request: OwnRequest, address: str) -> list[Fill]:
    """Return the newest fills, one for each order."""
    query = {"type": "userFills", "user": address}
    parts_by_order: dict[str, dict[str, Answer]] = {}
    for content in await asyncio.gather(*(request.query_public("venue", "info", {**query, **dex}) for dex in DEXES)):
        # The venue answers with a bare list, and may show a fill to both questions.
        for row in Answer(decode_json(b'{"fills":' + content + b"}")).get_items("fills"):
            parts_by_order.setdefault(str(row.get("oid")), {})[str(row.get("tid"))] = row
    return [_join_fill(order, list(parts.values())) for order, parts in parts_by_order.items()]


def _join_fill(order: str, parts: Sequence[Answer]) -> Fill:
    return Fill(
        order=order,
        coin=parts[0].get_text("coin"),
        price=parts[0].get_number("px"),
        fee=sum((part.get_number("fee") for part in parts), Decimal(0)),
        profit=sum((part.get_number("closedPnl") for part in parts), Decimal(0)),
        closes=parts[0].get_text("dir").startswith("Close"),
        at_ms=int(parts[0].get_number("time")),
    )


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


@own_view("trading", "fills")
async def read_own_fills(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """Read the newest fills at the venue."""
    shown = [
        {"order": fill.order, "coin": fill.coin, "closes": fill.closes, "at_ms": fill.at_ms, **_close_figures(fill)}
        for fill in await _read_own_fills(request)
    ]
    return {"fills": shown}


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
        "opened_at": _to_iso(row, "openedAt"),
        "order": str(row.get("hlOrderId")),
    }
    opening = [fill for fill in fills if fill.order == str(row.get("hlOrderId"))]
    trade |= {"fee_usd": opening[0].fee} if opening else {}
    if trade["status"] != "closed":
        return trade
    trade["closed_at"] = _to_iso(row, "closedAt")
    at_ms = int(row.get_number("closedAt")) * 1_000
    near = [fill for fill in fills if fill.closes and abs(fill.at_ms - at_ms) <= CLOSE_WINDOW_MS]
    closing = [fill for fill in near if fill.coin == trade["coin"]]
    return trade | (_close_figures(closing[0]) if len(closing) == 1 else {})


def _to_iso(row: Answer, name: str) -> str:
    return datetime.fromtimestamp(int(row.get_number(name)), UTC).isoformat()


def _close_figures(fill: Fill) -> Body:
    return {"realized_pnl": fill.profit, "close_fee_usd": fill.fee, "exit_price": fill.price}


add_own_paths("trading", {"positions": "trade/positions"})

open = Open  # noqa: A001 users write `trading.open(...)`
close = Close
limit = Limit
cancel = Cancel
join = TradingJoin
deposit = TradingDeposit
