"""The casino: bets, payments to other agents, withdrawals to a chain, the daily bonus.

Bets carry our tag as `client_seed`, which the casino stores and shows again. The others keep no reference of ours: one
of a kind is in flight for an account, and what its ledger or its list of withdrawals has beyond what it had before
tells which it was.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from agentstate.errors import InvalidInput, ServiceAnswerInvalid
from agentstate.money.amounts import Amount, Money, parse_money
from agentstate.money.effects.operation import Intent
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown, Verdict
from agentstate.money.ledger.postings import Credit, earn
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.own_request import OwnRequest, add_own_paths, own_view
from agentstate.services.operations.accounts import CasinoDeposit, CasinoJoin, Register
from agentstate.services.operations.base import NO_BASELINE, ServiceOperation
from agentstate.services.operations.fields import AgentId, AmountRule, Cents, Dollars, Range, Text, TextRule
from agentstate.services.operations.names import Service
from agentstate.services.operations.receipts import NOTHING, Receipt
from agentstate.services.operations.service_ledger import read_ledger
from agentstate.services.wire import Answer, Body, round_to_micros, wire_amount

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

    def build_body(self, tag: str) -> Body:
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
        return await request.send_operation(f"games/{self.game}", {name: body[name] for name in body if name != "game"})

    def read_receipt(self, answer: Answer) -> BetReceipt:
        """Debit the stake, and credit stake x multiplier: the answer's own `amount_won` is rounded to cents."""
        stake, won = parse_money(self.amount), answer.get_flag("won")
        payout = round_to_micros(stake.amount * answer.get_number("payout_multiplier")) if won else 0
        return BetReceipt(
            reference=answer.get_text("bet_id"),
            debited=stake,
            credited=Money.from_minor(payout) if payout else NOTHING,
            won=won,
            result=_describe_result(answer.get("result")),
            raw=answer.body,
        )

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look for our `client_seed` in the export of bets."""
        tag, since = intent.remote_key, intent.called_at - EXPORT_MARGIN
        rows = _read_export(outside, intent.agent_id, since, client_seed=tag)
        bets = [row for row in rows if row.get("client_seed") == tag]
        if len({row.get_text("bet_id") for row in bets}) > 1:
            reason = f"{len(bets)} bets carry our client_seed: the casino placed one call more than once"
            return Unknown(reason, is_final=True)
        if bets:
            if bets[-1].get_micros("amount_bet") != parse_money(self.amount).minor:
                raise ServiceAnswerInvalid(f"the bet with our tag has another stake than {self.amount}.")
            return Applied(self.read_receipt(bets[-1]))
        if len(rows) >= EXPORT_ROWS:
            return self.unknown_for_good(outside, intent, "the export of bets is full and does not show the tag")
        orphans = self._find_orphaned_stakes(outside, intent)
        if orphans:
            reason = f"the casino took the stake of {len(orphans)} bets that it does not have"
            return self.unknown_for_good(outside, intent, reason)
        return self.absent_if_settled(outside, intent, "no bet with our client_seed is there")

    def _find_orphaned_stakes(self, outside: Gateway, intent: Intent) -> frozenset[str]:
        """Return stakes that were taken without a bet: the casino died in between, so a second call would pay twice."""
        begun, debit = intent.called_at - SKEW, -parse_money(self.amount).minor
        rows = [row for row in read_ledger(outside, intent.agent_id).rows if row.at >= begun]
        taken = frozenset(row.reference for row in rows if row.reason == "reservation" and row.amount == debit)
        if not taken:
            return taken
        return taken - {bet.get_text("bet_id") for bet in _read_export(outside, intent.agent_id, begun - SKEW)}


def _describe_result(result: Any) -> str:
    """Return the side that fell or the number that was rolled; the casino's own routes give it inside an object."""
    if isinstance(result, Mapping):
        return next((str(result[name]) for name in ("outcome", "dice_value") if name in result), "")
    return str(result or "")


def _read_export(outside: Gateway, agent_id: str, since: datetime, **query: str) -> list[Answer]:
    moment = since.isoformat(timespec="seconds")
    return Answer(outside.read(agent_id, Service.CASINO, "export", since=moment, **query)).get_items("rows")


