"""The casino: bets carry our tag as `client_seed`, which the casino stores and shows again."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Final, Literal, TypeAlias, get_args

from agentstate.errors import InvalidInput, ServiceAnswerInvalid
from agentstate.money.amounts import Money, parse_money
from agentstate.money.effects.operation import Intent
from agentstate.money.effects.verdicts import Applied, Guarantee, Unknown, Verdict
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.json_wire import Body
from agentstate.services.http.own_request import OwnRequest, add_own_paths, own_view
from agentstate.services.operations.accounts import CasinoDeposit, CasinoJoin, Register
from agentstate.services.operations.amounts import round_to_micros, wire_amount
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.base import ServiceOperation
from agentstate.services.operations.casino_transfers import Daily, Pay, Withdraw
from agentstate.services.operations.fields import Cents, Range
from agentstate.services.operations.names import Service
from agentstate.services.operations.receipts import NOTHING, Receipt
from agentstate.services.operations.service_ledger import read_ledger

Side: TypeAlias = Literal["heads", "tails"]
SIDES: Final[tuple[Side, ...]] = get_args(Side)

EXPORT_ROWS: Final = 10_000
SKEW: Final = timedelta(seconds=2)
"""How far the casino's clock may be behind ours; its ledger tells whole seconds."""

EXPORT_MARGIN: Final = timedelta(minutes=10)
"""How far before the call the export is read: clocks differ, and an earlier attempt may have been the one."""

