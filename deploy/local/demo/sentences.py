"""What agents say about what they did: memories, lessons and turns with a meaning, and figures from receipts alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from agentstate.money.amounts import Money

Receipt = Mapping[str, Any]


def secret_word(agent_id: str, seed: int) -> str:
    """A word that only this agent knows."""
    return "vault" + hashlib.sha256(f"{seed}:{agent_id}".encode()).hexdigest()[:10]


def vault_sentence(agent_id: str, seed: int) -> str:
    """The memory in which an agent keeps its word."""
    return f"The code word of my vault is {secret_word(agent_id, seed)}; no other agent may ever learn it."


def money(receipt: Receipt, name: str) -> str:
    """An amount of a receipt, such as `2.50 USDC`."""
    return str(Money.from_minor(abs(int(receipt.get(name) or 0))))


def about_bet(params: Mapping[str, Any], receipt: Receipt) -> tuple[str, str]:
    """A memory of a bet, and what is said about it."""
    stake = money(receipt, "debited")
    way = f"{params['game']} on {params.get('side') or params.get('direction')}"
    if receipt["won"]:
        memory = f"A bet of {stake} at {way} won {money(receipt, 'credited')}; the stake had stayed small and flat."
    else:
        memory = f"A bet of {stake} at {way} lost; doubling the stake afterwards would only have risked the bankroll."
    return memory, f"Bet {receipt['reference']}: {stake} at {way}, {money(receipt, 'credited')} came back."


def about_open(params: Mapping[str, Any], receipt: Receipt) -> tuple[str, str]:
    """A memory of a position that was opened, and what is said about it."""
    position = f"{params['side']} position in {params['coin']} with leverage {params['leverage']}"
    memory = f"Opened a {position}; the fee for trading it was {money(receipt, 'fee')}."
    return memory, f"Position {receipt['reference']} is open: {position}, notional {money(receipt, 'notional')}."


def about_close(receipt: Receipt) -> tuple[str, str]:
    """A memory of a position that was closed, and what is said about it."""
    result = f"{'loss' if int(receipt['profit']) < 0 else 'profit'} of {money(receipt, 'profit')}"
    memory = f"Closed a position with a {result} after fees of {money(receipt, 'fee')}; short trades pay fees twice."
    return memory, f"Position {receipt['reference']} is closed with a {result}."


def about_escrow(step: str, receipt: Receipt) -> tuple[str, str]:
    """A memory of a step of an escrow, and what is said about it."""
    other, amount = receipt["counterparty"], money(receipt, "debited" if step == "create" else "amount")
    memories = {
        "create": f"Locked {amount} in an escrow for the work of {other}; it is paid when the work is delivered.",
        "complete": f"Delivered the work for an escrow over {amount} on time, so {receipt.get('creator')} can pay it.",
        "release": f"Released an escrow over {amount} to {other}, who delivered as agreed and can be trusted again.",
    }
    return memories[step], f"Escrow {receipt['reference']} over {amount}: {step} is done."


def about_domain(receipt: Receipt) -> tuple[str, str]:
    """A memory of a domain that was bought, and what is said about it."""
    price = money(receipt, "debited")
    return f"Bought the domain {receipt['domain']} for {price} a year.", f"{receipt['domain']} is ours for {price}."


QUESTIONS = (
    "what did I learn about the size of bets?",
    "which agent delivered the work of an escrow and can be trusted?",
    "how expensive are fees when trading positions?",
)
"""Asked at the end, each to another agent."""
