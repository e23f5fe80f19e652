"""The engine of effects: calls to the outside, at most once each.

The idea: write down what is about to be called, and hold its money, before calling; write down what came of it, and
book it, after; and when a process ends in between, look at the outside instead of calling again. The caller names each
call by a key of its own, so that a retry is told from a second call that is meant.
"""

from __future__ import annotations

import unicodedata
from asyncio import shield, to_thread
from collections.abc import Sequence
from inspect import isawaitable, iscoroutine
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from agentstate.errors import (
    ConfigurationError,
    EffectInDoubt,
    Fenced,
    Frozen,
    InvalidInput,
    NotFound,
    ServiceUnreachable,
    Unavailable,
)
from agentstate.jobs.jobs import Jobs
from agentstate.money.amounts import Money
from agentstate.money.effects import table as effect_rows
from agentstate.money.effects.claims import Claim, Claims, EffectRules, Plan, Replay
from agentstate.money.effects.operation import Operation, OperationRegistry
from agentstate.money.effects.recorder import OutcomeRecorder, advise
from agentstate.money.effects.resolver import EffectResolver, OnChange, Outside, look_up
from agentstate.money.effects.table import Effect
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee
from agentstate.money.guards.freezes import require_not_frozen
from agentstate.money.ledger.postings import Line, normalize_key
from agentstate.store.store import Store, Transaction

R = TypeVar("R")

EXECUTE = "effects.perform"
"""The kind of job that executes an operation once."""


