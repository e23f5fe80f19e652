"""A small world in which effects happen: a remote whose truth is known, processes that die anywhere, time that passes.

The idea: a caller is a thread that stops inside its call until the test says what becomes of it, so one caller at a
time runs and every interleaving can be had again. A process dies at a boundary of its store or in its call, and then
nothing of it runs any more; what it left in the store is all that the others find.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from agentstate.clock import utc_now
from agentstate.errors import ServiceRejected, ServiceUnreachable, StoreUnavailable
from agentstate.money import (
    Absent,
    AgentEffects,
    Applied,
    EffectRules,
    Effects,
    Guarantee,
    Intent,
    Line,
    Money,
    Operation,
    OperationRegistry,
    TransactionLedger,
    Unknown,
    earn,
    spend,
)
from agentstate.money.effects.resolver import EffectResolver
from agentstate.money.effects.table import Effect, list_due, list_effects
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.money import effects

STAKE = Money(5)
START = Money(1_000)
SETTLE_S = 60.0
FORGETS_AFTER_S = 90_000.0
RULES = EffectRules(looks=6)


class Crash(BaseException):
    """The process is dead: nothing of it runs after this."""


class Fate(StrEnum):
    """What becomes of a request."""

    ANSWERED = "applied and answered"
    LOST_ANSWER = "applied, the answer is lost"
    LOST = "never arrives, nobody knows"
    LATE = "arrives after its caller gave up"
    REFUSED = "refused before any effect"
    BUSY = "refused for now"
    UNSENT = "certainly not sent"
    DIES_BEFORE = "the caller dies before it sends"
    DIES_AFTER = "applied, then the caller dies"


@dataclass
class Fault:
    """At the so-manieth boundary of its store a process dies, or hears nothing of what the store did."""

    boundary: int
    fatal: bool


class MortalStore(Store):
    """A process's way to the store; every begin and every commit is a boundary on both sides."""

    def __init__(self, engine: Engine, fault: Fault | None = None) -> None:
        super().__init__(engine)
        self.dead = False
        self._fault = fault
        self._passed = 0

    @contextmanager
    def transaction(self, tx: Transaction | None = None) -> Iterator[Transaction]:
        if tx is not None:
            yield tx
            return
        self._boundary()
        with super().transaction() as opened:
            yield opened
            self._boundary()
        self._boundary()

    @contextmanager
    def read_connection(self, *, autocommit: bool = False) -> Iterator[Connection]:
        self._boundary()
        with super().read_connection(autocommit=autocommit) as connection:
            yield connection

    def commit_one(self, statement: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        self._boundary()
        row = super().commit_one(statement, values)
        self._boundary()
        return row

    def _boundary(self) -> None:
        self._passed += 1
        if self._fault is not None and self._passed == self._fault.boundary:
            self.dead = self._fault.fatal
            if not self.dead:
                raise StoreUnavailable
        if self.dead:
            raise Crash


class Remote:
    """The outside: what really happened, by tag."""

    def __init__(self) -> None:
        self.applied: Counter[str] = Counter()
        self.receipts: dict[str, list[Any]] = defaultdict(list)
        self.readable = True
        self._remembered: dict[str, Any] = {}
        self._late: list[tuple[Bet, str]] = []

    def apply(self, bet: Bet, tag: str) -> Any:
        if bet.guarantee is Guarantee.KEYED and tag in self._remembered:
            return self._remembered[tag]
        if bet.guarantee is Guarantee.NATURAL and self.applied[tag]:
            raise ServiceRejected("it is done already", code="already")
        self.applied[tag] += 1
        receipt = {"number": self.applied.total(), "won": "9" if self.applied.total() % 3 == 0 else "0"}
        self.receipts[tag].append(receipt)
        self._remembered[tag] = receipt
        return receipt

    def later(self, bet: Bet, tag: str) -> None:
        self._late.append((bet, tag))

    def deliver(self) -> None:
        """What is under way arrives."""
        late, self._late = self._late, []
        for bet, tag in late:
            with suppress(ServiceRejected):
                self.apply(bet, tag)

    def time_passes(self, seconds: float) -> None:
        self.deliver()
        if seconds >= FORGETS_AFTER_S:
            self._remembered.clear()

    def look(self, bet: Bet, tag: str, called_at: datetime) -> Any:
        if not self.readable:
            raise ConnectionError("the remote is down")
        if bet.guarantee is Guarantee.BLIND:
            return Unknown("it shows nothing")
        if self.applied[tag]:
            return Applied(self.receipts[tag][0])
        remaining = SETTLE_S - (utc_now() - called_at).total_seconds()
        return Absent("not there") if remaining <= 0 else Unknown("not there yet", settles_in_s=remaining)


class Process:
    """A process: its store, and what it is told of its requests."""

    def __init__(self, world: World, fault: Fault | None, fates: Sequence[Fate] = ()) -> None:
        self.world = world
        self.store = MortalStore(world.engine, fault)
        self.fates = list(fates)

    def request(self, bet: Bet, tag: str) -> Any:
        return self.meet(self.fates.pop(0) if self.fates else Fate.LOST, bet, tag)

    def meet(self, fate: Fate, bet: Bet, tag: str) -> Any:
        remote = self.world.remote
        if fate is Fate.UNSENT:
            raise ServiceUnreachable("no route")
        if fate is Fate.REFUSED:
            raise ServiceRejected("not you", code="no")
        if fate is Fate.BUSY:
            raise ServiceRejected("slow down", retry_after=1.0)
        if fate is Fate.DIES_BEFORE:
            self._die()
        if fate is Fate.LATE:
            remote.later(bet, tag)
        if fate in {Fate.LOST, Fate.LATE}:
            raise TimeoutError("no answer")
        receipt = remote.apply(bet, tag)
        if fate is Fate.DIES_AFTER:
            self._die()
        if fate is Fate.LOST_ANSWER:
            raise TimeoutError("no answer")
        return receipt

    def _die(self) -> None:
        self.store.dead = True
        raise Crash


def execute_named(
    effects: AgentEffects, key: str, name: str, params: Mapping[str, Any] | None = None, *, hold: Money | None = None
) -> Any:
    """Execute a registered operation once by its name, as the job of a submitted effect does."""
    return effects.execute_once(key, effects._engine.registry.parse(name, params or {}), hold=hold)


class Caller(Process):
    """A process that performs one effect, in a thread that stops where its request leaves."""

    def __init__(self, world: World, key: str, operation: str, params: Mapping[str, Any], fault: Fault | None) -> None:
        super().__init__(world, fault)
        self.key, self.operation = key, operation
        self.result: Any = None
        self.error: BaseException | None = None
        self.waiting = False
        self.fence = 0
        self._params = params
        self._reached: queue.Queue[bool] = queue.Queue()
        self._told: queue.Queue[Fate] = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._follow()

    def request(self, bet: Bet, tag: str) -> Any:
        self._reached.put(True)
        return self.meet(self._told.get(timeout=60), bet, tag)

    def answer(self, fate: Fate) -> None:
        """Let the request meet its fate, and the caller run on to its end."""
        self._told.put(fate)
        self._follow()

    def _follow(self) -> None:
        self.waiting = self._reached.get(timeout=60)
        if self.waiting:
            [self.fence] = [effect.fence for effect in self.world.effects() if effect.key == self.key]
        else:
            self._thread.join()

    def _run(self) -> None:
        try:
            effects = AgentEffects(self.world.effects_of(self), self.world.agent_id)
            self.result = execute_named(effects, self.key, self.operation, self._params)
        except BaseException as error:  # noqa: BLE001 looked at by the test
            self.error = error
        finally:
            self._reached.put(False)


class Bet(Operation[Any]):
    """The operation of one class of guarantee, which `make_registry` names."""

    service = "casino"
    settle_s = 0.0

    def __init__(self, side: str) -> None:
        self.side = side

    def params(self) -> Mapping[str, Any]:
        return {"side": self.side}

    def send(self, outside: Process, intent: Intent) -> Any:
        return outside.request(self, intent.remote_key)

    def verify(self, outside: Process, intent: Intent) -> Any:
        return outside.world.remote.look(self, intent.remote_key, intent.called_at)

    def hold(self) -> Money | None:
        return STAKE

    def postings(self, receipt: Any) -> Sequence[Line]:
        won = Money(receipt["won"])
        return [*spend("casino", STAKE), *(earn("casino", won) if won else [])]


def make_registry() -> OperationRegistry:
    """Return a registry with `bet.GUARANTEE` for each class of guarantee."""
    registry = OperationRegistry()
    for guarantee in Guarantee:
        registry.add(type("Bet", (Bet,), {"name": f"bet.{guarantee}", "guarantee": guarantee}))
    return registry


class World:
    """One agent, the remote, and all processes that act for the agent."""

    def __init__(self, engine: Engine, agent_id: str) -> None:
        self.engine, self.agent_id = engine, agent_id
        self.store = Store(engine)
        self.remote = Remote()
        self.operations = make_registry()
        self.ledger = TransactionLedger(self.store, agent_id)
        self.ledger.deposit("start", "casino", START)

    def effects(self) -> list[Effect]:
        with self.store.read_connection() as connection:
            return list_effects(connection, agent_id=self.agent_id, limit=100)

    def due(self) -> list[Effect]:
        """The agent's effects that the sweep would take up now."""
        with self.store.read_connection() as connection:
            ids = set(list_due(connection, 10_000))
        return [effect for effect in self.effects() if effect.id in ids]

    def effects_of(self, process: Process) -> Effects:
        return Effects(process.store, registry=self.operations, outside=lambda: process, rules=RULES)

    def resolver(self, process: Process) -> EffectResolver:
        return self.effects_of(process).resolver

    def pass_time(self, seconds: float) -> None:
        """All times of the agent's effects lie `seconds` further back; what was under way has arrived before."""
        self.remote.time_passes(seconds)
        names = ("created_at", "called_at", "lease_until", "next_verify_at", "resolved_at")
        mine = sa.select(effects.c.id, *(effects.c[name] for name in names)).where(effects.c.agent_id == self.agent_id)
        with self.store.transaction() as tx:
            for row in tx.connection.execute(mine).all():
                moved = {name: _earlier(getattr(row, name), seconds) for name in names}
                tx.connection.execute(sa.update(effects).where(effects.c.id == row.id).values(moved))


def _earlier(moment: datetime | None, seconds: float) -> datetime | None:
    return None if moment is None else moment - timedelta(seconds=seconds)


def attempted(action: Callable[[], Any], *expected: type[BaseException]) -> BaseException | None:
    """Run `action`; the error when it is one of `expected`, None when there is none."""
    try:
        action()
    except expected as error:
        return error
    return None
