"""The casino's own routes, below `/api/v1`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.casino import CasinoFace, ledger_row
from deploy.local.sandbox.gateway.shapes import Body, cents, iso
from deploy.local.sandbox.gateway.transfers import TransfersFace
from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.casino import Casino
from deploy.local.sandbox.model.keys import Keys
from deploy.local.sandbox.model.referrals import Referrals
from deploy.local.sandbox.own.route import Act, Given, Route, read, write

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
        self._face = CasinoFace(books)
        self._transfers = TransfersFace(books)

    def routes(self) -> Sequence[Route]:
        """The table."""
        base = "/api/v1"
        return (
            write(f"{base}/auth/register", "join", self._register, public=True, status=201),
            read(f"{base}/auth/balance", "state", lambda who, given: self._face.state(who, given.query)),
            read(f"{base}/auth/ledger", "ledger", self._ledger),
            read(f"{base}/auth/deposits", "deposits", lambda who, given: self._transfers.deposits(who, given.query)),
            read(f"{base}/auth/withdrawals", "withdrawals", self._withdrawals),
            read(f"{base}/auth/referral/code", "referral", self._code),
            read(f"{base}/auth/referral/stats", "referral", self._referral),
            write(f"{base}/auth/withdraw", "withdraw", lambda who, given: self._transfers.withdraw(who, given.body)),
            read(f"{base}/bets/history", "bets", self._history),
            read(f"{base}/bets/export.csv", "export", self._export),
            read(f"{base}/fairness/audit/{{}}", "audit", self._audit),
            write(f"{base}/games/coin-flip", "bet", self._game("coin-flip")),
            write(f"{base}/games/dice", "bet", self._game("dice")),
            write(f"{base}/stats/pay", "pay", self._pay),
            read(f"{base}/daily", "daily-state", lambda who, given: self._transfers.daily_state(who, given.query)),
            write(f"{base}/daily/claim", "daily", lambda who, given: self._transfers.daily(who, given.body)),
        )

    def _register(self, _who: str, given: Given) -> Body:
        account, key = self._keys.register("casino")
        own = self._referrals.join(account, str(given.body.get("referral_code", "")) or None)
        return {"agent_id": account, "api_key": key, "referral_code": own, "balance": 0.0, "tier": "free"}

    def _game(self, game: str) -> Act:
        return lambda who, given: self._face.bet(who, {**given.body, "game": game})

    def _pay(self, who: str, given: Given) -> Body:
        answer = self._transfers.pay(who, given.body)
        answer.pop("payment_id")  # the real answer names no id
        return {"success": True, **answer}

    def _ledger(self, who: str, _given: Given) -> Body:
        return {"entries": [ledger_row(row) for row in self._casino.ledger(who)]}

    def _withdrawals(self, who: str, given: Given) -> Body:
        return self._transfers.withdrawals(who, given.query)

    def _code(self, who: str, _given: Given) -> Body:
        return {"referral_code": self._referrals.code(who)}

    def _referral(self, who: str, given: Given) -> Body:
        answer = self._transfers.referral(who, given.query)
        answer.pop("referral_code")
        return answer

    def _audit(self, who: str, given: Given) -> Body:
        return self._face.audit(who, {"bet_id": given.places[0]})

    def _history(self, who: str, given: Given) -> Body:
        limit, offset = inputs.count(given.query, "limit", 50, 200), inputs.count(given.query, "offset", 0, 10**9)
        total, rows = self._casino.history(who, limit, offset)
        more = offset + len(rows) < total
        page = {"total": total, "limit": limit, "offset": offset, "has_more": more}
        return {"bets": [_bet(row) for row in rows], "pagination": page}

    def _export(self, who: str, given: Given) -> str:
        rows = self._casino.export(who, inputs.since_us(given.query), None)
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows(_exported(row) for row in rows)
        return text.getvalue().rstrip("\r\n")


def _bet(row: Row) -> Body:
    return {
        "id": row["bet_id"],
        "game": row["game"].replace("-", "_"),
        "amount": cents(row["amount"]),
        "amount_won": cents(row["payout"]),
        "multiplier": row["multiplier_e4"] / 10_000,
        "won": bool(row["won"]),
        "net": cents(row["payout"] - row["amount"]),
        "at": iso(row["created_at"]),
    }


def _exported(row: Row) -> list[str]:
    multiplier = f"{row['multiplier_e4'] / 10_000:g}"
    net = cents(row["payout"] - row["amount"])
    money = [f"{cents(row['amount']):.2f}", f"{cents(row['payout']):.2f}", f"{net:.2f}"]
    won = "true" if row["won"] else "false"
    seeds = ["", row["client_seed"], str(row["nonce"]), ""]
    return [row["bet_id"], row["game"].replace("-", "_"), *money, multiplier, won, *seeds, iso(row["created_at"])]
