"""The agents and their bets, and what has to be true of them in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from agentstate.agent import Fleet
from agentstate.money.effects.table import ENDED_STATES, EffectState
from agentstate.money.ledger.postings import Bucket
from agentstate.runtime import Runtime
from agentstate.services.operations import casino
from agentstate.store.tables import jobs
from agentstate.store.tables.money import effects
from deploy.local.sandbox.client import SandboxClient
from deploy.local.stack.results import Row, equal_to

AGENTS = 30
STAKE, GIFT = Decimal("0.05"), Decimal(100)
KIND = "effects.perform"
_PREFIX = "bet:"


class Betting:
    """Agents that queue bets for workers."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._agents = [Fleet(runtime).agent(f"ag_chaos_{number}") for number in range(AGENTS)]
        self.queued = 0

    def begin(self) -> None:
        """Make the agents known to the casino and give them money there."""
        for agent in self._agents:
            agent.effects.execute_once("register", casino.register())
            agent.effects.execute_once("start", casino.deposit(amount=GIFT))

    def queue(self, count: int) -> None:
        """Queue some bets, one agent after the other."""
        for _ in range(count):
            agent = self._agents[self.queued % AGENTS]
            side = ("heads", "tails")[self.queued // AGENTS % 2]
            agent.effects.submit(f"{_PREFIX}{self.queued}", casino.bet(amount=STAKE, side=side))
            self.queued += 1

    def made(self) -> int:
        """How many bets have an outcome by now."""
        return self._count(effects, effects.c.state.in_(ENDED_STATES), effects.c.key.startswith(_PREFIX))

    def waiting(self) -> int:
        """How many jobs have not ended."""
        return self._count(jobs, jobs.c.status.in_(["ready", "running"]), jobs.c.kind == KIND)

    def rows(self, sandbox: SandboxClient) -> Iterator[Row]:
        """What must be."""
        found = self._effects()
        states = Counter(state for _, _, state in found)
        happened = self._happened(sandbox)
        succeeded = {key for _, key, state in found if state == EffectState.SUCCEEDED}
        yield equal_to("effects that happened twice", sum(count - 1 for count in happened.values()), 0, "bets")
        yield equal_to("bets without an effect row", self.queued - len(found), 0, "bets")
        yield equal_to("said to have happened, and did not", len(succeeded - set(happened)), 0, "bets")
        yield equal_to("happened, and nobody knows", len(set(happened) - {key for _, key, _ in found}), 0, "bets")
        yield equal_to("neither finished nor openly in doubt", self._stuck(), 0, "bets")
        yield equal_to("jobs that died", self._count(jobs, jobs.c.status == "dead"), 0, "jobs")
        yield Row("finished: happened", states[EffectState.SUCCEEDED], "bets")
        yield Row("finished: certainly did not happen", states[EffectState.FAILED], "bets")
        yield Row("openly in doubt: a human is asked", states[EffectState.MANUAL], "bets")
        yield from self._books(sandbox)

    def _books(self, sandbox: SandboxClient) -> Iterator[Row]:
        off = held = unlike = 0
        for agent in self._agents:
            booked = agent.ledger.balance("casino")
            off += abs(booked.minor - sandbox.read_balance(agent.id))
            held += agent.ledger.balance("casino", bucket=Bucket.IN_FLIGHT).minor
            unlike += agent.ledger.balance_from_ledger(service="casino") != booked.amount
        in_doubt = self._count(effects, effects.c.state == EffectState.MANUAL)
        yield equal_to("books against the casino's own truth", off, 0, "micro-USDC")
        yield equal_to("held beyond what is in doubt", held - in_doubt * int(STAKE * 1_000_000), 0, "micro-USDC")
        yield equal_to("balances that are not the sum of their entries", unlike, 0, "accounts")

    def _effects(self) -> list[tuple[str, str, str]]:
        """(key, remote key, state) of every bet."""
        query = sa.select(effects.c.key, effects.c.remote_key, effects.c.state)
        with self._runtime.store.read_connection() as connection:
            found = connection.execute(query.where(effects.c.key.startswith(_PREFIX)))
            return [(key, remote_key, state) for key, remote_key, state in found]

    def _happened(self, sandbox: SandboxClient) -> dict[str, int]:
        """How often each tag's bet was made, by the casino's own books."""
        happened: dict[str, int] = {}
        for agent in self._agents:
            happened |= sandbox.count_effects(agent.id, "casino.bet")
        return happened

    def _stuck(self) -> int:
        """Bets whose job has not ended, or that are open while no human is asked."""
        is_open = effects.c.state.not_in([*ENDED_STATES, EffectState.MANUAL])
        return self._count(effects, is_open, effects.c.key.startswith(_PREFIX)) + self.waiting()

    def _count(self, table: sa.Table, *conditions: Any) -> int:
        query = sa.select(sa.func.count()).select_from(table).where(*conditions)
        with self._runtime.store.read_connection() as connection:
            return int(connection.execute(query).scalar_one())
