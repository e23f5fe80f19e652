"""Effects on the outside, at most once each.

The idea: write down what is about to be called, and hold its money, before calling; write down what came of it, and
book it, after; and when a process ends in between, look at the outside instead of calling again. The caller names each
call by a key of its own, so that a retry is told from a second call that is meant.
"""

from __future__ import annotations

import inspect
from asyncio import to_thread
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from agentstate.errors import (
    EffectFailed,
    EffectInDoubt,
    Fenced,
    InvalidInput,
    NotFound,
    ServiceRejected,
    ServiceUnreachable,
    StoreUnavailable,
)
from agentstate.ids import checked_name
from agentstate.money import effect_rows
from agentstate.money.amounts import Money
from agentstate.money.effect_claims import Claim, Claims, Replay
from agentstate.money.effect_lookup import EffectResolver, intent_of, look
from agentstate.money.effect_outcomes import Bookings, OutcomeRecorder
from agentstate.money.effect_rows import Effect
from agentstate.money.ledger import TransactionLedger
from agentstate.money.operations import Absent, Applied, Guarantee, Operation, Operations, Verdict
from agentstate.money.plan import Call, EffectRules, FollowUp, Intent, JobQueue, Plan, Postings, Verify
from agentstate.money.shared_balances import root_of
from agentstate.store.store import Store


