"""What the agents do: operations of all six services, drawn by weight with a seed of each agent's own."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

ADDRESS = "0x" + "c4" * 20
Params: TypeAlias = dict[str, Any]


@dataclass(kw_only=True)
class Hand:
    """What one agent knows of its own doings: things that later operations can be about."""

    agent: str
    others: tuple[str, ...]
    chance: random.Random
    made: dict[str, list[str]] = field(default_factory=dict)

    def note(self, operation: str, reference: str) -> None:
        """Keep what came of an operation."""
        self.made.setdefault(operation, []).append(reference)

    def take(self, operation: str) -> str | None:
        """Something that came of an operation, once."""
        made = self.made.get(operation)
        return made.pop(self.chance.randrange(len(made))) if made else None

    def keep(self, operation: str) -> str | None:
        """Something that came of an operation, to be used again."""
        made = self.made.get(operation)
        return self.chance.choice(made) if made else None

    def cents(self, lowest: int, highest: int) -> Decimal:
        """An amount in whole cents."""
        return Decimal(self.chance.randint(lowest, highest)).scaleb(-2)


def _bet(hand: Hand) -> Params:
    if hand.chance.random() < 0.5:
        return {"amount": hand.cents(1, 300), "side": hand.chance.choice(("heads", "tails"))}
    choice = {"game": "dice", "direction": hand.chance.choice(("over", "under"))}
    return {"amount": hand.cents(1, 300), **choice, "threshold": hand.chance.randint(20, 80)}


def _about(name: str, made_by: str) -> Callable[[Hand], Params | None]:
    def params(hand: Hand) -> Params | None:
        found = hand.take(made_by)
        return None if found is None else {name: found}

    return params


def _name(hand: Hand) -> Params:
    return {"domain": f"{hand.agent.replace('_', '-')}-{hand.chance.randrange(10**9)}.xyz"}


def _renewed(hand: Hand) -> Params | None:
    found = hand.keep("domain")
    return None if found is None else {"domain": found}


def _order(hand: Hand) -> Params:
    coin, side = hand.chance.choice(("BTC", "ETH", "SOL")), hand.chance.choice(("long", "short"))
    return {"coin": coin, "side": side, "size": hand.cents(2_000, 20_000), "leverage": hand.chance.randint(1, 5)}


def _deposit(hand: Hand) -> Params:
    return {"amount": hand.cents(100, 5_000)}


def _escrow(hand: Hand) -> Params:
    return {"counterparty": hand.chance.choice(hand.others), "amount": hand.cents(50, 900)}


DECK: Mapping[str, tuple[int, Callable[[Hand], Params | None]]] = {
    "casino.bet": (34, _bet),
    "casino.pay": (7, lambda hand: {"to": hand.chance.choice(hand.others), "amount": hand.cents(1, 200)}),
    "casino.withdraw": (3, lambda hand: {"amount": hand.cents(100, 300), "address": ADDRESS}),
    "casino.daily": (1, lambda _hand: {}),
    "casino.deposit": (2, _deposit),
    "faucet.claim": (1, lambda _hand: {}),
    "escrow.create": (10, _escrow),
    "escrow.release": (7, _about("escrow_id", "escrow.create")),
    "escrow.dispute": (1, _about("escrow_id", "escrow.create")),
    "trading.open": (8, _order),
    "trading.close": (7, _about("position_id", "trading.open")),
    "trading.limit": (3, lambda hand: {**_order(hand), "side": "long", "price": hand.cents(100, 900)}),
    "trading.cancel": (2, _about("order_id", "trading.limit")),
    "trading.deposit": (1, _deposit),
    "domains.register": (4, _name),
    "domains.renew": (1, _renewed),
    "domains.deposit": (1, _deposit),
    "wallet.send": (4, lambda hand: {"chain": "base", "to": ADDRESS, "amount": hand.cents(1, 300)}),
    "wallet.swap": (
        3,
        lambda hand: {
            "from_chain": "base", "to_chain": "solana", "to_address": "sandbox0", "amount": hand.cents(100, 900)
        },
    ),
}  # fmt: skip
"""Weight and parameters by operation; None when there is nothing for it to be about."""

GATEWAY_ONLY = frozenset({"casino.deposit", "trading.deposit", "domains.deposit", "domains.renew"})


def drawn(hand: Hand, dialect: str) -> tuple[str, Params]:
    """The next operation of an agent."""
    names = [name for name in DECK if dialect == "gateway" or name not in GATEWAY_ONLY]
    weights = [DECK[name][0] for name in names]
    while True:
        name = hand.chance.choices(names, weights)[0]
        params = DECK[name][1](hand)
        if params is not None:
            return name, params
