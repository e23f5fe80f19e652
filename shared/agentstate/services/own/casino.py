"""The casino's own routes, brought into the gateway's shape."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from agentstate.errors import ServiceAnswerInvalid
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.names import Service
from agentstate.services.operations.service_ledger import LedgerPage, page_of
from agentstate.services.own.desk import Desk
from agentstate.services.own.registering import register

_COLUMNS = ("bet_id", "game", "amount_usd", "payout_multiplier", "won", "client_seed", "nonce", "timestamp_utc")


async def state(desk: Desk, _query: Mapping[str, str]) -> Body:
    """`GET auth/balance`; the account has to be the agent's."""
    return ours(desk, await desk.get("auth/balance"))


def ours(desk: Desk, body: Body) -> Body:
    """A state that names its account, under our agent's id; raises ServiceAnswerInvalid when it is another's."""
    told, account = Answer(body).text("agent_id"), desk.account
    if told != account:
        raise ServiceAnswerInvalid(f"{desk.service} answered for account {told[:40]!r}, not {account!r}.")
    return {**body, "agent_id": desk.agent_id}


async def export(desk: Desk, query: Mapping[str, str]) -> Body:
    """`GET bets/export.csv`: all bets since a time, with the seed that the caller chose."""
    since = {"since": query["since"]} if "since" in query else {}
    return {"rows": bets_in(await desk.text("bets/export.csv", **since))}


def bets_in(text: str) -> list[Body]:
    """The bets of an export; raises ServiceAnswerInvalid when it is cut off or no such table."""
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        rows = list(reader)
        if not set(_COLUMNS) <= set(reader.fieldnames or ()):
            raise ServiceAnswerInvalid("the export of bets lacks columns.")
        return [_bet(row) for row in rows]
    except (csv.Error, ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ServiceAnswerInvalid(f"the export of bets cannot be read: {str(error)[:80]}.") from None


def _bet(row: Mapping[str, str]) -> Body:
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


async def audit(desk: Desk, query: Mapping[str, str]) -> Body:
    """`GET fairness/audit/{bet}`: exact amounts."""
    return await desk.get(f"fairness/audit/{query.get('bet_id', '')}")


async def ledger(desk: Desk, _query: Mapping[str, str]) -> Body:
    """`GET auth/ledger`."""
    return {"ledger": (await desk.get("auth/ledger")).get("entries")}


async def ledger_page(desk: Desk) -> LedgerPage:
    """The shared ledger with the balance read after it."""
    casino = desk.at(Service.CASINO)
    rows = Answer(await ledger(casino, {})).items("ledger")
    return page_of(rows, Answer(await state(casino, {})).micros("balance_usd"))


async def history(desk: Desk, query: Mapping[str, str]) -> Body:
    """`GET bets/history`."""
    return await desk.get("bets/history", **query)


async def withdrawals(desk: Desk, _query: Mapping[str, str]) -> Body:
    """`GET auth/withdrawals`."""
    return await desk.get("auth/withdrawals")


async def deposits(desk: Desk, _query: Mapping[str, str]) -> Body:
    """`GET auth/deposits`."""
    return await desk.get("auth/deposits")


async def daily_state(desk: Desk, _query: Mapping[str, str]) -> Body:
    """`GET daily`."""
    return await desk.get("daily")


async def referral(desk: Desk, _query: Mapping[str, str]) -> Body:
    """`GET auth/referral/code` and `auth/referral/stats`."""
    code, stats = await desk.get("auth/referral/code"), await desk.get("auth/referral/stats")
    return {"referral_code": code.get("referral_code"), **stats}


async def bet(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST games/{game}`; the seed is our tag."""
    choice = {name: value for name, value in body.items() if name != "game"}
    return await desk.post(f"games/{body['game']}", choice)


async def pay(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST stats/pay`; the answer names no id, so the payment is known by our tag."""
    answer = await desk.post("stats/pay", {**body, "to_agent_id": desk.account_of(body["to_agent_id"])})
    return {**answer, "payment_id": answer.get("payment_id") or desk.asked.tag}


async def withdraw(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST auth/withdraw`."""
    return await desk.post("auth/withdraw", body)


async def daily(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST daily/claim`."""
    return await desk.post("daily/claim", body)


VIEWS = {
    "state": state, "export": export, "audit": audit, "ledger": ledger, "bets": history, "withdrawals": withdrawals,
    "deposits": deposits, "daily-state": daily_state, "referral": referral,
}  # fmt: skip
OPERATIONS = {"join": register, "bet": bet, "pay": pay, "withdraw": withdraw, "daily": daily}
