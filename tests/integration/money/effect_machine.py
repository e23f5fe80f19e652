"""Effects against a model: whatever happens, and in whatever order, the books say what happened at the remote, once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy.engine import Engine

from agentstate.errors import (
    AgentStateError,
    EffectFailed,
    EffectInDoubt,
    EffectInProgress,
    Fenced,
    KeyReused,
    ServiceRejected,
    ServiceUnreachable,
    StoreUnavailable,
)
from agentstate.money import Breaks, Effect, EffectState, Guarantee
from tests.worlds.effects import STAKE, START, Caller, Crash, Fate, Fault, Process, World, attempted

TOLD = (
    Crash, EffectFailed, EffectInDoubt, EffectInProgress, Fenced, ServiceRejected, ServiceUnreachable, StoreUnavailable,
)  # fmt: skip
SECONDS = (1.0, 10.0, 45.0, 100.0, 1_000.0, 100_000.0)

T = TypeVar("T")

_numbers = itertools.count(1)
faults = st.none() | st.none() | st.builds(Fault, boundary=st.integers(1, 9), fatal=st.booleans())
numbers = st.integers(0, 999)


class EffectMachine(RuleBasedStateMachine):
    """Callers, workers, crashes and time, in any order."""

    engine: ClassVar[Engine]
    # One of each class: few keys, so that those who want the same meet often.
    keys: ClassVar[Sequence[str]] = [f"{guarantee}:1" for guarantee in Guarantee]
    # What leads into doubt comes more often than the rest.
    fates: ClassVar[Sequence[Fate]] = [*Fate, Fate.LOST_ANSWER, Fate.LOST_ANSWER, Fate.DIES_AFTER, Fate.ANSWERED]

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.engine, f"ag_machine_{next(_numbers)}")
        self.running: list[Caller] = []
        # Keys of which somebody sent although another one had taken over: what only the breaks can tell.
        self.late_senders: set[str] = set()

    @rule(key=numbers, fate=numbers, fault=faults)
    def call_through(self, key: int, fate: int, fault: Fault | None) -> None:
        """Somebody wants it done, and nobody else acts until that is over."""
        caller = self._caller(key, "heads", fault)
        if caller.waiting:
            caller.answer(_chosen(self.fates, fate))
        self._judge(caller)

    @rule(key=numbers, fault=faults)
    def call(self, key: int, fault: Fault | None) -> None:
        """Somebody wants it done; its request is on its way until it is answered."""
        caller = self._caller(key, "heads", fault)
        if caller.waiting:
            self.running.append(caller)
        else:
            self._judge(caller)

    @precondition(lambda self: self.running)
    @rule(which=numbers, fate=numbers)
    def answer(self, which: int, fate: int) -> None:
        """A request meets its fate."""
        caller = self.running.pop(which % len(self.running))
        before = self._effect(caller)
        if not before.is_leased or before.fence != caller.fence:
            self.late_senders.add(caller.key)
        caller.answer(_chosen(self.fates, fate))
        self._judge(caller)
        if before.is_leased and before.fence != caller.fence:
            after = self._effect(caller)
            kept = (after.state, after.fence, after.lease_until, after.outcome)
            assert kept == (before.state, before.fence, before.lease_until, before.outcome), (
                "changed under another's lease"
            )

    @precondition(lambda self: self.running)
    @rule(which=numbers, seconds=st.sampled_from(SECONDS))
    def lease_runs_out(self, which: int, seconds: float) -> None:
        """Somebody wants what another one has been at for too long."""
        self.world.pass_time(seconds)
        self.call(self.keys.index(self.running[which % len(self.running)].key), None)

    @rule(key=numbers, fault=faults)
    def call_otherwise(self, key: int, fault: Fault | None) -> None:
        """A key that is in use is not taken for another call."""
        if _chosen(self.keys, key) not in {effect.key for effect in self.world.effects()}:
            return
        caller = self._caller(key, "tails", fault)
        assert not caller.waiting
        assert isinstance(caller.error, KeyReused | Crash | StoreUnavailable), caller.error

    @rule(seconds=st.sampled_from(SECONDS))
    def wait(self, seconds: float) -> None:
        """Time passes; requests that are under way arrive."""
        self.world.pass_time(seconds)

    @rule(readable=st.booleans())
    def remote_answers_reads(self, readable: bool) -> None:
        """The remote can be looked at, or cannot."""
        self.world.remote.readable = readable

    @rule(told=st.lists(numbers, max_size=3), fault=faults)
    def sweep(self, told: list[int], fault: Fault | None) -> None:
        """A worker takes up what is due."""
        self._swept(Process(self.world, fault, [_chosen(self.fates, fate) for fate in told]))

    def _swept(self, process: Process) -> None:
        for effect in self.world.due():
            attempted(lambda found=effect.id: self.world.resolver(process).resolve(found), Crash, AgentStateError)

    @rule(fault=faults)
    def say_what_happened(self, fault: Fault | None) -> None:
        """A human looks at the remote for the effects that are left to one, once nothing is under way any more."""
        self.world.remote.deliver()
        for effect in self.world.effects():
            if effect.state is EffectState.MANUAL:
                self._decide(effect, fault)

    @invariant()
    def all_is_well(self) -> None:
        """What has to hold at every moment."""
        found = self.world.effects()
        self._nothing_happens_twice(found)
        self._what_is_recorded_is_true(found)
        self._the_books_are_right(found)

    def _nothing_happens_twice(self, found: list[Effect]) -> None:
        remote = self.world.remote
        for effect in found:
            assert effect.key in self.late_senders or remote.applied[effect.remote_key] <= 1, effect

    def _what_is_recorded_is_true(self, found: list[Effect]) -> None:
        remote = self.world.remote
        for effect in found:
            receipts = remote.receipts[effect.remote_key]
            if effect.state is EffectState.SUCCEEDED:
                assert effect.outcome is not None
                assert effect.outcome["value"] in receipts, effect
            elif effect.state is EffectState.FAILED and effect.key not in self.late_senders:
                assert not receipts, effect

    def _the_books_are_right(self, found: list[Effect]) -> None:
        ledger = self.world.ledger
        in_flight = STAKE.minor * sum(not effect.is_ended for effect in found)
        moved = sum(_cost(effect) for effect in found)
        assert ledger.balance("casino", bucket="in_flight").minor == in_flight
        assert ledger.balance("casino").minor == START.minor - in_flight - moved

    def teardown(self) -> None:
        """All becomes quiet: then everything is known, or left to a human, who ends it."""
        for caller in self.running:
            caller.answer(Fate.DIES_BEFORE)
        self.world.remote.readable = True
        while any(effect.state is not EffectState.MANUAL for effect in self._open()):
            self.world.pass_time(1_000.0)
            self._swept(Process(self.world, None, [Fate.ANSWERED] * 20))
        self.say_what_happened(fault=None)
        assert self._open() == []
        self.all_is_well()
        ledger = self.world.ledger
        assert ledger.balance_from_ledger(service="casino") == ledger.balance("casino").amount
        for effect in self.world.effects():
            known = effect.state is EffectState.SUCCEEDED
            true = bool(self.world.remote.applied[effect.remote_key])
            assert known == true or effect.key in self.late_senders, effect

    def _caller(self, number: int, side: str, fault: Fault | None) -> Caller:
        key = _chosen(self.keys, number)
        return Caller(self.world, key, f"bet.{key.partition(':')[0]}", {"side": side}, fault)

    def _open(self) -> list[Effect]:
        return [effect for effect in self.world.effects() if not effect.is_ended]

    def _judge(self, caller: Caller) -> None:
        """What a caller was told is true."""
        effect = next((found for found in self.world.effects() if found.key == caller.key), None)
        receipts = [] if effect is None else self.world.remote.receipts[effect.remote_key]
        if caller.error is None:
            # What it was given is what every replay will give.
            assert effect is not None
            assert effect.outcome is not None
            assert caller.result == effect.outcome["value"]
            assert caller.result in receipts
        assert caller.error is None or isinstance(caller.error, TOLD), caller.error
        if isinstance(caller.error, EffectFailed) and caller.key not in self.late_senders:
            assert not receipts
        if isinstance(caller.error, Fenced):
            self._late_result_is_told(caller, receipts)

    def _late_result_is_told(self, caller: Caller, receipts: list[Any]) -> None:
        effect = next(found for found in self.world.effects() if found.key == caller.key)
        stored = effect.outcome and effect.outcome.get("value")
        if len(receipts) > 1 or (effect.is_ended and stored not in receipts):
            kinds = {found.kind for found in Breaks(self.world.store).find(agent_id=self.world.agent_id)}
            assert "late_outcome" in kinds

    def _effect(self, caller: Caller) -> Effect:
        [effect] = [found for found in self.world.effects() if found.key == caller.key]
        return effect

    def _decide(self, effect: Any, fault: Fault | None) -> None:
        receipts = self.world.remote.receipts[effect.remote_key]
        told: dict[str, Any] = {"happened": bool(receipts), "receipt": receipts[0] if receipts else None}
        resolver = self.world.resolver(Process(self.world, fault))
        attempted(lambda: resolver.decide(effect.id, **told, who="ana", reason="looked"), Crash, AgentStateError)


def _chosen(options: Sequence[T], number: int) -> T:
    return options[number % len(options)]


def _cost(effect: Any) -> int:
    """What an ended effect took, by its own outcome; minor units."""
    if effect.state is not EffectState.SUCCEEDED:
        return 0
    return STAKE.minor - int(effect.outcome["value"]["won"]) * 10**6