WITHDRAWAL_FEE: Final = Money("0.50")
"""The fee of every withdrawal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentReceipt(Receipt):
    """A payment; `to` is the agent that has it."""

    to: str


@dataclass(frozen=True, kw_only=True)
class Pay(ServiceOperation[PaymentReceipt]):
    """Pay an account of the casino at once, of ours or of anybody; the memo is not stored there."""

    name = "casino.pay"
    guarantee = Guarantee.VERIFIABLE
    serial = "casino:pay"  # one payment at a time for an account.
    cost = "amount"
    refusals = frozenset({"invalid_amount", "recipient_not_found", "same_agent", "insufficient_balance"})

    to: AgentId
    amount: Dollars
    memo: Text | None = None

    def build_body(self, tag: str) -> Body:
        """Return recipient, amount and memo; the memo is echoed and forgotten, so it can carry no tag."""
        del tag
        memo = {} if self.memo is None else {"memo": self.memo}
        return {"to_agent_id": self.to, "amount": wire_amount(self.amount), **memo}

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`POST stats/pay`."""
        return await request.send_operation("stats/pay", {**body, "to_agent_id": await request.find_account(self.to)})

    def read_receipt(self, answer: Answer) -> PaymentReceipt:
        """Debit the amount."""
        return PaymentReceipt(
            reference=answer.get_text("tx_id"), debited=parse_money(self.amount), to=self.to, raw=answer.body
        )

    def find_counterparties(self) -> Sequence[str]:
        """Return the recipient."""
        return (self.to,)

    def credits(self, receipt: PaymentReceipt) -> Sequence[Credit]:
        """Return the amount, for the recipient: the casino pays at once."""
        return (Credit(receipt.to, earn(self.service, receipt.debited)),)

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return the ledger's rows before the call, and the recipient's credit by it in minor units."""
        rows = [row.id for row in read_ledger(outside, agent_id).rows]
        return {"rows": rows, "credits": {self.to: parse_money(self.amount).minor}}

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look for one new ledger row of a payment of this amount; none is conclusive only when no row is missing."""
        if intent.baseline is None:
            return NO_BASELINE
        page, known = read_ledger(outside, intent.agent_id), frozenset(intent.baseline["rows"])
        debit = -parse_money(self.amount).minor
        new = [row for row in page.rows_since(known) if row.reason == "payment_sent"]
        return self.match_only_one(
            outside,
            intent,
            [Answer({"tx_id": row.reference or row.id, "amount": row.amount}) for row in new],
            lambda row: row.get("amount") == debit,
            "payment",
            all_shown=page.is_complete_since(known),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalReceipt(Receipt):
    """A withdrawal; `status` tells how far the transfer is."""

    status: str


@dataclass(frozen=True, kw_only=True)
class Withdraw(ServiceOperation[WithdrawalReceipt]):
    """Withdraw USDC to an address on Base, at least 1; a flat 0.50 comes on top.

    `failed` and a refund are no proof that nothing was sent: a transfer that was broadcast counts as failed when its
    receipt is late. So only a row that is not failed is an answer; all else is for a person.
    """

    name = "casino.withdraw"
    guarantee = Guarantee.VERIFIABLE
    serial = "casino:withdraw"  # one withdrawal at a time for an account.
    own_path = "auth/withdraw"
    refusals = frozenset(
        {"invalid_amount", "minimum_withdrawal", "maximum_withdrawal", "invalid_address", "insufficient_balance"}
    )

    amount: Annotated[Amount, AmountRule(least="1")]
    address: Annotated[str, TextRule(r"0x[0-9a-fA-F]{40}", "an address on Base (0x and 40 hex digits)")]

    def build_body(self, tag: str) -> Body:
        """Return amount and address."""
        del tag
        return {"amount": wire_amount(self.amount), "address": self.address}

    def read_receipt(self, answer: Answer) -> WithdrawalReceipt:
        """Debit amount and fee."""
        return WithdrawalReceipt(
            reference=answer.get_text("withdrawal_id"),
            debited=self.hold(),
            fee=WITHDRAWAL_FEE,
            status=answer.get_text("status"),
            raw=answer.body,
        )

    def hold(self) -> Money:
        """Return the amount and the fee."""
        return parse_money(self.amount) + WITHDRAWAL_FEE

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return the withdrawals before the call."""
        return {
            "ids": [
                row.get_text("id") for row in self.read_view(outside, agent_id, "withdrawals").get_items("withdrawals")
            ]
        }

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look for one new row with our amount and address."""
        if intent.baseline is None:
            return NO_BASELINE
        known, minor = frozenset(intent.baseline["ids"]), parse_money(self.amount).minor
        new = [
            row
            for row in self.read_view(outside, intent.agent_id, "withdrawals").get_items("withdrawals")
            if row.get_text("id") not in known
        ]
        fitting = [row for row in new if row.get("address") == self.address and row.get_micros("amount") == minor]
        if len(fitting) != 1:
            reason = f"{len(new)} new withdrawals are there, {len(fitting)} of them fit; compare ledger and chain"
            return self.unknown_for_good(outside, intent, reason)
        status = fitting[0].get_text("status")
        if status == "failed":
            reason = "the casino says failed and refunded, which does not prove that nothing was sent"
            return self.unknown_for_good(outside, intent, reason)
        return Applied(self.read_receipt(Answer({"withdrawal_id": fitting[0].get_text("id"), "status": status})))


@dataclass(frozen=True, kw_only=True)
class Daily(ServiceOperation[Receipt]):
    """Claim the daily bonus."""

    name = "casino.daily"
    guarantee = Guarantee.VERIFIABLE
    serial = "casino:daily"  # one claim at a time for an account.
    own_path = "daily/claim"
    refusals = frozenset({"already_claimed"})
    already = frozenset({"already_claimed"})

    def build_body(self, tag: str) -> Body:
        """Return nothing but the agent."""
        del tag
        return {}

    def read_receipt(self, answer: Answer) -> Receipt:
        """Credit the bonus."""
        reference = f"day-{answer.get_number('streak_day')}"
        return Receipt(reference=reference, credited=answer.get_money("bonus_usd"), raw=answer.body)

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return when it was last claimed, whether it can be claimed now, and the ledger's rows."""
        state = self.read_view(outside, agent_id, "daily-state")
        rows = [row.id for row in read_ledger(outside, agent_id).rows]
        last, can_claim = str(state.get("last_claimed_at")), state.get_flag("can_claim")
        return {"last": last, "can_claim": can_claim, "rows": rows}

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look for a claim that is newer than the last one before the call, with its row in the ledger."""
        if intent.baseline is None:
            return NO_BASELINE
        state = self.read_view(outside, intent.agent_id, "daily-state")
        if str(state.get("last_claimed_at")) == intent.baseline["last"]:
            if not intent.baseline.get("can_claim", True):
                return Absent("the bonus had been claimed before this call, which was therefore refused")
            return self.absent_if_settled(outside, intent, "no claim is there since the one before the call")
        new = read_ledger(outside, intent.agent_id).rows_since(frozenset(intent.baseline["rows"]))
        rows = [row for row in new if row.reason == "daily_bonus"]
        if len(rows) != 1:
            reason = f"the bonus counts as claimed, but the ledger shows {len(rows)} rows of it"
            return self.unknown_for_good(outside, intent, reason)
        reference = f"day-{state.get_number('current_streak')}"
        return Applied(Receipt(reference=reference, credited=Money.from_minor(rows[0].amount), raw=state.body))


@own_view("casino", "state")
async def read_own_state(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """`GET auth/balance`; the account has to be the agent's."""
    return request.rename_account(await request.read_json("auth/balance"))


@own_view("casino", "export")
async def read_own_export(request: OwnRequest, query: Mapping[str, str]) -> Body:
    """`GET bets/export.csv`: all bets since a time, with the seed that the caller chose."""
    since = {"since": query["since"]} if "since" in query else {}
    return {"rows": parse_export(await request.read_text("bets/export.csv", **since))}


@own_view("casino", "audit")
async def read_own_audit(request: OwnRequest, query: Mapping[str, str]) -> Body:
    """`GET fairness/audit/{bet}`: exact amounts."""
    return await request.read_json(f"fairness/audit/{query.get('bet_id', '')}")


@own_view("casino", "referral")
async def read_own_referral(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """`GET auth/referral/code` and `auth/referral/stats`."""
    code, stats = await request.read_json("auth/referral/code"), await request.read_json("auth/referral/stats")
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


add_own_paths(
    "casino",
    {
        "bets": "bets/history",
        "deposits": "auth/deposits",
        "daily-state": "daily",
        "withdrawals": "auth/withdrawals",
    },
)

bet = Bet
pay = Pay
withdraw = Withdraw
daily = Daily
register = Register
join = CasinoJoin
deposit = CasinoDeposit
