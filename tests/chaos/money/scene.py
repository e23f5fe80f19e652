"""What every life does: one bet of 5 through `execute_once`, with a hold before it and postings after it.

A life either makes the bet as its caller, or looks after it as the sweep of a worker does. Whoever comes back after a
death uses the same key; the clock is moved on by moving the times of the stored effect back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa

from agentstate.errors import (
    AgentStateError,
    EffectInDoubt,
    EffectInProgress,
    Fenced,
    ServiceUnreachable,
    StoreUnavailable,
)
from agentstate.jobs.jobs import Jobs
from agentstate.jobs.wake_ups import NullWakeUpSender
from agentstate.money import AgentEffects, Effects, Guarantee, Intent, Money, TransactionLedger, call
from agentstate.money.effects.claims import EffectRules
from agentstate.money.effects.operation import Operation, OperationRegistry
from agentstate.money.effects.table import EffectState
from agentstate.money.effects.verdicts import Absent, Applied, Verdict
from agentstate.money.ledger.postings import Line, earn, spend
from agentstate.settings import Settings
from agentstate.store.store import Store
from agentstate.store.tables.base import db_time
from agentstate.store.tables.money import effects
from tests.chaos.money.remote import PRIZE
from tests.chaos.money.wire import Wire

SERVICE, KEY, FOLLOW_UP = "casino", "bet:1", "cache.refresh"
STAKE, START = Money(5), Money(100)
WON = Money(PRIZE)
PARAMS = {"side": "heads"}

DEADLINE_S, SETTLE_S = 20.0, 10.0
LONG_AGO_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Times:
    """How long a call may take, and how long after it "absent" proves nothing."""

    deadline_s: float = DEADLINE_S
    settle_s: float = SETTLE_S
    margin_s: float = 0.5
    """The lease outlasts the deadline by this."""


class Bet(Operation[Any]):
    """The bet by its name, so that the sweep can settle what a caller left behind; subclasses say the guarantee."""

    name = "chaos.bet"
    service = SERVICE
    settle_s = 0.0

    @classmethod
    def parse(cls, params: Mapping[str, Any]) -> Self:
        """Make the bet; all bets are alike."""
        del params
        return cls()

    def params(self) -> Mapping[str, Any]:
        """Return the parameters of every bet."""
        return PARAMS

    def send(self, outside: Wire, intent: Intent) -> Any:
        """Bet."""
        return outside.bet(intent.agent_id, intent.remote_key)

    def verify(self, outside: Wire, intent: Intent) -> Verdict:
        """Look for the bet by its tag."""
        found = outside.bets(intent.agent_id, intent.remote_key)
        return Applied(found[0]) if found else Absent("no such bet")

    def hold(self) -> Money:
        """Return the stake."""
        return STAKE

    def postings(self, receipt: Mapping[str, Any]) -> Sequence[Line]:
        """Return the stake as spent and the prize as earned."""
        return [*spend(SERVICE, STAKE), *earn(SERVICE, Money(receipt["won"]))]


class Scene:
    """What one process sees: the store, the remote, and the bet of one agent."""

    def __init__(
        self,
        store: Store,
        wire: Wire,
        agent: str,
        guarantee: Guarantee,
        *,
        follows: bool = True,
        times: Times | None = None,
    ) -> None:
        self.store, self.wire, self.agent = store, wire, agent
        self._follows = follows
        self._times = times or Times()
        bet_class = type("GuaranteedBet", (Bet,), {"guarantee": guarantee})
        self._bet = bet_class()
        registry = OperationRegistry()
        registry.add(bet_class)
        settings = Settings.model_validate({"database_url": str(store.engine.url)})
        self._jobs = Jobs(store, NullWakeUpSender(), settings)
        rules = EffectRules(lease_margin_s=self._times.margin_s)
        engine = Effects(store, self._jobs, secret=b"chaos", registry=registry, outside=lambda: wire, rules=rules)
        self.effects, self.sweeper = AgentEffects(engine, agent), engine.resolver

    def begin(self, *, bets: int) -> None:
        """Give the agent its money, and let it make some bets."""
        TransactionLedger(self.store, self.agent).deposit("start", SERVICE, START)
        for number in range(bets):
            self.bet(f"earlier:{number}")

    def bet(self, key: str = KEY) -> Any:
        """Make the bet, once."""
        return self.effects.execute_once(
            key,
            call(
                lambda tag: self.wire.bet(self.agent, tag),
                service=SERVICE,
                name=self._bet.name,
                guarantee=self._bet.guarantee,
                params=PARAMS,
                hold=STAKE,
                verify=self._verify,
                postings=self._bet.postings,
                follow_up=self._follow_up if self._follows else None,
                deadline_s=self._times.deadline_s,
                settle_s=self._times.settle_s,
            ),
        )

    def insist(self, key: str = KEY, *, pause: Callable[[], None] | None = None, tries: int = 12) -> Any:
        """GuardRequest with the same key until an answer comes, as an agent does.

        Between two asks the sweep looks, and before it `pause` lets time pass: unset, so much that nothing is waited
        for.
        """
        trouble: AgentStateError | None = None
        for _ in range(tries):
            try:
                return self.bet(key)
            except (EffectInDoubt, EffectInProgress, ServiceUnreachable, StoreUnavailable, Fenced) as error:
                trouble = error
            except AgentStateError as error:
                return {"gave up": f"{type(error).__name__}: {error}"}
            with suppress(AgentStateError):
                (pause or self.let_time_pass)()
                self.sweeper.sweep()
        return {"gave up": f"{type(trouble).__name__}: {trouble}"}

    def sweep(self) -> None:
        """What a worker does every few seconds."""
        with suppress(AgentStateError):
            self.sweeper.sweep()

    def recover(self, *, sweep_first: bool) -> Any:
        """Come back after a death, much later: what the bet gave, twice asked."""
        self.let_time_pass()
        if sweep_first:
            self.sweep()
        return {"told": self.insist(), "again": self.insist()}

    def let_time_pass(self, seconds: float = LONG_AGO_S, *, calls: bool = True) -> None:
        """Let every lease run out, and with `calls` every settle window too."""
        mine = effects.c.agent_id == self.agent
        with self.store.transaction() as tx:
            if calls:
                times = {"created_at": db_time(-seconds), "called_at": db_time(-seconds)}
                tx.connection.execute(sa.update(effects).where(mine).values(times))
            for column in ("lease_until", "next_verify_at"):
                # One that certainly was not sent is kept for its caller for longer than that.
                waiting = mine & effects.c[column].is_not(None) & (effects.c.state != EffectState.READY)
                tx.connection.execute(sa.update(effects).where(waiting).values({column: db_time(-1.0)}))

    def _verify(self, intent: Intent) -> Verdict:
        return self._bet.verify(self.wire, intent)

    def _follow_up(self, tx: Any, _receipt: Any) -> None:
        self._jobs.submit(FOLLOW_UP, {"service": SERVICE}, agent_id=self.agent, tx=tx)
