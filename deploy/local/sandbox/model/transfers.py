"""Money at the casino without a game: payments between agents, withdrawals to a chain, the daily bonus.

A withdrawal is several steps, as at the real service: reservation, its release, the debit, the transfer. What goes to
the chain is counted apart from what the casino says about it.
"""

from __future__ import annotations

import re

from deploy.local.sandbox.model.books import MICROS, Books, Refusal, Row

WITHDRAWAL_FEE = MICROS // 2
LEAST, MOST, REVIEWED = MICROS, 100_000 * MICROS, 1_000 * MICROS
"""Smallest and largest withdrawal, and the amount above which a person looks at it first."""

DAY_US = 86_400 * MICROS
BONUSES = (500_000, 750_000, 1_000_000, 1_250_000, 1_500_000, 2_000_000, 5_000_000)
"""Bonus by day of the streak, in micro-dollars; then from the start."""

SHOWN = 50

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z")


class Transfers:
    """Payments, withdrawals, bonuses."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def pay_agent(self, payer: str, payee: str, amount: int) -> str:
        """Move an amount to another agent's shared balance and return the payment's id; the memo is not stored."""
        books = self._books
        books.require_agent(payer)
        if amount <= 0:
            raise Refusal(400, "invalid_amount", "amount is above 0.")
        if payer == payee:
            raise Refusal(400, "self_payment", "The recipient is another agent.")
        if books.query_row("SELECT 1 FROM agents WHERE agent_id = ?", payee) is None:
            raise Refusal(404, "recipient_not_found", "Nobody registered the recipient.")
        if amount > books.read_balance(payer):
            raise Refusal(400, "insufficient_balance", "The balance is too low.")
        payment_id = books.chance.make_token("pay", payer, books.next_nonce(payer))
        books.post_entry(payer, -amount, "payment_sent", payment_id, "casino")
        books.pass_step()
        books.post_entry(payee, amount, "payment_received", payment_id, "casino")
        books.record_effect("casino", "pay", payer, payment_id)
        return payment_id

    def withdraw_money(self, agent_id: str, amount: int, address: str) -> Row:
        """Send an amount to a chain; the withdrawal's row. Above 1,000 it waits for a person."""
        books = self._books
        books.require_agent(agent_id)
        if amount < LEAST:
            raise Refusal(400, "minimum_withdrawal", "The smallest withdrawal is 1.00.")
        if amount > MOST:
            raise Refusal(400, "maximum_withdrawal", "The largest withdrawal is 100,000.")
        if not _ADDRESS.match(address):
            raise Refusal(400, "invalid_address", "An address is 0x and 40 hexadecimal digits.")
        cost = amount + WITHDRAWAL_FEE
        if cost > books.read_balance(agent_id):
            raise Refusal(400, "insufficient_balance", "The balance is too low.", fee=WITHDRAWAL_FEE)
        withdrawal_id = books.chance.make_token("wd", agent_id, books.next_nonce(agent_id))
        books.post_entry(agent_id, -cost, "reservation", withdrawal_id, "casino")
        books.pass_step()
        status = "reviewing" if amount > REVIEWED else "completed"
        if status == "completed":
            books.post_entry(agent_id, cost, "reservation_release", withdrawal_id, "casino")
            books.post_entry(agent_id, -cost, "withdrawal", withdrawal_id, "withdrawal")
        tx_hash = "0x" + books.chance.derive_bytes("withdrawal", agent_id, withdrawal_id).hex()
        books.insert_row(
            "withdrawals", withdrawal_id=withdrawal_id, agent_id=agent_id, amount=amount, fee=WITHDRAWAL_FEE,
            address=address, status=status, tx_hash=tx_hash if status == "completed" else None,
            created_at=books.clock(),
        )  # fmt: skip
        books.record_effect("casino", "withdraw", agent_id, withdrawal_id)
        return self.list_withdrawals(agent_id)[0]

    def list_withdrawals(self, agent_id: str) -> list[Row]:
        """The newest 50, newest first."""
        self._books.require_agent(agent_id)
        sql = "SELECT * FROM withdrawals WHERE agent_id = ? ORDER BY created_at DESC, rowid DESC LIMIT ?"
        return self._books.query_rows(sql, agent_id, SHOWN)

    def last_daily(self, agent_id: str) -> Row | None:
        """The newest claim of the daily bonus."""
        self._books.require_agent(agent_id)
        return self._books.query_row(
            "SELECT * FROM daily WHERE agent_id = ? ORDER BY claimed_at DESC LIMIT 1", agent_id
        )

    def claim_daily(self, agent_id: str) -> Row:
        """Claim it; refused within a day of the last claim. The claim is recorded before it is credited."""
        books, now = self._books, self._books.clock()
        last = self.last_daily(agent_id)
        if last is not None and now - last["claimed_at"] < DAY_US:
            left = (DAY_US - (now - last["claimed_at"])) // MICROS
            raise Refusal(400, "already_claimed", "Already claimed today.", seconds=str(left))
        streak = self.next_streak(last)
        bonus_id = books.chance.make_token("db", agent_id, books.next_nonce(agent_id))
        amount = bonus_of(streak)
        books.insert_row("daily", bonus_id=bonus_id, agent_id=agent_id, amount=amount, streak=streak, claimed_at=now)
        books.pass_step()
        books.post_entry(agent_id, amount, "daily_bonus", bonus_id, "casino")
        books.record_effect("casino", "daily", agent_id, bonus_id)
        claimed = self.last_daily(agent_id)
        if claimed is None:
            raise Refusal(500, "internal_error")
        return claimed

    def next_streak(self, last: Row | None) -> int:
        """The day of the streak that a claim now would be."""
        if last is None or self._books.clock() - last["claimed_at"] > 2 * DAY_US:
            return 1
        return int(last["streak"]) + 1


def bonus_of(streak: int) -> int:
    """The bonus of a day of the streak, from 1, in micro-dollars."""
    return BONUSES[(streak - 1) % len(BONUSES)]
