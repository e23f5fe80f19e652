"""The casino over HTTP: its operations, views and transfers on the gateway, and its own routes below `/api/v1`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.local.sandbox.http import values
from deploy.local.sandbox.http.route import Act, RequestData, Route, read_route, write_route
from deploy.local.sandbox.http.values import Body, to_cents, to_iso, to_usd
from deploy.local.sandbox.model.books import MICROS, Books, Refusal, Row
from deploy.local.sandbox.model.casino import DAY_US, Casino, Transfers, bonus_of, check_dice_choice, check_side
from deploy.local.sandbox.model.funding import Deposits, Funding, Keys, Referrals


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
        balance = self._funding.deposit_money(agent_id, "casino", values.read_micros(body, "amount"), reference)
        return {"agent_id": agent_id, "balance_usd": to_usd(balance), "reference": reference}

    def place_bet(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`bet {game, side | direction + threshold, amount, client_seed?}`."""
        row = self._casino.place_bet(
            agent_id,
            _parse_game(body),
            _parse_choice(body),
            values.read_micros(body, "amount"),
            values.read_client_seed(body),
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
            "recent_activity": [
                {
                    "type": _entry_direction(row),
                    "amount": to_usd(abs(row["micros"])),
                    "balance_after": to_usd(row["balance_after"]),
                    "reason": row["reason"],
                    "service": row["service"],
                    "at": to_iso(row["created_at"]),
                }
                for row in rows
            ],
        }

    def _lifetime_totals(self, agent_id: str) -> Body:
        totals = self._casino.sum_bets(agent_id)
        if totals is None:
            return {}
        return {
            "total_deposited": to_usd(totals["deposited"]),
            "total_withdrawn": to_usd(totals["withdrawn"]),
            "total_wagered": to_usd(totals["wagered"]),
            "total_won": to_usd(totals["won"]),
            "net_profit": to_usd(totals["won"] - totals["wagered"]),
        }

    def list_bets(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`bets?limit&offset`: rounded to cents, without `client_seed`."""
        limit, offset = values.read_count(query, "limit", 50, 200), values.read_count(query, "offset", 0, 10**9)
        total, rows = self._casino.list_bets(agent_id, limit, offset)
        more = offset + len(rows) < total
        page = {"total": total, "limit": limit, "offset": offset, "has_more": more}
        return {"bets": [bet_json(row) for row in rows], "pagination": page}

    def export_bets(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`export?since&client_seed`: at most 10,000 bets with `client_seed`, rounded to cents."""
        rows = self._casino.export_bets(agent_id, values.read_since_us(query), query.get("client_seed"))
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


def result_json(game: str, result: str, choice: str) -> Body:
    """Return a result as the casino's own routes show it."""
    if game == "coin-flip":
        return {"outcome": result, "side_chosen": choice, "roll": 0}
    direction, threshold = choice.split(":")
    return {
        "dice_value": int(result),
        "direction": direction,
        "threshold": int(threshold),
        "roll": int(result),
        "win_probability": 99 - int(threshold) if direction == "over" else int(threshold),
    }


def _entry_direction(row: Row) -> str:
    return "credit" if row["micros"] >= 0 else "debit"


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


class TransfersHandler:
    """Requests of the casino about money without a game."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._transfers = Transfers(books)
        self._deposits = Deposits(books)
        self._referrals = Referrals(books)

    def pay_agent(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`pay {to_agent_id, amount, memo?}`: the memo is echoed and not stored."""
        payee, amount = values.read_text(body, "to_agent_id", "invalid_recipient"), values.read_micros(body, "amount")
        payment_id = self._transfers.pay_agent(agent_id, payee, amount)
        balance = to_usd(self._books.read_balance(agent_id))
        return {
            "tx_id": payment_id,
            "from": agent_id,
            "to": payee,
            "amount": to_usd(amount),
            "memo": body.get("memo"),
            "sender_new_balance": balance,
            "timestamp": to_iso(self._books.clock()),
        }

    def withdraw_money(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`withdraw {amount, address}`."""
        amount, address = values.read_micros(body, "amount"), values.read_text(body, "address", "invalid_address")
        row = self._transfers.withdraw_money(agent_id, amount, address)
        status = "pending_review" if row["status"] == "reviewing" else row["status"]
        return {
            "status": status,
            "withdrawal_id": row["withdrawal_id"],
            "amount": to_usd(row["amount"]),
            "fee": to_usd(row["fee"]),
            "chain": "base",
            "token": "USDC",
            "address": row["address"],
            "tx_hash": row["tx_hash"],
            "new_balance": to_usd(self._books.read_balance(agent_id)),
        }

    def claim_daily_bonus(self, agent_id: str, _body: Mapping[str, Any]) -> Body:
        """`daily {}`: claim the bonus."""
        row = self._transfers.claim_daily(agent_id)
        return {
            "claimed": True,
            "bonus_usd": to_usd(row["amount"]),
            "streak_day": row["streak"],
            "streak_broken": False,
            "balance_after": to_usd(self._books.read_balance(agent_id)),
            "next_bonus_usd": to_usd(bonus_of(row["streak"] + 1)),
        }

    def read_daily_state(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`daily-state`: whether the bonus can be claimed, and when next."""
        last = self._transfers.last_daily(agent_id)
        left = 0 if last is None else max(0, last["claimed_at"] + DAY_US - self._books.clock())
        streak = self._transfers.next_streak(last)
        return {
            "can_claim": left == 0,
            "current_streak": streak - 1 if left == 0 else last["streak"] if last is not None else 0,
            "next_bonus_usd": to_usd(bonus_of(streak)),
            "streak_broken": last is not None and streak == 1,
            "last_claimed_at": None if last is None else last["claimed_at"] // MICROS,
            "next_claim_in_seconds": -(-left // MICROS) or None,
        }

    def list_withdrawals(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`withdrawals`: the newest 50 as raw rows."""
        return {
            "withdrawals": [
                {
                    "id": row["withdrawal_id"],
                    "agentId": row["agent_id"],
                    "amount": to_usd(row["amount"]),
                    "fee": to_usd(row["fee"]),
                    "chain": "base",
                    "token": "USDC",
                    "address": row["address"],
                    "status": row["status"],
                    "txHash": row["tx_hash"],
                    "createdAt": row["created_at"] // MICROS,
                    "completedAt": row["created_at"] // MICROS if row["status"] == "completed" else None,
                }
                for row in self._transfers.list_withdrawals(agent_id)
            ]
        }

    def list_deposits(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`deposits`: the newest 50 as raw rows."""
        return {
            "deposits": [
                {
                    "id": row["tx_hash"],
                    "agentId": row["agent_id"],
                    "amount": to_usd(row["amount"]),
                    "chain": "base",
                    "txHash": row["tx_hash"],
                    "status": "credited",
                    "createdAt": row["created_at"] // MICROS,
                }
                for row in self._deposits.list_deposits(agent_id)
            ]
        }

    def read_referral(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`referral`: the agent's code, its referred agents, and its earnings."""
        self._books.require_agent(agent_id)
        count, earned = self._referrals.sum_earned(agent_id)
        code = self._referrals.get_code(agent_id)
        return {"referral_code": code, "total_referrals": count, "total_earned_usd": to_cents(earned)}


COLUMNS = (
    "bet_id", "game", "amount_usd", "amount_won_usd", "net_usd", "payout_multiplier", "won", "server_seed_hash",
    "client_seed", "nonce", "result_hash", "timestamp_utc",
)  # fmt: skip


class CasinoRoutes:
    """The casino's own routes."""

    def __init__(self, books: Books) -> None:
        self._casino = Casino(books)
        self._keys = Keys(books)
        self._referrals = Referrals(books)
        self._face = CasinoHandler(books)
        self._transfers = TransfersHandler(books)

    def list_routes(self) -> Sequence[Route]:
        """The table."""
        base = "/api/v1"
        return (
            write_route(f"{base}/auth/register", "join", self.register_account, public=True, status=201),
            read_route(f"{base}/auth/balance", "state", lambda who, given: self._face.read_state(who, given.query)),
            read_route(f"{base}/auth/ledger", "ledger", self.list_ledger),
            read_route(
                f"{base}/auth/deposits", "deposits", lambda who, given: self._transfers.list_deposits(who, given.query)
            ),
            read_route(f"{base}/auth/withdrawals", "withdrawals", self.list_withdrawals),
            read_route(f"{base}/auth/referral/code", "referral", self.read_code),
            read_route(f"{base}/auth/referral/stats", "referral", self.read_referral),
            write_route(
                f"{base}/auth/withdraw", "withdraw", lambda who, given: self._transfers.withdraw_money(who, given.body)
            ),
            read_route(f"{base}/bets/history", "bets", self.list_bets),
            read_route(f"{base}/bets/export.csv", "export", self.export_csv),
            read_route(f"{base}/fairness/audit/{{}}", "audit", self.audit_bet),
            write_route(f"{base}/games/coin-flip", "bet", self.play_game("coin-flip")),
            write_route(f"{base}/games/dice", "bet", self.play_game("dice")),
            write_route(f"{base}/stats/pay", "pay", lambda who, given: self._transfers.pay_agent(who, given.body)),
            read_route(
                f"{base}/daily", "daily-state", lambda who, given: self._transfers.read_daily_state(who, given.query)
            ),
            write_route(
                f"{base}/daily/claim", "daily", lambda who, given: self._transfers.claim_daily_bonus(who, given.body)
            ),
        )

    def register_account(self, _who: str, given: RequestData) -> Body:
        """Answer `POST /api/v1/auth/register`."""
        account, key = self._keys.create_account("casino")
        own = self._referrals.join_agent(account, str(given.body.get("referral_code", "")) or None)
        return {"agent_id": account, "api_key": key, "referral_code": own, "balance": 0.0, "tier": "free"}

    def play_game(self, game: str) -> Act:
        """Answer `POST /api/v1/games/coin-flip`: as the gateway, the result as an object and the proof in full."""

        def play(who: str, given: RequestData) -> Body:
            bet = self._face.place_bet(who, {**given.body, "game": game})
            del bet["at"]
            bet["result"] = result_json(game, bet["result"], bet.pop("choice"))
            bet["proof"]["result_hash"] = bet["proof"]["server_seed_hash"]
            return bet

        return play

    def list_ledger(self, who: str, _given: RequestData) -> Body:
        """Answer `GET /api/v1/auth/ledger`."""
        return {"entries": [ledger_json(row) for row in self._casino.list_ledger(who)]}

    def list_withdrawals(self, who: str, given: RequestData) -> Body:
        """Answer `GET /api/v1/auth/withdrawals`."""
        return self._transfers.list_withdrawals(who, given.query)

    def read_code(self, who: str, _given: RequestData) -> Body:
        """Answer `GET /api/v1/auth/referral/code`."""
        return {"referral_code": self._referrals.get_code(who)}

    def read_referral(self, who: str, given: RequestData) -> Body:
        """Answer `GET /api/v1/auth/referral/stats`."""
        answer = self._transfers.read_referral(who, given.query)
        answer.pop("referral_code")
        return answer

    def audit_bet(self, who: str, given: RequestData) -> Body:
        """Answer `GET /api/v1/fairness/audit/{id}`."""
        row = self._casino.get_bet(who, given.places[0])
        shown = bet_json(row)
        return {
            "bet_id": row["bet_id"],
            "game": row["game"].replace("-", "_"),
            "amount": to_usd(row["amount"]),
            "payout_multiplier": shown["payout_multiplier"],
            "won": shown["won"],
            "amount_won": to_usd(row["payout"]),
            "result": result_json(row["game"], row["result"], row["choice"]),
            "fairness": {
                "server_seed_hash": "0" * 64,
                "server_seed": "[hidden until seed rotation]",
                "client_seed": row["client_seed"],
                "nonce": row["nonce"],
                "result_hash": "0" * 64,
                "seed_revealed": False,
                "seed_revealed_at": None,
            },
            "timestamp": shown["at"],
        }

    def list_bets(self, who: str, given: RequestData) -> Body:
        """Answer `GET /api/v1/bets/history`."""
        limit, offset = (
            values.read_count(given.query, "limit", 50, 200),
            values.read_count(given.query, "offset", 0, 10**9),
        )
        total, rows = self._casino.list_bets(who, limit, offset)
        more = offset + len(rows) < total
        page = {"total": total, "limit": limit, "offset": offset, "has_more": more}
        return {
            "bets": [
                {
                    "id": row["bet_id"],
                    "game": row["game"].replace("-", "_"),
                    "amount": to_cents(row["amount"]),
                    "amount_won": to_cents(row["payout"]),
                    "multiplier": row["multiplier_e4"] / 10_000,
                    "won": bool(row["won"]),
                    "net": to_cents(row["payout"] - row["amount"]),
                    "at": to_iso(row["created_at"]),
                }
                for row in rows
            ],
            "pagination": page,
        }

    def export_csv(self, who: str, given: RequestData) -> str:
        """Answer `GET /api/v1/bets/export.csv`."""
        rows = self._casino.export_bets(who, values.read_since_us(given.query), None)
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows(_export_row(row) for row in rows)
        return text.getvalue().rstrip("\r\n")


def _export_row(row: Row) -> list[str]:
    multiplier = f"{row['multiplier_e4'] / 10_000:g}"
    net = to_cents(row["payout"] - row["amount"])
    money = [f"{to_cents(row['amount']):.2f}", f"{to_cents(row['payout']):.2f}", f"{net:.2f}"]
    won = "true" if row["won"] else "false"
    seeds = ["", row["client_seed"], str(row["nonce"]), ""]
    return [row["bet_id"], row["game"].replace("-", "_"), *money, multiplier, won, *seeds, to_iso(row["created_at"])]
