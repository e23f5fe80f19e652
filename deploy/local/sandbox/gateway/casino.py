"""Casino on the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body, cents, iso, usd
from deploy.local.sandbox.model.books import MICROS, Books, Row
from deploy.local.sandbox.model.casino import Casino
from deploy.local.sandbox.model.funding import Funding
from deploy.local.sandbox.model.games import dice_choice, flip_choice
from deploy.local.sandbox.model.refusal import Refusal


class CasinoFace:
    """Requests of the casino in the gateway's words."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._casino = Casino(books)
        self._funding = Funding(books)

    def register(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`register {referral_code?}`: make the agent known to all six services; harmless to repeat."""
        created = self._funding.register(agent_id, str(body.get("referral_code", "")) or None)
        return {"agent_id": agent_id, "created": created}

    def deposit(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`deposit {amount, reference?}`: test money; a reference is honoured as a key."""
        reference = str(body.get("reference", ""))
        balance = self._funding.deposit(agent_id, "casino", inputs.micros(body, "amount"), reference)
        return {"agent_id": agent_id, "balance_usd": usd(balance), "reference": reference}

    def bet(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`bet {game, side | direction + threshold, amount, client_seed?}`."""
        row = self._casino.bet(agent_id, _game(body), _choice(body), inputs.micros(body, "amount"), inputs.seed(body))
        return {
            **bet_body(row),
            "proof": {
                "server_seed_hash": self._books.chance.digest("server-seed", agent_id).hex(),
                "client_seed": row["client_seed"],
                "nonce": row["nonce"],
            },
            "new_balance": cents(self._books.balance(agent_id)),
        }

    def state(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`state`: balance, totals, the last ten ledger rows."""
        rows = self._casino.ledger(agent_id)[:10]
        return {
            "agent_id": agent_id,
            "balance_usd": usd(self._books.balance(agent_id)),
            "tier": "bronze",
            "risk_factor": 0.5,
            "lifetime": self._lifetime(agent_id),
            "recent_activity": [_activity(row) for row in rows],
        }

    def _lifetime(self, agent_id: str) -> Body:
        totals = self._casino.totals(agent_id)
        if totals is None:
            return {}
        return {
            "total_deposited": usd(totals["deposited"]),
            "total_wagered": usd(totals["wagered"]),
            "total_won": usd(totals["won"]),
            "net_profit": usd(totals["won"] - totals["wagered"]),
        }

    def bets(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`bets?limit&offset`: rounded to cents, without `client_seed`."""
        limit, offset = inputs.count(query, "limit", 50, 200), inputs.count(query, "offset", 0, 10**9)
        total, rows = self._casino.history(agent_id, limit, offset)
        more = offset + len(rows) < total
        page = {"total": total, "limit": limit, "offset": offset, "has_more": more}
        return {"bets": [bet_body(row) for row in rows], "pagination": page}

    def export(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`export?since&client_seed`: at most 10,000 bets with `client_seed`, rounded to cents."""
        rows = self._casino.export(agent_id, inputs.since_us(query), query.get("client_seed"))
        return {"rows": [{**bet_body(row), "client_seed": row["client_seed"], "nonce": row["nonce"]} for row in rows]}

    def audit(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`audit?bet_id`: one bet with exact amounts."""
        row = self._casino.audit(agent_id, query.get("bet_id", ""))
        exact = {"amount_bet": usd(row["amount"]), "amount_won": usd(row["payout"])}
        return {**bet_body(row), **exact, "client_seed": row["client_seed"], "nonce": row["nonce"]}

    def ledger(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`ledger`: 50 raw rows of the shared account, not quite the newest."""
        return {"ledger": [ledger_row(row) for row in self._casino.ledger(agent_id)]}


def _game(body: Mapping[str, Any]) -> str:
    game = body.get("game", "coin-flip")
    if game not in {"coin-flip", "dice"}:
        raise Refusal(400, "invalid_game", "game is coin-flip or dice.")
    return str(game)


def _choice(body: Mapping[str, Any]) -> str:
    if _game(body) == "coin-flip":
        return flip_choice(body.get("side"))
    return dice_choice(body.get("direction"), body.get("threshold"))


def bet_body(row: Row) -> Body:
    """A bet with amounts rounded to cents."""
    return {
        "bet_id": row["bet_id"],
        "game": row["game"],
        "choice": row["choice"],
        "amount_bet": cents(row["amount"]),
        "result": row["result"],
        "won": bool(row["won"]),
        "payout_multiplier": row["multiplier_e4"] / 10_000,
        "amount_won": cents(row["payout"]),
        "at": iso(row["created_at"]),
    }


def _direction(row: Row) -> str:
    return "credit" if row["micros"] >= 0 else "debit"


def _activity(row: Row) -> Body:
    return {
        "type": _direction(row),
        "amount": usd(abs(row["micros"])),
        "balance_after": usd(row["balance_after"]),
        "reason": row["reason"],
        "service": row["service"],
        "at": iso(row["created_at"]),
    }


def ledger_row(row: Row) -> Body:
    """A raw row of the ledger: camel case, epoch seconds."""
    return {
        "id": f"led_{row['id']}",
        "agentId": row["agent_id"],
        "type": _direction(row),
        "amount": usd(abs(row["micros"])),
        "balanceAfter": usd(row["balance_after"]),
        "reason": row["reason"],
        "reference": row["reference"],
        "service": row["service"],
        "createdAt": row["created_at"] // MICROS,
        "at": iso(row["created_at"]),
    }
