"""How the agents of the fleet behave: what they do at the services, and what they remember and say about it.

The idea: step n of an agent is decided by the seed, the agent and n alone, and every call is named by what it is for.
A process that was killed begins again at its first step: what was done is answered from the store, what is in doubt is
asked for again under the same key, and nothing happens twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from agentstate.agent import Agent
from agentstate.errors import (
    EffectFailed,
    EffectInDoubt,
    EffectInProgress,
    InsufficientFunds,
    ServiceError,
    Unavailable,
)
from agentstate.services.operations import casino, domains, escrow, faucet, trading, wallet
from agentstate.services.operations.base import Operation
from agentstate.services.operations.names import Service
from deploy.local.demo import sentences
from deploy.local.demo.receipts import ReceiptBook

ENROLLED = (Service.CASINO, Service.TRADING, Service.DOMAINS, Service.WALLET)
"""Where each agent has an account with a balance."""
SESSION = "diary"
ELSEWHERE = "0x00000000000000000000000000000000000d0e50"
"""An address of nobody in the fleet."""

_NOT_NOW = (EffectInDoubt, EffectInProgress, ServiceError, Unavailable)
"""Errors after which the same call is asked for again, with the same key."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What an agent is given: the seed, the other agents, and the book of what it was told."""

    seed: int
    peers: Sequence[str]
    book: ReceiptBook


@dataclass(slots=True)
class Pending:
    """Calls that are in doubt or could not be made: operation and parameters by key."""

    calls: dict[str, tuple[Operation, Mapping[str, Any]]] = field(default_factory=dict)


