"""The agents of the fleet, and the process that runs some of them.

    python -m deploy.local.demo.agents --agents ag_1,ag_2 --peers ag_1,ag_2,ag_3 --end FILE --receipts FILE

Step n of an agent is decided by the seed, the agent and n alone, and every call has a key. A process that was killed
begins again at its first step: finished calls are answered from the store, calls in doubt are asked for again under
the same key, and nothing happens twice.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from agentstate.agent import Agent, default_fleet
from agentstate.errors import (
    EffectFailed,
    EffectInDoubt,
    EffectInProgress,
    InsufficientFunds,
    ServiceError,
    Unavailable,
)
from agentstate.jobs.broker import make_app
from agentstate.jobs.wake_ups import lane_queue
from agentstate.services.operations import casino, domains, escrow, faucet, trading, wallet
from agentstate.services.operations.base import R, ServiceOperation
from agentstate.services.operations.names import Service
from agentstate.services.operations.receipts import Receipt, pack_receipt
from deploy.local.demo.receipts import ReceiptFile


def make_secret_word(agent_id: str, seed: int) -> str:
    """A word that only this agent knows."""
    return "vault" + hashlib.sha256(f"{seed}:{agent_id}".encode()).hexdigest()[:10]


def make_vault_sentence(agent_id: str, seed: int) -> str:
    """The memory in which an agent keeps its word."""
    return f"The code word of my vault is {make_secret_word(agent_id, seed)}; no other agent may ever learn it."


def describe_bet(bet: casino.Bet, receipt: casino.BetReceipt) -> tuple[str, str]:
    """Return a memory of a bet, and the sentence for the conversation."""
    stake = receipt.debited
    way = f"{bet.game} on {bet.side or bet.direction}"
    if receipt.won:
        memory = f"A bet of {stake} at {way} won {receipt.credited}; the stake had stayed small and flat."
    else:
        memory = f"A bet of {stake} at {way} lost; doubling the stake afterwards would only have risked the bankroll."
    return memory, f"Bet {receipt.reference}: {stake} at {way}, {receipt.credited} came back."


def describe_open(order: trading.Open, receipt: trading.PositionReceipt) -> tuple[str, str]:
    """Return a memory of an opened position, and the sentence for the conversation."""
    position = f"{order.side} position in {order.coin} with leverage {order.leverage}"
    memory = f"Opened a {position}; the fee for trading it was {receipt.fee}."
    return memory, f"Position {receipt.reference} is open: {position}, notional {receipt.notional}."


def describe_close(receipt: trading.CloseReceipt) -> tuple[str, str]:
    """Return a memory of a closed position, and the sentence for the conversation."""
    result = f"{'loss' if receipt.profit.minor < 0 else 'profit'} of {abs(receipt.profit)}"
    memory = f"Closed a position with a {result} after fees of {receipt.fee}; short trades pay fees twice."
    return memory, f"Position {receipt.reference} is closed with a {result}."


def describe_escrow(step: str, receipt: escrow.EscrowReceipt | escrow.TransitionReceipt) -> tuple[str, str]:
    """Return a memory of a step of an escrow, and the sentence for the conversation."""
    other = receipt.counterparty
    amount = receipt.debited if isinstance(receipt, escrow.EscrowReceipt) else receipt.amount
    creator = "its maker" if isinstance(receipt, escrow.EscrowReceipt) else receipt.creator
    memories = {
        "create": f"Locked {amount} in an escrow for the work of {other}; it is paid when the work is delivered.",
        "complete": f"Delivered the work for an escrow over {amount} on time, so {creator} can pay it.",
        "release": f"Released an escrow over {amount} to {other}, who delivered as agreed and can be trusted again.",
    }
    return memories[step], f"Escrow {receipt.reference} over {amount}: {step} is done."


def describe_domain(receipt: domains.DomainReceipt) -> tuple[str, str]:
    """Return a memory of a bought domain, and the sentence for the conversation."""
    price = receipt.debited
    return f"Bought the domain {receipt.domain} for {price} a year.", f"{receipt.domain} is ours for {price}."


QUESTIONS = (
    "what did I learn about the size of bets?",
    "which agent delivered the work of an escrow and can be trusted?",
    "how expensive are fees when trading positions?",
)
"""Asked at the end, each to another agent."""


ENROLLED = (Service.CASINO, Service.TRADING, Service.DOMAINS, Service.WALLET)
"""Where each agent has an account with a balance."""
SESSION = "diary"
ELSEWHERE = "0x00000000000000000000000000000000000d0e50"
"""An address of nobody in the fleet."""

_NOT_NOW = (EffectInDoubt, EffectInProgress, ServiceError, Unavailable)
"""Errors after which the same call is asked for again, with the same key."""


@dataclass(frozen=True, kw_only=True)
class AgentRole:
    """The seed, the other agents, and the file for acknowledgements."""

    seed: int
    peers: Sequence[str]
    receipts: ReceiptFile


@dataclass(slots=True)
class Pending:
    """Operations that are in doubt or could not be sent, by key."""

    calls: dict[str, ServiceOperation[Any]] = field(default_factory=dict)


class FleetAgent:
    """One agent at work."""

    def __init__(self, agent: Agent, part: AgentRole) -> None:
        self.agent = agent
        self._role = part
        self._pending = Pending()
        self._before = {effect.key for effect in agent.effects.list(limit=100_000) if effect.is_ended}
        self._positions: list[str] = []
        self._steps: dict[str, Callable[[random.Random, int], None]] = {
            "bet": self.place_bet,
            "open": self.open_position,
            "close": self.close_position,
            "escrow": self.create_escrow,
            "tend": lambda _chance, _n: self.tend_escrows(),
            "domain": self.buy_domain,
            "look": self.look_around,
            "job": self.submit_job,
        }
        self._weights = (50, 8, 7, 9, 10, 3, 7, 6)

    def count_unsettled(self) -> int:
        """Number of calls without a known outcome."""
        return len(self._pending.calls)

    def set_up_accounts(self) -> None:
        """Register, claim the faucet's dollar, fund the accounts; harmless to repeat."""
        self._execute("register", casino.register())
        for service in ENROLLED:
            self.agent.services.enrol(service)
        self._execute("faucet", faucet.claim())
        self._execute("fund:casino", casino.deposit(amount=Decimal(200)))
        self._execute("fund:trading", trading.deposit(amount=Decimal(5_000)))
        self._execute("fund:domains", domains.deposit(amount=Decimal(60)))
        if self._execute("wallet", wallet.create(chain="base")):
            self._execute("fund:wallet", wallet.deposit(amount=Decimal(40), chain="base"))
            self._execute("wallet:rent", wallet.send(chain="base", to=ELSEWHERE, amount=Decimal("1.25")))
        self._remember_text(make_vault_sentence(self.agent.id, self._role.seed), "fact")

    def run_step(self, number: int) -> None:
        """Do step `number`, and every few steps ask again for calls in doubt."""
        chance = random.Random(f"{self._role.seed}:{self.agent.id}:{number}")  # noqa: S311 repeatable, not secret
        name = chance.choices(list(self._steps), self._weights)[0]
        self._steps[name](chance, number)
        if number % 5 == 0:
            self.retry_unsettled()

    def retry_unsettled(self) -> None:
        """Ask for every unsettled call once more, with its key."""
        for key, operation in list(self._pending.calls.items()):
            self._execute(key, operation)

    def tend_escrows(self) -> None:
        """Complete the escrows that others wait for, and release the completed ones."""
        entry = self.agent.services.read(Service.ESCROW, force_refresh=True)
        for row in (entry.state or {}).get("escrows", ()):
            escrow_id = str(row["escrow_id"])
            if row["status"] == "funded" and row["counterparty_agent_id"] == self.agent.id:
                self._move_escrow("complete", escrow.complete(escrow_id=escrow_id))
            elif row["status"] == "completed" and row["creator_agent_id"] == self.agent.id:
                self._move_escrow("release", escrow.release(escrow_id=escrow_id))

    def place_bet(self, chance: random.Random, number: int) -> None:
        """Bet up to 2.50 dollars on a coin, or on dice three times in ten."""
        amount = Decimal(chance.randrange(5, 250)) / 100
        bet = casino.bet(amount=amount, side=chance.choice(casino.SIDES))
        if chance.random() < 0.3:  # noqa: PLR2004 share of dice
            bet = casino.bet(amount=amount, game="dice", direction="over", threshold=chance.randrange(30, 70))
        key = f"bet:{number}"
        receipt = self._execute(key, bet)
        if receipt:
            self._record_step(key, "bet", receipt, describe_bet(bet, receipt), kind="lesson")

    def open_position(self, chance: random.Random, number: int) -> None:
        """Open a position of 50 to 400 dollars."""
        order = trading.open(
            coin=chance.choice(trading.COINS),
            side=chance.choice(trading.SIDES),
            size=Decimal(chance.randrange(50, 400)),
            leverage=chance.randrange(1, 5),
        )
        key = f"open:{number}"
        receipt = self._execute(key, order)
        if receipt:
            self._positions.append(receipt.reference)
            self._record_step(key, "trade", receipt, describe_open(order, receipt))

    def close_position(self, _chance: random.Random, _number: int) -> None:
        """Close the oldest open position."""
        if not self._positions:
            return
        position = self._positions.pop(0)
        key = f"close:{position}"
        receipt = self._execute(key, trading.close(position_id=position))
        if receipt:
            self._record_step(key, "trade", receipt, describe_close(receipt), kind="lesson")

    def create_escrow(self, chance: random.Random, number: int) -> None:
        """Lock 1 to 9 dollars for the work of another agent."""
        others = [peer for peer in self._role.peers if peer != self.agent.id]
        if not others:
            return
        amount = Decimal(chance.randrange(100, 900)) / 100
        work = escrow.create(counterparty=chance.choice(others), amount=amount, description=f"analysis {number}")
        key = f"escrow:{number}"
        receipt = self._execute(key, work)
        if receipt:
            self._record_step(key, "escrow", receipt, describe_escrow("create", receipt))

    def _move_escrow(self, step: str, transition: escrow.Transition) -> None:
        key = f"{step}:{transition.escrow_id}"
        receipt = self._execute(key, transition)
        if receipt:
            self._record_step(key, "escrow", receipt, describe_escrow(step, receipt))

    def buy_domain(self, chance: random.Random, number: int) -> None:
        """Buy a domain of a drawn name."""
        name = f"{self.agent.id.replace('_', '-')}-{chance.randrange(10_000)}-{number}.xyz"
        key = f"domain:{number}"
        receipt = self._execute(key, domains.register(domain=name))
        if receipt:
            self._record_step(key, "domain", receipt, describe_domain(receipt))

    def look_around(self, _chance: random.Random, _number: int) -> None:
        """Read the portfolio, recall something, and make a prompt."""
        portfolio = self.agent.services.portfolio()
        unknown = [str(service) for service in portfolio.unknown]
        self.agent.episodes.record("portfolio", {"unknown": unknown}, outcome={"micros": portfolio.total})
        self.agent.memory.recall(QUESTIONS[0], limit=3)
        self.agent.conversation(SESSION).messages(max_tokens=2_000)

    def submit_job(self, chance: random.Random, number: int) -> None:
        """Submit a job of reconciliation or of the cache."""
        service = str(chance.choice((Service.CASINO, Service.TRADING)))
        kind = chance.choice(("reconciliation.reconcile", "cache.refresh"))
        job = self.agent.jobs.submit(kind, {"service": service}, dedupe_key=f"run_step:{number}")
        self._role.receipts.append(self.agent.id, "job", str(job))

    def _execute(self, key: str, operation: ServiceOperation[R]) -> R | None:
        """One call, at most once; None when its outcome is not known as yet, or when it had no effect."""
        try:
            receipt = self.agent.effects.execute_once(key, operation)
        except _NOT_NOW:
            self._pending.calls[key] = operation
            return None
        except (EffectFailed, InsufficientFunds):
            self._pending.calls.pop(key, None)
            return None
        self._pending.calls.pop(key, None)
        self._role.receipts.append(self.agent.id, "effect", key, pack_receipt(receipt))
        return receipt

    def _record_step(
        self, key: str, event: str, receipt: Receipt, about: tuple[str, str], *, kind: str = "event"
    ) -> None:
        """Record the step as an episode, a memory and two turns; repeated after a restart, it adds nothing."""
        memory, said = about
        if key not in self._before:
            self.agent.episodes.record(event, {"key": key}, outcome=pack_receipt(receipt))
        self._remember_text(memory, kind)
        diary = self.agent.conversation(SESSION)
        for role, text in (("user", f"What became of {key}?"), ("assistant", f"{said} {memory}")):
            source = f"{key}:{role}"
            number = diary.add(role, text, source_id=source)
            self._role.receipts.append(self.agent.id, "turn", source, number)

    def _remember_text(self, text: str, kind: str) -> None:
        receipt = self.agent.memory.remember(text, kind=kind)
        self._role.receipts.append(self.agent.id, "memory", str(receipt.id))


