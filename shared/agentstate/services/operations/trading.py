"""Trading: no reference of ours is kept, so one order a coin is in flight, and the history before it is remembered."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from agentstate.errors import ServiceAnswerInvalid
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown, Verdict
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.amounts import from_micros, nearest_micros
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.base import Baseline, Case, Operation
from agentstate.services.operations.funding import Deposit
from agentstate.services.operations.names import Service
from agentstate.services.operations.params import Params
from agentstate.services.operations.receipt import Receipt

COINS = ("BTC", "ETH", "SOL")
HISTORY_ROWS = 200
VENUE = "hyperliquid"
"""The only `source` whose silence proves anything; the service falls back to its own rows without an error."""

SETTLE_S = 60.0
LOT_SHARE = Decimal("0.02")
LOT_DOLLARS = Decimal(2)
"""A size is cut to whole lots, so the position is smaller than what was asked for by up to this much."""


class Open(Operation):
    """Open a position.

    Params: `coin` ("BTC", "ETH", "SOL"), `side` ("long", "short"), `size` (Decimal, dollars), `leverage` (1 to 50, 1 by
    default). `verify` needs the baseline that was taken before the call.
    """

    name = "trading.open"
    guarantee = Guarantee.VERIFIABLE
    settle_s = SETTLE_S
    refusals = frozenset(
        {
            "invalid_coin", "invalid_side", "invalid_size", "invalid_amount", "invalid_leverage",
            "position_too_large", "daily_loss_limit_reached", "wallet_not_configured", "insufficient_balance",
        }
    )  # fmt: skip

    def request(self, tag: str, params: Params) -> Body:
        """The tag travels in the header alone; the service keeps no reference."""
        del tag
        return {
            "coin": params.choice("coin", COINS),
            "side": params.choice("side", ("long", "short")),
            "size_usd": from_micros(params.micros("size")),
            "leverage": params.whole("leverage", 1, 50, 1),
        }

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """Only the fee leaves the balance; the margin is tied up, not paid."""
        del body
        fee = answer.micros("fee_usd")
        return self.made(
            answer.text("position_id"),
            debited=fee,
            fee=fee,
            coin=answer.text("coin"),
            side=answer.text("side"),
            notional=answer.micros("size_usd"),
            margin=answer.micros("margin_used"),
            entry_price=answer.micros("entry_price"),
        )

    def baseline(self, gateway: Gateway, agent_id: str, params: Mapping[str, Any]) -> Baseline:
        """The newest positions before the call, in the service's own time."""
        del params
        _, rows = _history(gateway, agent_id)
        newest = max((row.text("opened_at") for row in rows), default="")
        return {"newest": newest, "ids": [r.text("position_id") for r in rows if r.text("opened_at") == newest]}

    def serial_key(self, params: Mapping[str, Any]) -> str:
        """One order a coin."""
        return f"trading:{params.get('coin')}"

    def found(self, case: Case) -> Verdict:
        """Look for exactly one new position that fits what was asked for."""
        source, rows = _history(case.gateway, case.agent_id)
        if source != VENUE:
            return Unknown(f"the history comes from {source}, not from the venue", settles_in_s=SETTLE_S)
        if case.baseline is None:
            return Unknown("nothing was noted before the call, so a new position cannot be told from an old one")
        fresh = [row for row in rows if _is_new(row, case.baseline)]
        fitting = [row for row in fresh if _fits(row, case.body)]
        return self.only_one(case, fitting, "position", all_shown=len(fresh) < HISTORY_ROWS)


class Close(Operation):
    """Close a position. Params: `position_id`."""

    name = "trading.close"
    guarantee = Guarantee.VERIFIABLE
    settle_s = SETTLE_S
    refusals = frozenset({"position_not_found", "position_not_open"})
    already = frozenset({"position_not_found", "position_not_open"})
    reference = "position id"

    def request(self, tag: str, params: Params) -> Body:
        """Only the position's id."""
        del tag
        return {"position_id": params.text("position_id")}

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """Profit comes in, loss and fee leave."""
        del body
        profit, fee = answer.micros("realized_pnl"), answer.micros("close_fee_usd")
        return self.made(
            answer.text("position_id"),
            debited=max(-profit, 0) + fee,
            credited=max(profit, 0),
            fee=fee,
            profit=profit,
            exit_price=answer.micros("exit_price"),
        )

    def baseline(self, gateway: Gateway, agent_id: str, params: Mapping[str, Any]) -> Baseline:
        """Whether the position was open before the call, so that somebody else's closing is not taken for ours.

        None for one that the history, which shows the newest alone, does not reach.
        """
        _, rows = _history(gateway, agent_id)
        mine = [row for row in rows if row.get("position_id") == params.get("position_id")]
        return {"open": mine[0].text("status") == "open" if mine else None}

    def serial_key(self, params: Mapping[str, Any]) -> str:
        """One closing an account: closing one position can close others of its coin."""
        del params
        return "trading:close"

    def found(self, case: Case) -> Verdict:
        """The position's own row tells."""
        if case.baseline is not None and case.baseline["open"] is False:
            return Absent("the position was not open before this call, which was therefore refused")
        source, rows = _history(case.gateway, case.agent_id)
        if source != VENUE:
            return Unknown(f"the history comes from {source}, not from the venue", settles_in_s=SETTLE_S)
        ours = [row for row in rows if row.get("position_id") == case.body["position_id"]]
        if not ours:
            return Unknown("the position is not among the newest 200; look at the trading service")
        if ours[0].text("status") == "closed":
            return Applied(self.receipt(ours[0], case.body))
        return self.missing(case, "the position is still open")


def _history(gateway: Gateway, agent_id: str) -> tuple[str, list[Answer]]:
    answer = Answer(gateway.read(agent_id, Service.TRADING, "history", limit=str(HISTORY_ROWS)))
    return answer.text("source"), answer.items("trades")


def _is_new(row: Answer, baseline: Baseline) -> bool:
    opened = row.text("opened_at")
    newest: str = baseline["newest"]
    return opened > newest or (opened == newest and row.text("position_id") not in baseline["ids"])


def _fits(row: Answer, body: Body) -> bool:
    """Same coin and side, and a size that is the one asked for less at most a lot."""
    asked: Decimal = body["size_usd"]
    try:
        gap = nearest_micros(asked) - row.micros("size_usd")
    except ServiceAnswerInvalid:
        return False
    allowed = nearest_micros(max(asked * LOT_SHARE, LOT_DOLLARS))
    same = row.get("coin") == body["coin"] and row.get("side") == body["side"]
    return same and 0 <= gap <= allowed and row.get("leverage") == body["leverage"]


open_: Final = Open()
close: Final = Close()
deposit: Final = Deposit("trading.deposit")