class FleetAgent:
    """One agent at work."""

    def __init__(self, agent: Agent, part: Part) -> None:
        self.agent = agent
        self._part = part
        self._pending = Pending()
        self._before = {effect.key for effect in agent.effects.list(limit=100_000) if effect.is_ended}
        self._positions: list[str] = []
        self._steps: dict[str, Callable[[random.Random, int], None]] = {
            "bet": self._bet,
            "open": self._open_position,
            "close": self._close_position,
            "escrow": self._create_escrow,
            "tend": lambda _chance, _n: self.tend_escrows(),
            "domain": self._buy_domain,
            "look": self._look_around,
            "job": self._submit_job,
        }
        self._weights = (50, 8, 7, 9, 10, 3, 7, 6)

    @property
    def unsettled(self) -> int:
        """Calls whose outcome this agent has not been told."""
        return len(self._pending.calls)

    def settle_in(self) -> None:
        """Register, claim the faucet's dollar, fund the accounts; harmless to repeat."""
        self._do("register", casino.register)
        for service in ENROLLED:
            self.agent.services.enrol(service)
        self._do("faucet", faucet.claim)
        self._do("fund:casino", casino.deposit, amount=Decimal(200))
        self._do("fund:trading", trading.deposit, amount=Decimal(5_000))
        self._do("fund:domains", domains.deposit, amount=Decimal(60))
        if self._do("wallet", wallet.create, chain="base"):
            self._do("fund:wallet", wallet.deposit, amount=Decimal(40), chain="base")
            self._do("wallet:rent", wallet.send, chain="base", to=ELSEWHERE, amount=Decimal("1.25"))
        self._remember(sentences.vault_sentence(self.agent.id, self._part.seed), "fact")

    def step(self, number: int) -> None:
        """Do step `number`, and ask again for what is in doubt every few steps."""
        chance = random.Random(f"{self._part.seed}:{self.agent.id}:{number}")  # noqa: S311 repeatable, not secret
        name = chance.choices(list(self._steps), self._weights)[0]
        self._steps[name](chance, number)
        if number % 5 == 0:
            self.ask_again()

    def ask_again(self) -> None:
        """Ask for every unsettled call once more, with its key."""
        for key, (operation, params) in list(self._pending.calls.items()):
            self._do(key, operation, **params)

    def tend_escrows(self) -> None:
        """Deliver what others wait for, and pay what was delivered."""
        entry = self.agent.services.read(Service.ESCROW, force_refresh=True)
        for row in (entry.state or {}).get("escrows", ()):
            escrow_id = str(row["escrow_id"])
            if row["status"] == "funded" and row["counterparty_agent_id"] == self.agent.id:
                self._move_escrow("complete", escrow.complete, escrow_id)
            elif row["status"] == "completed" and row["creator_agent_id"] == self.agent.id:
                self._move_escrow("release", escrow.release, escrow_id)

    def _bet(self, chance: random.Random, number: int) -> None:
        amount = Decimal(chance.randrange(5, 250)) / 100
        params: dict[str, Any] = {"game": "coin-flip", "side": chance.choice(("heads", "tails")), "amount": amount}
        if chance.random() < 0.3:  # noqa: PLR2004 share of dice
            threshold = chance.randrange(30, 70)
            params = {"game": "dice", "direction": "over", "threshold": threshold, "amount": amount}
        key = f"bet:{number}"
        receipt = self._do(key, casino.bet, **params)
        if receipt:
            self._tell(key, "bet", receipt, sentences.about_bet(params, receipt), kind="lesson")

    def _open_position(self, chance: random.Random, number: int) -> None:
        params = {
            "coin": chance.choice(trading.COINS),
            "side": chance.choice(("long", "short")),
            "size": Decimal(chance.randrange(50, 400)),
            "leverage": chance.randrange(1, 5),
        }
        key = f"open:{number}"
        receipt = self._do(key, trading.open_, **params)
        if receipt:
            self._positions.append(str(receipt["reference"]))
            self._tell(key, "trade", receipt, sentences.about_open(params, receipt))

    def _close_position(self, _chance: random.Random, _number: int) -> None:
        if not self._positions:
            return
        position = self._positions.pop(0)
        key = f"close:{position}"
        receipt = self._do(key, trading.close, position_id=position)
        if receipt:
            self._tell(key, "trade", receipt, sentences.about_close(receipt), kind="lesson")

    def _create_escrow(self, chance: random.Random, number: int) -> None:
        others = [peer for peer in self._part.peers if peer != self.agent.id]
        if not others:
            return
        amount = Decimal(chance.randrange(100, 900)) / 100
        params = {"counterparty": chance.choice(others), "amount": amount, "description": f"analysis {number}"}
        key = f"escrow:{number}"
        receipt = self._do(key, escrow.create, **params)
        if receipt:
            self._tell(key, "escrow", receipt, sentences.about_escrow("create", receipt))

    def _move_escrow(self, step: str, operation: Operation, escrow_id: str) -> None:
        key = f"{step}:{escrow_id}"
        receipt = self._do(key, operation, escrow_id=escrow_id)
        if receipt:
            self._tell(key, "escrow", receipt, sentences.about_escrow(step, receipt))

    def _buy_domain(self, chance: random.Random, number: int) -> None:
        name = f"{self.agent.id.replace('_', '-')}-{chance.randrange(10_000)}-{number}.xyz"
        key = f"domain:{number}"
        receipt = self._do(key, domains.register, domain=name)
        if receipt:
            self._tell(key, "domain", receipt, sentences.about_domain(receipt))

    def _look_around(self, _chance: random.Random, _number: int) -> None:
        portfolio = self.agent.services.portfolio()
        unknown = [str(service) for service in portfolio.unknown]
        self.agent.episodes.record("portfolio", {"unknown": unknown}, outcome={"micros": portfolio.total})
        self.agent.memory.recall(sentences.QUESTIONS[0], limit=3)
        self.agent.conversation(SESSION).messages(max_tokens=2_000)

    def _submit_job(self, chance: random.Random, number: int) -> None:
        service = str(chance.choice((Service.CASINO, Service.TRADING)))
        kind = chance.choice(("reconciliation.reconcile", "cache.refresh"))
        job = self.agent.jobs.submit(kind, {"service": service}, dedupe_key=f"step:{number}")
        self._part.book.note(self.agent.id, "job", str(job))

    def _do(self, key: str, operation: Operation, **params: Any) -> Mapping[str, Any] | None:
        """One call, at most once; None when its outcome is not known as yet, or when it had no effect."""
        try:
            receipt: Mapping[str, Any] = self.agent.effects.execute_once(key, operation, **params)
        except _NOT_NOW:
            self._pending.calls[key] = (operation, params)
            return None
        except (EffectFailed, InsufficientFunds):
            self._pending.calls.pop(key, None)
            return None
        self._pending.calls.pop(key, None)
        self._part.book.note(self.agent.id, "effect", key, receipt)
        return receipt

    def _tell(
        self, key: str, event: str, receipt: Mapping[str, Any], about: tuple[str, str], *, kind: str = "event"
    ) -> None:
        """Record, remember and say what was done; done again after a restart, it adds nothing."""
        memory, said = about
        if key not in self._before:
            self.agent.episodes.record(event, {"key": key}, outcome=dict(receipt))
        self._remember(memory, kind)
        diary = self.agent.conversation(SESSION)
        for role, text in (("user", f"What became of {key}?"), ("assistant", f"{said} {memory}")):
            source = f"{key}:{role}"
            number = diary.add(role, text, source_id=source)
            self._part.book.note(self.agent.id, "turn", source, number)

    def _remember(self, text: str, kind: str) -> None:
        receipt = self.agent.memory.remember(text, kind=kind)
        self._part.book.note(self.agent.id, "memory", str(receipt.id))
