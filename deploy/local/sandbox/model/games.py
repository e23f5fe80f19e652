"""The games: what a draw means for a choice. Multipliers are whole ten-thousandths, so payouts of cents are exact."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.local.sandbox.model.refusal import Refusal

SIDES = ("heads", "tails")
FLIP_E4 = 19_900
"""A won coin flip pays 1.99 times the stake."""

DICE_RETURN_E4 = 995_000
"""Dice pay 99.5 divided by the chance in per cent."""

LOWEST, HIGHEST = 2, 98


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out: the result in words, whether it won, and the multiplier of the stake in ten-thousandths."""

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
