"""The casino and the faucet: bets against the shared balance, payments and withdrawals, and one dollar once.

Multipliers are whole ten-thousandths, so payouts of cents are exact.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from deploy.local.sandbox.model.books import CASINO, MICROS, Books, Refusal, Row
from deploy.local.sandbox.model.funding import Referrals

SIDES = ("heads", "tails")
FLIP_E4 = 19_900
"""A won coin flip pays 1.99 times the stake."""

DICE_RETURN_E4 = 995_000
"""Dice pay 99.5 divided by the chance in per cent."""

LOWEST, HIGHEST = 2, 98


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result in words, whether it won, and the multiplier of the stake in ten-thousandths."""

    result: str
    won: bool
    multiplier_e4: int


def play_game(game: str, choice: str, draw: int) -> Outcome:
    """The outcome of `game` for `choice` ("heads", "over:50") and a draw of 128 random bits."""
    if game == "coin-flip":
        side = SIDES[draw % 2]
        return Outcome(side, side == choice, FLIP_E4)
    direction, threshold = choice.split(":")
    rolled, limit = draw % 100, int(threshold)
    chance = 99 - limit if direction == "over" else limit
    won = rolled > limit if direction == "over" else rolled < limit
    return Outcome(str(rolled), won, DICE_RETURN_E4 // chance)


def check_side(side: object) -> str:
    """A checked side of the coin."""
    if side not in SIDES:
        raise Refusal(400, "invalid_side", "side is heads or tails.")
    return str(side)


def check_dice_choice(direction: object, threshold: object) -> str:
    """A checked choice for the dice, such as `over:50`."""
    if direction not in {"over", "under"}:
        raise Refusal(400, "invalid_direction", "direction is over or under.")
    if isinstance(threshold, bool) or not isinstance(threshold, int) or not LOWEST <= threshold <= HIGHEST:
        raise Refusal(400, "invalid_threshold", f"threshold is a whole number from {LOWEST} to {HIGHEST}.")
    return f"{direction}:{threshold}"


MINIMUM = MICROS // 100
KELLY_SHARE = 8
"""The largest bet is an eighth of the balance: a quarter of it, halved."""

LEDGER_ROWS = 50
EXPORT_ROWS = 10_000


class Casino:
    """Bets, their history, and the ledger of the account that casino, escrow and faucet share."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._referrals = Referrals(books)

    def place_bet(self, agent_id: str, game: str, choice: str, amount: int, client_seed: str | None) -> Row:
        """Stake `amount` on `choice`; the stored bet."""
        self._books.require_agent(agent_id)
        balance = self._books.read_balance(agent_id)
        if amount < MINIMUM:
            raise Refusal(400, "minimum_bet", "The smallest bet is 0.01.")
        if amount > balance:
            raise Refusal(400, "insufficient_balance", "The balance is too low.", required=amount)
        cap = balance // KELLY_SHARE
        if amount > cap and self._books.read_switch("kelly_cap", default=True):
            raise Refusal(400, "kelly_limit_exceeded", "The bet is above the Kelly limit.", max_bet=cap)
        nonce = self._books.next_nonce(agent_id)
        seed = client_seed if client_seed is not None else self._books.chance.make_token("seed", agent_id, nonce)
        outcome = play_game(game, choice, self._books.chance.draw_below(1 << 64, "draw", agent_id, seed, nonce))
        bet_id = self._books.chance.make_token("bet", agent_id, nonce)
        payout = amount * outcome.multiplier_e4 // 10_000 if outcome.won else 0
        self._books.post_entry(agent_id, -amount, "reservation", bet_id, "casino")
        self._books.pass_step()
        if payout:
            self._books.post_entry(agent_id, payout, "reservation_release", bet_id, "casino")
        self._referrals.credit_referrer(agent_id, amount - payout, bet_id)
        self._books.insert_row(
            "bets", bet_id=bet_id, agent_id=agent_id, game=game, choice=choice, amount=amount,
            multiplier_e4=outcome.multiplier_e4, payout=payout, won=int(outcome.won), result=outcome.result,
            client_seed=seed, nonce=nonce, created_at=self._books.clock(),
        )  # fmt: skip
        self._books.record_effect("casino", "bet", agent_id, seed)
        return self.get_bet(agent_id, bet_id)

    def get_bet(self, agent_id: str, bet_id: str) -> Row:
        """One bet with its exact amounts."""
        row = self._books.query_row("SELECT * FROM bets WHERE agent_id = ? AND bet_id = ?", agent_id, bet_id)
        if row is None:
            raise Refusal(404, "bet_not_found", "This agent has no such bet.")
        return row

    def list_bets(self, agent_id: str, limit: int, offset: int) -> tuple[int, list[Row]]:
        """The number of bets, and a page of them, newest first."""
        self._books.require_agent(agent_id)
        count = self._books.query_row("SELECT count(*) AS n FROM bets WHERE agent_id = ?", agent_id)
        sql = "SELECT * FROM bets WHERE agent_id = ? ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?"
        return int(count["n"]) if count else 0, self._books.query_rows(sql, agent_id, limit, offset)

    def export_bets(self, agent_id: str, since_us: int, client_seed: str | None) -> list[Row]:
        """Bets since a time, newest first, at most 10,000, of one `client_seed` when it is given."""
        self._books.require_agent(agent_id)
        sql = (
            "SELECT * FROM bets WHERE agent_id = ? AND created_at >= ? AND (? IS NULL OR client_seed = ?) "
            "ORDER BY created_at DESC, rowid DESC LIMIT ?"
        )
        return self._books.query_rows(sql, agent_id, since_us, client_seed, client_seed, EXPORT_ROWS)

    def list_ledger(self, agent_id: str) -> list[Row]:
        """50 rows by whole second, ties in the order of insertion: the newest of a busy second are missing."""
        self._books.require_agent(agent_id)
        sql = (
            "SELECT * FROM entries WHERE agent_id = ? AND account = ? "
            "ORDER BY created_at / 1000000 DESC, id ASC LIMIT ?"
        )
        return self._books.query_rows(sql, agent_id, CASINO, LEDGER_ROWS)

    def sum_bets(self, agent_id: str) -> Row | None:
        """Sums over all bets, and over all deposits, in micro-dollars."""
        return self._books.query_row(
            "SELECT coalesce(sum(amount), 0) AS wagered, coalesce(sum(payout), 0) AS won, "
            "(SELECT coalesce(sum(micros), 0) FROM entries e WHERE e.agent_id = ? AND e.account = 'casino' "
            "AND e.reason = 'deposit') AS deposited, "
            "(SELECT coalesce(sum(w.amount), 0) FROM withdrawals w WHERE w.agent_id = ?) AS withdrawn "
            "FROM bets WHERE agent_id = ?",
            agent_id,
            agent_id,
            agent_id,
        )


WITHDRAWAL_FEE = MICROS // 2
LEAST, MOST, REVIEWED = MICROS, 100_000 * MICROS, 1_000 * MICROS
"""Smallest and largest withdrawal, and the amount above which a person looks at it first."""

DAY_US = 86_400 * MICROS
BONUSES = (500_000, 750_000, 1_000_000, 1_250_000, 1_500_000, 2_000_000, 5_000_000)
"""Bonus by day of the streak, in micro-dollars; then from the start."""

SHOWN = 50

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z")


class Transfers:
    """Money at the casino without a game: payments between agents, withdrawals to a chain, the daily bonus.

    A withdrawal is several steps, as at the real service: reservation, its release, the debit, the transfer. What goes
    to the chain is counted apart from what the casino says about it.
    """

    def __init__(self, books: Books) -> None:
        self._books = books

    def pay_agent(self, payer: str, payee: str, amount: int) -> str:
        """Move an amount to another agent's shared balance and return the payment's id; the memo is not stored."""
        books = self._books
        books.require_agent(payer)
        if amount < MINIMUM:
            raise Refusal(400, "invalid_amount", "Amount must be at least $0.01")
        if payer == payee:
            raise Refusal(400, "same_agent", "The recipient is another agent.")
        if books.query_row("SELECT 1 FROM agents WHERE agent_id = ?", payee) is None:
            raise Refusal(404, "recipient_not_found", "Nobody registered the recipient.")
        if amount > books.read_balance(payer):
            raise Refusal(400, "insufficient_balance", "The balance is too low.")
        payment_id = books.chance.make_token("pay", payer, books.next_nonce(payer))
        books.post_entry(payer, -amount, "payment_sent", payment_id, "payment")
        books.pass_step()
        books.post_entry(payee, amount, "payment_received", payment_id, "payment")
        books.record_effect("casino", "pay", payer, payment_id)
        return payment_id

    def withdraw_money(self, agent_id: str, amount: int, address: str) -> Row:
        """Send an amount to a chain; the withdrawal's row. Above 1,000 it waits for a person."""
        books = self._books
        books.require_agent(agent_id)
        if amount < LEAST:
            raise Refusal(400, "minimum_withdrawal", "The smallest withdrawal is 1.00.", minimum=LEAST)
        if amount > MOST:
            raise Refusal(400, "maximum_withdrawal", "The largest withdrawal is 100,000.", maximum=MOST)
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
            raise Refusal(
                400,
                "already_claimed",
                "Already claimed today.",
                next_claim_in_seconds=DAY_US - (now - last["claimed_at"]),
                current_streak=last["streak"] * MICROS,
                next_bonus_usd=bonus_of(last["streak"] + 1),
            )
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


class Faucet:
    """Claims; whether an agent has claimed is told by its ledger row, as at the real service."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def claim_dollar(self, agent_id: str) -> str:
        """Credit one dollar; the claim's id."""
        self._books.require_agent(agent_id)
        if self.find_claim(agent_id) is not None:
            raise Refusal(409, "already_claimed", "This agent has claimed before.")
        claim_id = self._books.chance.make_token("claim", agent_id, self._books.next_nonce(agent_id))
        self._books.post_entry(agent_id, MICROS, "faucet_claim", claim_id, "faucet")
        self._books.record_effect("faucet", "claim", agent_id, agent_id)
        return claim_id

    def count_claims(self) -> int:
        """Return the number of agents that have claimed."""
        row = self._books.query_row(
            "SELECT count(*) AS n FROM entries WHERE service = 'faucet' AND reason = 'faucet_claim'"
        )
        return int(row["n"]) if row else 0

    def find_claim(self, agent_id: str) -> Row | None:
        """The ledger row of the agent's claim, or None."""
        return self._books.query_row(
            "SELECT * FROM entries WHERE agent_id = ? AND service = 'faucet' AND reason = 'faucet_claim'", agent_id
        )