PAUSE_S = (0.2, 0.7)
"""Between two steps of an agent, as if it thought."""
ASK_EVERY_S = 0.7
SETTLE_WITHIN_S = 75.0
"""How long an agent goes on asking for what is in doubt, before its first run_step and after its last."""
SUBMIT_TASK = "agentstate.jobs.submit"


def run_agents(options: argparse.Namespace) -> int:
    """Run the agents of one process to the end; return 1 when one failed or has something unsettled."""
    fleet, receipts, failed = default_fleet(), ReceiptFile(options.receipts), threading.Event()
    role = AgentRole(seed=options.seed, peers=options.peers.split(","), receipts=receipts)

    def run_agent(name: str) -> None:
        actor = FleetAgent(fleet.agent(name), role)
        actor.set_up_accounts()
        wait_until_settled(actor)
        submit_by_broker(actor.agent, receipts)
        number = 0
        while not options.end.exists():
            actor.run_step(number)
            number += 1
            time.sleep(random.uniform(*PAUSE_S))  # noqa: S311 only a pause
        actor.tend_escrows()
        wait_until_settled(actor)
        submit_by_broker(actor.agent, receipts)
        if actor.count_unsettled():
            raise RuntimeError(f"{name}: {actor.count_unsettled()} calls are not settled")

    def run_guarded(name: str) -> None:
        try:
            run_agent(name)
        except Exception:  # noqa: BLE001 shown, and the exit code tells
            traceback.print_exc()
            failed.set()

    threads = [threading.Thread(target=run_guarded, args=(name,), name=name) for name in options.agents.split(",")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    receipts.close()
    fleet.close()
    return 1 if failed.is_set() else 0


def wait_until_settled(actor: FleetAgent) -> None:
    """Ask again for every unsettled call until all are settled, at most `SETTLE_WITHIN_S` seconds."""
    deadline = time.monotonic() + SETTLE_WITHIN_S
    while actor.count_unsettled() and time.monotonic() < deadline:
        time.sleep(ASK_EVERY_S)
        actor.retry_unsettled()


def submit_by_broker(agent: Agent, receipts: ReceiptFile) -> None:
    """Submit a job the way of an agent that has nothing but a Celery client; again until its row is there.

    A message is only acknowledged by its row: a broker that loses it loses a request, not a fact.
    """
    app = make_app(agent.fleet.settings)
    key = f"broker:{agent.id}"
    words = {"key": key, "kind": "cache.refresh", "payload": {"service": "trading"}, "agent_id": agent.id}
    app.send_task(SUBMIT_TASK, kwargs=words, queue=lane_queue("housekeeping", 0), ignore_result=True)
    app.close()
    receipts.append(agent.id, "submission", key)


def parse_options() -> argparse.Namespace:
    """Return the options of the process."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.demo.agents", description=__doc__)
    parser.add_argument("--agents", required=True, help="agents of this process, separated by commas")
    parser.add_argument("--peers", required=True, help="all agents of the fleet")
    parser.add_argument("--end", type=Path, required=True, help="no new step is begun once this file is there")
    parser.add_argument("--seed", type=int, default=7, help="decides what every agent does")
    parser.add_argument("--receipts", type=Path, required=True, help="file in which acknowledgements are noted")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_agents(parse_options()))
