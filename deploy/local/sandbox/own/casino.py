"""The casino's own routes, below `/api/v1`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.casino import CasinoHandler, ledger_json
from deploy.local.sandbox.gateway.shapes import Body, to_cents, to_iso
from deploy.local.sandbox.gateway.transfers import TransfersHandler
from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.casino import Casino
from deploy.local.sandbox.model.keys import Keys
from deploy.local.sandbox.model.referrals import Referrals
from deploy.local.sandbox.own.route import Act, RequestData, Route, read_route, write_route

COLUMNS = (
    "bet_id", "game", "amount_usd", "amount_won_usd", "net_usd", "payout_multiplier", "won", "server_seed_hash",
    "client_seed", "nonce", "result_hash", "timestamp_utc",
)  # fmt: skip


class CasinoRoutes:
    """What the casino answers under its own address."""

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
            write_route(f"{base}/auth/register", "join", self._register_account, public=True, status=201),
            read_route(f"{base}/auth/balance", "state", lambda who, given: self._face.read_state(who, given.query)),
            read_route(f"{base}/auth/ledger", "ledger", self._list_ledger),
            read_route(
                f"{base}/auth/deposits", "deposits", lambda who, given: self._transfers.list_deposits(who, given.query)
            ),
            read_route(f"{base}/auth/withdrawals", "withdrawals", self._list_withdrawals),
            read_route(f"{base}/auth/referral/code", "referral", self._read_code),
            read_route(f"{base}/auth/referral/stats", "referral", self._read_referral),
            write_route(
                f"{base}/auth/withdraw", "withdraw", lambda who, given: self._transfers.withdraw_money(who, given.body)
            ),
            read_route(f"{base}/bets/history", "bets", self._list_bets),
            read_route(f"{base}/bets/export.csv", "export", self._export_csv),
            read_route(f"{base}/fairness/audit/{{}}", "audit", self._audit_bet),
            write_route(f"{base}/games/coin-flip", "bet", self._play_game("coin-flip")),
            write_route(f"{base}/games/dice", "bet", self._play_game("dice")),
            write_route(f"{base}/stats/pay", "pay", self._pay_agent),
            read_route(
                f"{base}/daily", "daily-state", lambda who, given: self._transfers.read_daily_state(who, given.query)
            ),
            write_route(
                f"{base}/daily/claim", "daily", lambda who, given: self._transfers.claim_daily_bonus(who, given.body)
            ),
        )

    def _register_account(self, _who: str, given: RequestData) -> Body:
        account, key = self._keys.create_account("casino")
        own = self._referrals.join_agent(account, str(given.body.get("referral_code", "")) or None)
        return {"agent_id": account, "api_key": key, "referral_code": own, "balance": 0.0, "tier": "free"}

    def _play_game(self, game: str) -> Act:
        return lambda who, given: self._face.place_bet(who, {**given.body, "game": game})

    def _pay_agent(self, who: str, given: RequestData) -> Body:
        answer = self._transfers.pay_agent(who, given.body)
        answer.pop("payment_id")  # the real answer names no id
        return {"success": True, **answer}

    def _list_ledger(self, who: str, _given: RequestData) -> Body:
        return {"entries": [ledger_json(row) for row in self._casino.list_ledger(who)]}

    def _list_withdrawals(self, who: str, given: RequestData) -> Body:
        return self._transfers.list_withdrawals(who, given.query)

    def _read_code(self, who: str, _given: RequestData) -> Body:
        return {"referral_code": self._referrals.get_code(who)}

    def _read_referral(self, who: str, given: RequestData) -> Body:
        answer = self._transfers.read_referral(who, given.query)
        answer.pop("referral_code")
        return answer

    def _audit_bet(self, who: str, given: RequestData) -> Body:
        return self._face.audit_bet(who, {"bet_id": given.places[0]})

    def _list_bets(self, who: str, given: RequestData) -> Body:
        limit, offset = (
            inputs.read_count(given.query, "limit", 50, 200),
            inputs.read_count(given.query, "offset", 0, 10**9),
        )
        total, rows = self._casino.list_bets(who, limit, offset)
        more = offset + len(rows) < total
        page = {"total": total, "limit": limit, "offset": offset, "has_more": more}
        return {"bets": [_own_bet_json(row) for row in rows], "pagination": page}

    def _export_csv(self, who: str, given: RequestData) -> str:
        rows = self._casino.export_bets(who, inputs.read_since_us(given.query), None)
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows(_export_row(row) for row in rows)
        return text.getvalue().rstrip("\r\n")


def _own_bet_json(row: Row) -> Body:
    return {
        "id": row["bet_id"],
        "game": row["game"].replace("-", "_"),
        "amount": to_cents(row["amount"]),
        "amount_won": to_cents(row["payout"]),
        "multiplier": row["multiplier_e4"] / 10_000,
        "won": bool(row["won"]),
        "net": to_cents(row["payout"] - row["amount"]),
        "at": to_iso(row["created_at"]),
    }


def _export_row(row: Row) -> list[str]:
    multiplier = f"{row['multiplier_e4'] / 10_000:g}"
    net = to_cents(row["payout"] - row["amount"])
    money = [f"{to_cents(row['amount']):.2f}", f"{to_cents(row['payout']):.2f}", f"{net:.2f}"]
    won = "true" if row["won"] else "false"
    seeds = ["", row["client_seed"], str(row["nonce"]), ""]
    return [row["bet_id"], row["game"].replace("-", "_"), *money, multiplier, won, *seeds, to_iso(row["created_at"])]
