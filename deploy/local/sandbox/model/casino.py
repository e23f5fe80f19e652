"""The casino and the faucet: bets against the shared balance, found again by `client_seed`, and one dollar once.

Multipliers are whole ten-thousandths, so payouts of cents are exact.
"""

from __future__ import annotations

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
    return _flip_coin(choice, draw) if game == "coin-flip" else _roll_dice(choice, draw)


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


def _flip_coin(choice: str, draw: int) -> Outcome:
    side = SIDES[draw % 2]
    return Outcome(side, side == choice, FLIP_E4)


def _roll_dice(choice: str, draw: int) -> Outcome:
    direction, threshold = choice.split(":")
    rolled, limit = draw % 100, int(threshold)
    chance = 99 - limit if direction == "over" else limit
    won = rolled > limit if direction == "over" else rolled < limit
    return Outcome(str(rolled), won, DICE_RETURN_E4 // chance)


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
            raise Refusal(400, "insufficient_balance", "The balance is too low.", balance=balance)
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
            "AND e.reason = 'deposit') AS deposited FROM bets WHERE agent_id = ?",
            agent_id,
            agent_id,
        )


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