_EXPORT_COLUMNS = (
    "bet_id", "game", "amount_usd", "payout_multiplier", "won", "client_seed", "nonce", "timestamp_utc",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BetReceipt(Receipt):
    """A bet: the stake was debited, and the payout of a bet that was won is credited."""

    won: bool
    result: str = ""


@dataclass(frozen=True, kw_only=True)
class Bet(ServiceOperation[BetReceipt]):
    """Bet whole cents on a coin (`side`) or on dice (`game="dice"`, `direction`, `threshold`)."""

    name = "casino.bet"
    guarantee = Guarantee.VERIFIABLE
    reference = "client_seed"
    cost = "amount"
    refusals = frozenset(
        {
            "invalid_amount", "invalid_game", "invalid_side", "invalid_direction", "invalid_threshold",
            "invalid_client_seed", "minimum_bet", "insufficient_balance", "kelly_limit_exceeded",
        }
    )  # fmt: skip

    amount: Cents
    """The stake. In whole cents, payouts are exact, although the casino shows amounts rounded to cents."""
    game: Literal["coin-flip", "dice"] = "coin-flip"
    side: Side | None = None
    direction: Literal["over", "under"] | None = None
    threshold: Annotated[int, Range(2, 98)] | None = None

    def check_fields(self) -> None:
        """Refuse a bet that lacks the fields of its game, or has those of the other."""
        needed = ("side",) if self.game == "coin-flip" else ("direction", "threshold")
        for name in ("side", "direction", "threshold"):
            if (getattr(self, name) is not None) != (name in needed):
                fault = "is missing" if name in needed else "does not belong"
                raise InvalidInput(f"casino.bet: {name} {fault} to {self.game}. Nothing was sent.")

    def body(self, tag: str) -> Body:
        """Return game, stake and choice, and the tag as `client_seed`."""
        choice = {"side": self.side, "direction": self.direction, "threshold": self.threshold}
        return {
            "game": self.game,
            "amount": wire_amount(self.amount),
            "client_seed": tag,
            **{name: value for name, value in choice.items() if value is not None},
        }

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`POST games/{game}`."""
        return await request.post(f"games/{self.game}", {name: body[name] for name in body if name != "game"})

    def receipt(self, answer: Answer) -> BetReceipt:
        """Debit the stake, and credit stake x multiplier: the answer's own `amount_won` is rounded to cents."""
        stake, won = parse_money(self.amount), answer.get_flag("won")
        payout = round_to_micros(stake.amount * answer.get_number("payout_multiplier")) if won else 0
        return BetReceipt(
            reference=answer.get_text("bet_id"),
            debited=stake,
            credited=Money.from_minor(payout) if payout else NOTHING,
            won=won,
            result=str(answer.get("result") or ""),
            raw=answer.body,
        )

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look for our `client_seed` in the export of bets."""
        tag, since = intent.remote_key, intent.called_at - EXPORT_MARGIN
        rows = _read_export(outside, intent.agent_id, since, client_seed=tag)
        bets = [row for row in rows if row.get("client_seed") == tag]
        if len({row.get_text("bet_id") for row in bets}) > 1:
            return Unknown(f"{len(bets)} bets carry our client_seed: the casino placed one call more than once")
        if bets:
            if bets[-1].get_micros("amount_bet") != parse_money(self.amount).minor:
                raise ServiceAnswerInvalid(f"the bet with our tag has another stake than {self.amount}.")
            return Applied(self.receipt(bets[-1]))
        if len(rows) >= EXPORT_ROWS:
            return Unknown("the export of bets is full and does not show the tag; look at the casino")
        orphans = self._find_orphaned_stakes(outside, intent)
        if orphans:
            return Unknown(f"the casino took the stake of {len(orphans)} bets that it does not have")
        return self.absent_if_settled(outside, intent, "no bet with our client_seed is there")

    def _find_orphaned_stakes(self, outside: Gateway, intent: Intent) -> frozenset[str]:
        """Return stakes that were taken without a bet: the casino died in between, so a second call would pay twice."""
        begun, debit = intent.called_at - SKEW, -parse_money(self.amount).minor
        rows = [row for row in read_ledger(outside, intent.agent_id).rows if row.at >= begun]
        taken = frozenset(row.reference for row in rows if row.reason == "reservation" and row.amount == debit)
        if not taken:
            return taken
        return taken - {bet.get_text("bet_id") for bet in _read_export(outside, intent.agent_id, begun - SKEW)}


def _read_export(outside: Gateway, agent_id: str, since: datetime, **query: str) -> list[Answer]:
    moment = since.isoformat(timespec="seconds")
    return Answer(outside.read(agent_id, Service.CASINO, "export", since=moment, **query)).get_items("rows")


@own_view("casino", "state")
async def read_own_state(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """`GET auth/balance`; the account has to be the agent's."""
    return request.rename_account(await request.get("auth/balance"))


@own_view("casino", "export")
async def read_own_export(request: OwnRequest, query: Mapping[str, str]) -> Body:
    """`GET bets/export.csv`: all bets since a time, with the seed that the caller chose."""
    since = {"since": query["since"]} if "since" in query else {}
    return {"rows": parse_export(await request.get_text("bets/export.csv", **since))}


@own_view("casino", "audit")
async def read_own_audit(request: OwnRequest, query: Mapping[str, str]) -> Body:
    """`GET fairness/audit/{bet}`: exact amounts."""
    return await request.get(f"fairness/audit/{query.get('bet_id', '')}")


@own_view("casino", "referral")
async def read_own_referral(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """`GET auth/referral/code` and `auth/referral/stats`."""
    code, stats = await request.get("auth/referral/code"), await request.get("auth/referral/stats")
    return {"referral_code": code.get("referral_code"), **stats}


def parse_export(text: str) -> list[Body]:
    """Return the bets of an export; raises ServiceAnswerInvalid when it is cut off or no such table."""
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        rows = list(reader)
        if not set(_EXPORT_COLUMNS) <= set(reader.fieldnames or ()):
            raise ServiceAnswerInvalid("the export of bets lacks columns.")
        return [_parse_exported_bet(row) for row in rows]
    except (csv.Error, ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ServiceAnswerInvalid(f"the export of bets cannot be read: {str(error)[:80]}.") from None


def _parse_exported_bet(row: Mapping[str, str]) -> Body:
    datetime.fromisoformat(row["timestamp_utc"])  # the last column: a row that is cut off has it cut
    if row["won"] not in {"true", "false"}:
        raise ValueError("won is neither true nor false")
    return {
        "bet_id": row["bet_id"],
        "game": row["game"].replace("_", "-"),
        "amount_bet": Decimal(row["amount_usd"]),
        "payout_multiplier": Decimal(row["payout_multiplier"]),
        "won": row["won"] == "true",
        "client_seed": row["client_seed"],
        "at": row["timestamp_utc"],
    }


add_own_paths("casino", {"bets": "bets/history", "deposits": "auth/deposits"})

bet = Bet
pay = Pay
withdraw = Withdraw
daily = Daily
register = Register
join = CasinoJoin
deposit = CasinoDeposit
