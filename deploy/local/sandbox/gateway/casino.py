"""Casino on the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body, to_cents, to_iso, to_usd
from deploy.local.sandbox.model.books import MICROS, Books, Row
from deploy.local.sandbox.model.casino import Casino
from deploy.local.sandbox.model.funding import Funding
from deploy.local.sandbox.model.games import check_dice_choice, check_side
from deploy.local.sandbox.model.refusal import Refusal


class CasinoHandler:
    """Requests of the casino in the gateway's words."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._casino = Casino(books)
        self._funding = Funding(books)

    def register_agent(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`register {referral_code?}`: make the agent known to all six services; harmless to repeat."""
        created = self._funding.register_agent(agent_id, str(body.get("referral_code", "")) or None)
        return {"agent_id": agent_id, "created": created}

    def deposit_money(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`deposit {amount, reference?}`: test money; a reference is honoured as a key."""
        reference = str(body.get("reference", ""))
        balance = self._funding.deposit_money(agent_id, "casino", inputs.read_micros(body, "amount"), reference)
        return {"agent_id": agent_id, "balance_usd": to_usd(balance), "reference": reference}

    def place_bet(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`bet {game, side | direction + threshold, amount, client_seed?}`."""
        row = self._casino.place_bet(
            agent_id,
            _parse_game(body),
            _parse_choice(body),
            inputs.read_micros(body, "amount"),
            inputs.read_client_seed(body),
        )
        return {
            **bet_json(row),
            "proof": {
                "server_seed_hash": self._books.chance.derive_bytes("server-seed", agent_id).hex(),
                "client_seed": row["client_seed"],
                "nonce": row["nonce"],
            },
            "new_balance": to_cents(self._books.read_balance(agent_id)),
        }

    def read_state(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`state`: balance, totals, the last ten ledger rows."""
        rows = self._casino.list_ledger(agent_id)[:10]
        return {
            "agent_id": agent_id,
            "balance_usd": to_usd(self._books.read_balance(agent_id)),
            "tier": "bronze",
            "risk_factor": 0.5,
            "lifetime": self._lifetime_totals(agent_id),
            "recent_activity": [_activity_json(row) for row in rows],
        }

    def _lifetime_totals(self, agent_id: str) -> Body:
        totals = self._casino.sum_bets(agent_id)
        if totals is None:
            return {}
        return {
            "total_deposited": to_usd(totals["deposited"]),
            "total_wagered": to_usd(totals["wagered"]),
            "total_won": to_usd(totals["won"]),
            "net_profit": to_usd(totals["won"] - totals["wagered"]),
        }

    def list_bets(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`bets?limit&offset`: rounded to cents, without `client_seed`."""
        limit, offset = inputs.read_count(query, "limit", 50, 200), inputs.read_count(query, "offset", 0, 10**9)
        total, rows = self._casino.list_bets(agent_id, limit, offset)
        more = offset + len(rows) < total
        page = {"total": total, "limit": limit, "offset": offset, "has_more": more}
        return {"bets": [bet_json(row) for row in rows], "pagination": page}

    def export_bets(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`export?since&client_seed`: at most 10,000 bets with `client_seed`, rounded to cents."""
        rows = self._casino.export_bets(agent_id, inputs.read_since_us(query), query.get("client_seed"))
        return {"rows": [{**bet_json(row), "client_seed": row["client_seed"], "nonce": row["nonce"]} for row in rows]}

    def audit_bet(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`audit?bet_id`: one bet with exact amounts."""
        row = self._casino.get_bet(agent_id, query.get("bet_id", ""))
        exact = {"amount_bet": to_usd(row["amount"]), "amount_won": to_usd(row["payout"])}
        return {**bet_json(row), **exact, "client_seed": row["client_seed"], "nonce": row["nonce"]}

    def list_ledger(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`ledger`: 50 raw rows of the shared account, not quite the newest."""
        return {"ledger": [ledger_json(row) for row in self._casino.list_ledger(agent_id)]}


def _parse_game(body: Mapping[str, Any]) -> str:
    game = body.get("game", "coin-flip")
    if game not in {"coin-flip", "dice"}:
        raise Refusal(400, "invalid_game", "game is coin-flip or dice.")
    return str(game)


def _parse_choice(body: Mapping[str, Any]) -> str:
    if _parse_game(body) == "coin-flip":
        return check_side(body.get("side"))
    return check_dice_choice(body.get("direction"), body.get("threshold"))


def bet_json(row: Row) -> Body:
    """A bet with amounts rounded to cents."""
    return {
        "bet_id": row["bet_id"],
        "game": row["game"],
        "choice": row["choice"],
        "amount_bet": to_cents(row["amount"]),
        "result": row["result"],
        "won": bool(row["won"]),
        "payout_multiplier": row["multiplier_e4"] / 10_000,
        "amount_won": to_cents(row["payout"]),
        "at": to_iso(row["created_at"]),
    }


def _entry_direction(row: Row) -> str:
    return "credit" if row["micros"] >= 0 else "debit"


def _activity_json(row: Row) -> Body:
    return {
        "type": _entry_direction(row),
        "amount": to_usd(abs(row["micros"])),
        "balance_after": to_usd(row["balance_after"]),
        "reason": row["reason"],
        "service": row["service"],
        "at": to_iso(row["created_at"]),
    }


def ledger_json(row: Row) -> Body:
    """A raw row of the ledger: camel case, epoch seconds."""
    return {
        "id": f"led_{row['id']}",
        "agentId": row["agent_id"],
        "type": _entry_direction(row),
        "amount": to_usd(abs(row["micros"])),
        "balanceAfter": to_usd(row["balance_after"]),
        "reason": row["reason"],
        "reference": row["reference"],
        "service": row["service"],
        "createdAt": row["created_at"] // MICROS,
        "at": to_iso(row["created_at"]),
    }