class Effects:
    """The effects of all agents; one per process, safe to share between threads.

    Args:
        store: the durable store.
        jobs: where looking for a doubtful effect is submitted, and `submit` goes; without it the sweep alone looks.
        secret: makes the remote keys unpredictable to the outside; must stay the same for ever.
        registry: the operations known by name, for workers.
        outside: opens the gateway to the services, for the operations that need it.
        rules: how long to wait for what.
        on_change: is told whose cached states at which services an attempt may have changed. Not called by a replay.
    """

    def __init__(
        self,
        store: Store,
        jobs: Jobs | None = None,
        *,
        secret: bytes | None = None,
        registry: OperationRegistry | None = None,
        outside: Outside = lambda: None,
        rules: EffectRules | None = None,
        on_change: OnChange = lambda _changed: None,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._rules = rules or EffectRules()
        self._outside = outside
        self._on_change = on_change
        self.registry = OperationRegistry() if registry is None else registry
        self._claims = Claims(store, secret=secret, rules=self._rules)
        self._recorder = OutcomeRecorder(store, jobs=jobs, rules=self._rules)
        self.resolver = EffectResolver(
            store, self.registry, self._recorder, outside=outside, on_change=on_change, rules=self._rules
        )

    def execute_once(self, agent_id: str, key: str, operation: Operation[R], *, hold: Money | None = None) -> R:
        """Execute `operation` at most once for a key of an agent; see `AgentEffects.execute_once`."""
        if operation.is_coroutine:
            raise InvalidInput(f"{operation.name} is a coroutine function; use execute_once_async. Nothing was called.")
        self._store.refuse_ambient("execute_once")
        plan = Plan.make(agent_id, key, operation, hold)
        claimed, outside = self._claim(plan)
        if isinstance(claimed, Replay):
            return operation.load_receipt(claimed.value)
        try:
            ready = self._prepare_call(plan, claimed)
            if isinstance(ready, Replay):
                return operation.load_receipt(ready.value)
            try:
                receipt: Any = operation.send(outside, ready.effect.to_intent())
            except BaseException as error:  # noqa: BLE001 always raised again, as itself or as what it means
                self._raise_recorded(ready, error)
            if isawaitable(receipt):
                if iscoroutine(receipt):
                    receipt.close()
                self._recorder.release_unsent(ready, "the call gave a coroutine that nobody ran")
                raise InvalidInput(f"{operation.name} gave a coroutine; use execute_once_async. Nothing was called.")
            return operation.load_receipt(self._record_success(plan, ready, receipt))
        finally:
            self._on_change(operation.invalidates(agent_id))

    async def execute_once_async(
        self, agent_id: str, key: str, operation: Operation[R], *, hold: Money | None = None
    ) -> R:
        """`execute_once` on an event loop: coroutine functions are awaited, the rest runs in threads.

        Being cancelled leaves the effect in doubt.
        """
        if not operation.is_coroutine:
            return await to_thread(self.execute_once, agent_id, key, operation, hold=hold)
        self._store.refuse_ambient("execute_once")
        plan = await to_thread(Plan.make, agent_id, key, operation, hold)
        claimed, outside = await to_thread(self._claim, plan)
        if isinstance(claimed, Replay):
            return operation.load_receipt(claimed.value)
        try:
            ready = await to_thread(self._prepare_call, plan, claimed)
            if isinstance(ready, Replay):
                return operation.load_receipt(ready.value)
            try:
                awaitable: Any = operation.send(outside, ready.effect.to_intent())
                receipt = await awaitable
            except BaseException as error:  # noqa: BLE001 always raised again, as itself or as what it means
                self._raise_recorded(ready, error)
            # Not to be cancelled any more: what happened has to be written down.
            return operation.load_receipt(await shield(to_thread(self._record_success, plan, ready, receipt)))
        finally:
            if changed := operation.invalidates(agent_id):
                await shield(to_thread(self._on_change, changed))

    def submit(self, agent_id: str, key: str, operation: Operation[Any], *, tx: Transaction | None = None) -> UUID:
        """Let a worker execute a registered operation once; see `AgentEffects.submit`."""
        if self._jobs is None:
            raise ConfigurationError("these effects have no jobs; nothing was submitted.")
        if self.registry.find(operation.name) is None:
            raise InvalidInput(f"no worker knows the operation {operation.name!r}. Nothing was submitted.")
        key = normalize_key(key)
        payload = {"key": key, "operation": operation.name, "params": dict(operation.params())}
        return self._jobs.submit(EXECUTE, payload, agent_id=agent_id, dedupe_key=key, tx=tx)

    def get(self, agent_id: str, key: str) -> Effect:
        """Return the effect under `key`; raises NotFound."""
        found = self.find(agent_id, key)
        if found is None:
            raise NotFound(f"{agent_id} has no effect {key!r}.")
        return found

    def find(self, agent_id: str, key: str) -> Effect | None:
        """Return the effect under `key`, None when there is none."""
        with self._store.read_connection() as connection:
            return effect_rows.find_by_key(connection, agent_id, unicodedata.normalize("NFC", key))

    def list(self, *, agent_id: str | None = None, state: str | None = None, limit: int = 50) -> list[Effect]:
        """Return the newest effects, of one agent or in one state when named."""
        with self._store.read_connection() as connection:
            return effect_rows.list_effects(connection, agent_id=agent_id, state=state, limit=limit)

    def _claim(self, plan: Plan) -> tuple[Claim | Replay, Any]:
        """Return the right to call with the way to the outside, or a stored result, for which none is opened."""
        seen = self._claims.find(plan)
        if isinstance(seen, Replay):
            return seen, None
        operation = plan.operation
        # Before anything is written: without a key there is no way to the services, and a baseline comes before.
        outside = self._outside() if operation.needs_outside else None
        baseline = operation.read_baseline(outside, plan.agent_id) if seen is None else None
        return self._claims.claim(plan, seen=seen, baseline=baseline), outside

    def _prepare_call(self, plan: Plan, claim: Claim) -> Claim | Replay:
        """Return the claim when the call is to be sent now, or a result that was found out without calling."""
        ready = claim if claim.clean else self._resume(plan, claim)
        if isinstance(ready, Claim) and ready.elapsed_s > plan.operation.deadline_s:
            late = ServiceUnreachable(f"{plan.operation.name} {plan.key!r} was not sent: preparing it took too long.")
            raise self._recorder.record_error(ready, late)
        return ready

    def _resume(self, plan: Plan, claim: Claim) -> Claim | Replay:
        """Settle a call of another process that was cut off: by its kept receipt, by looking, or by calling again."""
        operation, effect = plan.operation, claim.effect
        kept = self._recorder.find_receipt(effect)
        if kept is not None:
            self._recorder.record_outcome(claim, kept)
            return Replay(kept.envelope["value"])
        if operation.guarantee is Guarantee.KEYED and self._rules.remembers_key(effect.read_at - effect.created_at):
            return self._begin_attempt(plan, claim, clean=False)
        if not operation.is_verifiable:
            if operation.guarantee is Guarantee.NATURAL:
                return self._begin_attempt(plan, claim, clean=False)
            state = self._recorder.release_doubtful(
                claim, "its process ended during the call, and it cannot be looked up"
            )
            raise EffectInDoubt(
                f"{operation.name} {plan.key!r} may have happened and cannot be looked up; it is {state}. "
                f"{advise(state)}"
            )
        verdict = look_up(effect, operation, self._outside)
        if isinstance(verdict, Applied):
            return Replay(self._record_success(plan, claim, verdict.receipt))
        if isinstance(verdict, Absent):
            return self._begin_after_absence(plan, claim)
        reason = verdict.reason or "looking did not tell"
        state = self._recorder.release_doubtful(
            claim, reason, looked=True, settles_in_s=verdict.settles_in_s, is_final=verdict.is_final
        )
        raise EffectInDoubt(f"{operation.name} {plan.key!r} is {state}: {reason}. {advise(state)}")

    def _begin_after_absence(self, plan: Plan, claim: Claim) -> Claim:
        """Begin a new attempt after verification found no effect; refused while a freeze is in force."""
        try:
            with self._store.transaction() as tx:
                require_not_frozen(tx, plan.agent_id, plan.operation.service)
        except Frozen:
            self._recorder.release_unsent(claim, "looked up and not there; not called again because of a freeze")
            raise
        return self._begin_attempt(plan, claim, clean=True)

    def _begin_attempt(self, plan: Plan, claim: Claim, *, clean: bool) -> Claim:
        renewed = claim.renew(clean=clean)
        with self._store.transaction() as tx:
            lease_s = self._rules.lease_s(plan.operation.deadline_s)
            if not effect_rows.begin_attempt(tx, claim.effect.id, claim.fence, lease_s=lease_s):
                raise Fenced(f"{plan.operation.name} {plan.key!r} was taken over; nothing was called. Ask again.")
        return renewed

    def _record_success(self, plan: Plan, claim: Claim, receipt: Any) -> Any:
        try:
            return self._recorder.record_success(claim, plan.operation, receipt)
        except Unavailable as error:
            raise EffectInDoubt(
                f"{plan.operation.name} {plan.key!r} was called, but the store does not answer, so its outcome is not "
                "recorded; it will be looked up. Ask again with the same key."
            ) from error

    def _raise_recorded(self, claim: Claim, error: BaseException) -> NoReturn:
        meaning = self._recorder.record_error(claim, error)
        raise meaning from (None if meaning is error else error)


class AgentEffects:
    """The effects of one agent: its calls to the outside, each made at most once.

    Example:
        receipt = agent.effects.execute_once("mail:7", call(send, service="mail", params={"to": address}))
    """

    def __init__(self, engine: Effects, agent_id: str) -> None:
        self.agent_id = agent_id
        self._engine = engine

    def __repr__(self) -> str:
        return f"AgentEffects({self.agent_id!r})"

    def execute_once(self, key: str, operation: Operation[R], /, *, hold: Money | None = None) -> R:
        """Execute `operation` at most once for `key`, ever; return its receipt, the stored one when it was done before.

        Args:
            key: your name for this very call, such as `bet:round-981`; a new key is a new call.
            operation: one of a service's, or a function of your own by `call`.
            hold: the most that it may cost, where the operation does not know; a larger one than its own counts.

        Raises:
            KeyReused, InvalidInput, InsufficientFunds, LimitExceeded, Frozen: nothing was called.
            ServiceUnreachable, or ServiceRejected with `retry_after`: it had no effect; call again with the same key.
            EffectFailed: it certainly had no effect, and never will under this key.
            EffectExpired: it happened so long ago that its result is not kept any more.
            EffectInDoubt: it may have happened; it is being found out. Ask again with the same key.
            EffectInProgress: another process is at it. Fenced: it took over while the call was running.

        Example:
            agent.effects.execute_once("bet:981", casino.bet(amount=Decimal("2.50"), side="heads"))
        """
        return self._engine.execute_once(self.agent_id, key, operation, hold=hold)

    async def execute_once_async(self, key: str, operation: Operation[R], /, *, hold: Money | None = None) -> R:
        """`execute_once` on an event loop, for coroutine functions too; a cancelled call is in doubt.

        Example:
            await agent.effects.execute_once_async("mail:7", call(send_async, service="mail"))
        """
        return await self._engine.execute_once_async(self.agent_id, key, operation, hold=hold)

    def submit(self, key: str, operation: Operation[Any], /, *, tx: Transaction | None = None) -> UUID:
        """Let a worker execute a registered operation once for `key`, ever; return the id of its job.

        The same key gives the same job. Its result tells the `state` of the effect, and the receipt.

        Raises:
            InvalidInput: no worker knows the operation. KeyReused: the key was submitted with other parameters.

        Example:
            job_id = agent.effects.submit("bet:982", casino.bet(amount=Decimal("2.50"), side="heads"))
        """
        return self._engine.submit(self.agent_id, key, operation, tx=tx)

    def get(self, key: str) -> Effect:
        """Return the effect under `key`; raises NotFound.

        Example:
            agent.effects.get("bet:981").state
        """
        return self._engine.get(self.agent_id, key)

    def find(self, key: str) -> Effect | None:
        """Return the effect under `key`, None when there is none.

        Example:
            if agent.effects.find("bet:981") is None: ...
        """
        return self._engine.find(self.agent_id, key)

    def list(self, *, state: str | None = None, limit: int = 50) -> list[Effect]:
        """Return the newest effects, newest first, in one state when named.

        Example:
            waiting = agent.effects.list(state="manual")
        """
        return self._engine.list(agent_id=self.agent_id, state=state, limit=limit)

    def resolve(self, key: str) -> Effect:
        """Look for an effect that is in doubt now, by its registered operation; return it as it stands then.

        Raises:
            NotFound: there is no such effect. EffectError: it succeeded, but its postings are wrong.

        Example:
            agent.effects.resolve("bet:981").state
        """
        return self._engine.resolver.resolve(self.get(key).id)

    def decide(self, key: str, *, happened: bool, receipt: Any = None, who: str, reason: str = "") -> Effect:
        """End an open effect by a person's finding; return it as it stands then. Final.

        Args:
            key: the effect's key.
            happened: True books `receipt` as the operation does; False gives back what was held.
            receipt: what the call would have returned, as plain values.
            who: the person who found out; kept as evidence, with `reason`.
            reason: how that was found out.

        Raises:
            NotFound: there is no such effect. InvalidInput: it has ended. EffectInProgress: a process is at it.

        Example:
            agent.effects.decide("wire:3", happened=False, who="ann", reason="not on the statement")
        """
        effect_id = self.get(key).id
        return self._engine.resolver.decide(effect_id, happened=happened, receipt=receipt, who=who, reason=reason)

    def book(self, key: str, *, lines: Sequence[Line] | None = None) -> Effect:
        """Book a success that had wrong postings, and end its break; does nothing when it is booked already.

        Args:
            key: the effect's key.
            lines: what it moved, as if nothing had been held; by its operation and receipt when left out.

        Raises:
            NotFound, InvalidInput: there is nothing to book, or the lines have to be given.
            Unbalanced, AmountInvalid: the postings are still wrong; nothing was changed.

        Example:
            agent.effects.book("mail:7", lines=spend("mail", Money("0.01")))
        """
        return self._engine.resolver.book(self.get(key).id, lines=lines)