class Effects:
    """The effects of one agent. Safe to share between threads."""

    def __init__(
        self,
        store: Store,
        agent_id: str,
        jobs: JobQueue | None = None,
        *,
        secret: bytes | None = None,
        operations: Operations | None = None,
        gateway: Any = None,
        rules: EffectRules | None = None,
    ) -> None:
        """Effects of `agent_id` in `store`.

        Args:
            store: the durable store.
            agent_id: whose effects.
            jobs: where looking for a doubtful effect is submitted; without it the sweep alone does it.
            secret: makes the remote keys unpredictable to the outside; must stay the same for ever.
            operations: the operations known by name, for `perform` and `resolve`.
            gateway: handed to the operations.
            rules: how long to wait for what.
        """
        self.agent_id = checked_name(agent_id)
        self._store = store
        self._rules = rules or EffectRules()
        self._operations = operations or Operations()
        self._gateway = gateway
        ledger = TransactionLedger(store, agent_id)
        self._claims = Claims(store, agent_id, ledger, secret=secret, rules=self._rules)
        self._recorder = OutcomeRecorder(store, jobs=jobs, rules=self._rules)
        self._resolver = EffectResolver(store, self._operations, gateway, jobs=jobs, rules=self._rules)

    def execute_once(
        self,
        key: str,
        call: Call,
        *,
        service: str,
        operation: str = "call",
        guarantee: Guarantee = Guarantee.BLIND,
        params: Mapping[str, Any] | None = None,
        hold: Money | None = None,
        verify: Verify | None = None,
        postings: Postings | None = None,
        follow_up: FollowUp | None = None,
        baseline: Any = None,
        deadline_s: float = 30.0,
        settle_s: float = 35.0,
    ) -> Any:
        """Make `call` at most once for `key`, ever; return its result, the stored one when it was made before.

        Args:
            key: the caller's name for this very call, such as `bet:round-981`; a new key is a new call.
            call: is given the key for the remote (the same at every attempt) and returns the receipt.
            service: where it happens, and where the money is held.
            operation: the name of what is called; with a registered operation a worker can find it out.
            guarantee: what the remote does for us; decides what may follow a lost answer.
            params: what the call does; the same key with others is refused. No secrets: they are stored.
            hold: the most that it may cost; moved from available to in flight until the outcome is known.
            verify: looks whether it happened, changing nothing; needed for VERIFIABLE.
            postings: what the receipt moved, written as if nothing had been held; unset: the hold was spent.
            follow_up: writes more in the transaction of the outcome, such as a job.
            baseline: what the remote showed before, for `verify` to compare with.
            deadline_s: longest duration of `call`, in seconds; it has to keep it by its own timeouts.
            settle_s: seconds after that from which "it is not there" is conclusive.

        Raises:
            KeyReused, InvalidInput, InsufficientFunds: nothing was called.
            ServiceUnreachable, or ServiceRejected with `retry_after`: it had no effect; call again with the same key.
            EffectFailed: it certainly had no effect, and never will under this key.
            EffectInDoubt: nobody knows yet; it is being found out. Ask again with the same key.
            EffectInProgress: another process is at it. Fenced: it took over while the call was running.
        """
        plan = Plan(
            key=key,
            call=call,
            service=service,
            operation=operation,
            guarantee=Guarantee(guarantee),
            params=params or {},
            hold=hold,
            verify=verify,
            postings=postings,
            follow_up=follow_up,
            baseline=baseline,
            deadline_s=deadline_s,
            settle_s=settle_s,
        )
        return self._run(plan)

    async def execute_once_async(
        self, key: str, call: Callable[[str], Awaitable[Any]], *, service: str, **options: Any
    ) -> Any:
        """`execute_once` for a coroutine function; takes the same options. Being cancelled leaves it in doubt."""
        plan = Plan(key=key, call=call, service=service, **_DEFAULTS | options)
        prepared = await to_thread(self._prepare, plan)
        if isinstance(prepared, Replay):
            return prepared.value
        try:
            receipt = await call(prepared.effect.remote_key)
        except BaseException as error:
            raised = self._after_error(prepared, error)
            if raised is error:
                raise
            raise raised from error
        return await to_thread(self._after_receipt, plan, prepared, receipt)

    def perform(
        self, key: str, operation: str, params: Mapping[str, Any], *, hold: Money | None = None, **options: Any
    ) -> Any:
        """`execute_once` of a registered operation by its name; a worker can find it out when this process ends.

        What it may cost is held: `hold`, else what the operation tells from its parameters.

        Raises:
            NotFound: no such operation is registered. And as `execute_once`.
        """
        found = self._operations.get(operation)
        if found is None:
            raise NotFound(f"no operation {operation!r}; known are {', '.join(self._operations.names()) or 'none'}.")
        return self._run(self._plan_of(key, found, params, hold, options))

    def resolve(self, effect_id: UUID) -> Effect:
        """Look for an effect that is in doubt now, by its registered operation; return it as it stands then."""
        return self._resolver.resolve(effect_id)

    def get(self, key: str) -> Effect:
        """The effect under `key`; raises NotFound."""
        with self._store.reading() as connection:
            found = effect_rows.by_key(connection, self.agent_id, key)
        if found is None:
            raise NotFound(f"{self.agent_id} has no effect {key!r}.")
        return found

    def list(self, *, state: str | None = None, limit: int = 50) -> list[Effect]:
        """The newest effects of this agent, in one state when named."""
        with self._store.reading() as connection:
            return effect_rows.find(connection, agent_id=self.agent_id, state=state, limit=limit)

    def _run(self, plan: Plan) -> Any:
        if inspect.iscoroutinefunction(plan.call):
            raise InvalidInput(f"{plan.operation} is a coroutine function; use execute_once_async. Nothing was called.")
        prepared = self._prepare(plan)
        if isinstance(prepared, Replay):
            return prepared.value
        try:
            receipt = plan.call(prepared.effect.remote_key)
        except BaseException as error:
            raised = self._after_error(prepared, error)
            if raised is error:
                raise
            raise raised from error
        if inspect.iscoroutine(receipt):
            receipt.close()
            self._recorder.not_sent(prepared, "the call gave a coroutine that nobody ran")
            raise InvalidInput(f"{plan.operation} gave a coroutine; use execute_once_async. Nothing was called.")
        return self._after_receipt(plan, prepared, receipt)

    def _prepare(self, plan: Plan) -> Claim | Replay:
        """The right to call, or a result without calling."""
        taken = self._claims.claim(plan)
        if isinstance(taken, Claim) and not taken.clean:
            taken = self._resume(plan, taken)
        if isinstance(taken, Claim) and taken.elapsed_s > plan.deadline_s:
            late = ServiceUnreachable(f"{plan.operation} {plan.key!r} was not sent: preparing it took too long.")
            raise self._after_error(taken, late)
        return taken

    def _resume(self, plan: Plan, claim: Claim) -> Claim | Replay:
        """What to do about a call of another process whose outcome was never recorded."""
        age_s = (claim.effect.read_at - claim.effect.created_at).total_seconds()
        if plan.guarantee is Guarantee.KEYED and age_s < self._rules.key_memory_s:
            return self._again(plan, claim, clean=False)
        if plan.verify is not None:
            return self._verified(plan, claim, plan.verify)
        if plan.guarantee is Guarantee.NATURAL:
            return self._again(plan, claim, clean=False)
        state = self._recorder.doubtful(claim, "its process ended during the call, and it cannot be looked up")
        raise EffectInDoubt(f"{plan.operation} {plan.key!r} may have happened and cannot be looked up; it is {state}.")

    def _verified(self, plan: Plan, claim: Claim, verify: Verify) -> Claim | Replay:
        verdict = look(claim.effect, lambda: verify(intent_of(claim.effect)))
        if isinstance(verdict, Applied):
            return Replay(self._after_receipt(plan, claim, verdict.receipt))
        if isinstance(verdict, Absent):
            return self._again(plan, claim, clean=True)
        self._recorder.doubtful(claim, verdict.reason or "looking did not tell", looked=True)
        raise EffectInDoubt(f"{plan.operation} {plan.key!r} is in doubt: {verdict.reason}. Ask again, same key.")

    def _again(self, plan: Plan, claim: Claim, *, clean: bool) -> Claim:
        renewed = Claim.of(claim.effect, claim.fence, clean=clean)
        with self._store.transaction() as tx:
            lease_s = self._rules.lease_s(plan.deadline_s)
            if not effect_rows.call_again(tx, claim.effect.id, claim.fence, lease_s=lease_s):
                raise Fenced(f"{plan.operation} {plan.key!r} was taken over; nothing was called. Ask again.")
        return renewed

    def _after_receipt(self, plan: Plan, claim: Claim, receipt: Any) -> Any:
        bookings = Bookings(postings=plan.postings, follow_up=plan.follow_up)
        try:
            return self._recorder.succeeded(claim, receipt, bookings)
        except StoreUnavailable as error:
            raise EffectInDoubt(
                f"{plan.operation} {plan.key!r} was called, but the store does not answer, so its outcome is not "
                "recorded; it will be looked up. Ask again with the same key."
            ) from error

    def _after_error(self, claim: Claim, error: BaseException) -> BaseException:
        """Record what `error` means for the effect; return what the caller is to be told."""
        what = f"{claim.effect.operation} {claim.effect.key!r}"
        try:
            told = self._classified(claim, error, what)
        except StoreUnavailable:
            told = EffectInDoubt(f"{what} ended with {type(error).__name__} and the store does not answer; ask again.")
        return told if isinstance(error, Exception) else error

    def _classified(self, claim: Claim, error: BaseException, what: str) -> Exception:
        note = f"{type(error).__name__}: {error}"[:500]
        # An earlier attempt may have arrived, so only a clean claim can be certain that nothing happened.
        if claim.clean and isinstance(error, ServiceUnreachable):
            self._recorder.not_sent(claim, note)
            return error
        if claim.clean and isinstance(error, ServiceRejected):
            return self._refused(claim, error, what)
        state = self._recorder.doubtful(claim, note)
        return EffectInDoubt(f"{what} may have happened ({note}); it is {state}. Never call it under a new key yet.")

    def _refused(self, claim: Claim, error: ServiceRejected, what: str) -> Exception:
        if error.retry_after is not None:
            self._recorder.not_sent(claim, f"refused for now: {error}"[:500])
            return error
        self._recorder.failed(claim, error.code or "rejected", str(error))
        return EffectFailed(f"{what} was refused before any effect: {error}")

    def _plan_of(
        self, key: str, operation: Operation, params: Mapping[str, Any], hold: Money | None, options: dict[str, Any]
    ) -> Plan:
        gateway, agent_id = self._gateway, self.agent_id

        def verify(intent: Intent) -> Verdict:
            return operation.verify(
                gateway, agent_id, intent.remote_key, params, intent.called_at, baseline=intent.baseline
            )

        return Plan(
            key=key,
            call=lambda tag: operation.call(gateway, agent_id, tag, **params),
            service=root_of(operation.service),
            operation=operation.name,
            guarantee=operation.guarantee,
            params=params,
            hold=hold or operation.hold(params),
            verify=verify,
            postings=lambda receipt: operation.postings(params, receipt),
            settle_s=operation.settle_s,
            **{"baseline": self._baseline(key, operation, params), **options},
        )

    def _baseline(self, key: str, operation: Operation, params: Mapping[str, Any]) -> Any:
        """What the service shows before the first call; an effect that is there has its own."""
        with self._store.reading() as connection:
            if effect_rows.by_key(connection, self.agent_id, key) is not None:
                return None
        return operation.baseline(self._gateway, self.agent_id, params)


_DEFAULTS: dict[str, Any] = {"operation": "call", "guarantee": Guarantee.BLIND, "params": {}}
