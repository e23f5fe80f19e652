"""Effects on the outside, at most once each.

The idea: write down what is about to be called, and hold its money, before calling; write down what came of it, and
book it, after; and when a process ends in between, look at the outside instead of calling again. The caller names each
call by a key of its own, so that a retry is told from a second call that is meant.
"""

from __future__ import annotations

import inspect
from asyncio import shield, to_thread
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn
from uuid import UUID

from agentstate.errors import (
    EffectInDoubt,
    Fenced,
    Frozen,
    InvalidInput,
    NotFound,
    ServiceUnreachable,
    StoreUnavailable,
)
from agentstate.ids import validate_name
from agentstate.money.amounts import Money
from agentstate.money.effects import table as effect_rows
from agentstate.money.effects.bookings import Bookings, FollowUp, Postings
from agentstate.money.effects.call_errors import advice, record_error
from agentstate.money.effects.claims import Claim, Claims, Replay
from agentstate.money.effects.fingerprint import remote_key, storable
from agentstate.money.effects.first_refusals import called
from agentstate.money.effects.lookup import EffectResolver, bookings_of, look
from agentstate.money.effects.operations import Operation, Operations
from agentstate.money.effects.plan import Call, EffectRules, Intent, JobQueue, Plan, Verify
from agentstate.money.effects.recorder import OutcomeRecorder
from agentstate.money.effects.table import Effect, Params
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee
from agentstate.money.guards.freezes import require_not_frozen
from agentstate.money.ledger.ledger import TransactionLedger
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
        self.agent_id = validate_name(agent_id)
        self._store = store
        self._rules = rules or EffectRules()
        self._operations = operations or Operations()
        self._gateway = gateway
        self._secret = secret
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
        serial_key: str | None = None,
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
            follow_up: writes more in the transaction of the outcome, such as a job. It belongs to this process: when
                this one is lost and a worker finds the outcome, it is not called.
            baseline: what the remote showed before, for `verify` to compare with.
            serial_key: effects of this agent with the same one are never open together; for operations whose effects
                could not be told apart.
            deadline_s: longest duration of `call`, in seconds; it has to keep it by its own timeouts.
            settle_s: seconds after that from which "it is not there" is conclusive.

        Raises:
            KeyReused, InvalidInput, InsufficientFunds, LimitExceeded, Frozen: nothing was called.
            ServiceUnreachable, or ServiceRejected with `retry_after`: it had no effect; call again with the same key.
            EffectFailed: it certainly had no effect, and never will under this key.
            EffectExpired: it happened so long ago that its result is not kept any more.
            EffectInDoubt: nobody knows yet; it is being found out. Ask again with the same key.
            EffectInProgress: another process is at it. Fenced: it took over while the call was running.
        """
        return self._run(
            Plan(
                key=key,
                call=call,
                service=service,
                operation=operation,
                guarantee=Guarantee(guarantee),
                params=params or {},
                hold=hold,
                verify=verify,
                bookings=Bookings(postings=postings, follow_up=follow_up),
                baseline=baseline,
                serial_key=serial_key,
                deadline_s=deadline_s,
                settle_s=settle_s,
            )
        )

    async def execute_once_async(
        self,
        key: str,
        call: Callable[[str], Awaitable[Any]],
        *,
        service: str,
        operation: str = "call",
        guarantee: Guarantee = Guarantee.BLIND,
        params: Mapping[str, Any] | None = None,
        postings: Postings | None = None,
        follow_up: FollowUp | None = None,
        **options: Any,
    ) -> Any:
        """`execute_once` for a coroutine function; takes the same options. Being cancelled leaves it in doubt."""
        plan = Plan(
            key=key,
            call=call,
            service=service,
            operation=operation,
            guarantee=Guarantee(guarantee),
            params=params or {},
            bookings=Bookings(postings=postings, follow_up=follow_up),
            **options,
        )
        prepared = await to_thread(self._prepare, plan)
        if isinstance(prepared, Replay):
            return prepared.value
        try:
            receipt = await call(prepared.effect.remote_key)
        except BaseException as error:  # noqa: BLE001 always raised again, as itself or as what it means
            self._raise_told(prepared, error)
        # Not to be cancelled any more: what happened has to be written down.
        return await shield(to_thread(self._after_receipt, plan, prepared, receipt))

    def perform(
        self,
        key: str,
        operation: str,
        params: Mapping[str, Any] | None = None,
        *,
        hold: Money | None = None,
        deadline_s: float = 30.0,
        follow_up: FollowUp | None = None,
    ) -> Any:
        """`execute_once` of a registered operation by its name; a worker can find it out when this process ends.

        Guarantee, verification, postings and the hold are the operation's own; only a larger hold may be given.

        Raises:
            NotFound: no such operation is registered. ServiceError: the service could not be read before the call.
            And as `execute_once`.
        """
        found = self._operations.get(operation)
        if found is None:
            raise NotFound(f"no operation {operation!r}; known are {', '.join(self._operations.names()) or 'none'}.")
        plan = self._plan_of(key, found, storable(params or {}), hold)
        bookings = replace(plan.bookings, follow_up=follow_up)
        return self._run(replace(plan, bookings=bookings, deadline_s=deadline_s))

    def resolve(self, effect_id: UUID) -> Effect:
        """Look for an effect that is in doubt now, by its registered operation; return it as it stands then."""
        return self._resolver.resolve(effect_id)

    def get(self, key: str) -> Effect:
        """The effect under `key`; raises NotFound."""
        with self._store.read_connection() as connection:
            found = effect_rows.by_key(connection, self.agent_id, key)
        if found is None:
            raise NotFound(f"{self.agent_id} has no effect {key!r}.")
        return found

    def list(self, *, state: str | None = None, limit: int = 50) -> list[Effect]:
        """The newest effects of this agent, in one state when named."""
        with self._store.read_connection() as connection:
            return effect_rows.find(connection, agent_id=self.agent_id, state=state, limit=limit)

    def _run(self, plan: Plan) -> Any:
        if inspect.iscoroutinefunction(plan.call):
            raise InvalidInput(f"{plan.operation} is a coroutine function; use execute_once_async. Nothing was called.")
        prepared = self._prepare(plan)
        if isinstance(prepared, Replay):
            return prepared.value
        try:
            receipt = plan.call(prepared.effect.remote_key)
        except BaseException as error:  # noqa: BLE001 always raised again, as itself or as what it means
            self._raise_told(prepared, error)
        if inspect.iscoroutine(receipt):
            receipt.close()
            self._recorder.not_sent(prepared, "the call gave a coroutine that nobody ran")
            raise InvalidInput(f"{plan.operation} gave a coroutine; use execute_once_async. Nothing was called.")
        return self._after_receipt(plan, prepared, receipt)

    def _raise_told(self, claim: Claim, error: BaseException) -> NoReturn:
        told = record_error(self._recorder, claim, error)
        raise told from (None if told is error else error)

    def _prepare(self, plan: Plan) -> Claim | Replay:
        """The right to call, or a result without calling."""
        taken = self._claims.claim(plan)
        if isinstance(taken, Claim) and not taken.clean:
            taken = self._resume(plan, taken)
        if isinstance(taken, Claim) and taken.elapsed_s > plan.deadline_s:
            late = ServiceUnreachable(f"{plan.operation} {plan.key!r} was not sent: preparing it took too long.")
            raise record_error(self._recorder, taken, late)
        return taken

    def _resume(self, plan: Plan, claim: Claim) -> Claim | Replay:
        """What to do about a call of another process whose outcome was never recorded."""
        keyed = plan.guarantee is Guarantee.KEYED
        if keyed and self._rules.remembered(claim.effect.read_at - claim.effect.created_at):
            return self._again(plan, claim, clean=False)
        if plan.verify is not None:
            return self._verified(plan, claim, plan.verify)
        if plan.guarantee is Guarantee.NATURAL:
            return self._again(plan, claim, clean=False)
        state = self._recorder.doubtful(claim, "its process ended during the call, and it cannot be looked up")
        raise EffectInDoubt(
            f"{plan.operation} {plan.key!r} may have happened and cannot be looked up; it is {state}. {advice(state)}"
        )

    def _verified(self, plan: Plan, claim: Claim, verify: Verify) -> Claim | Replay:
        verdict = look(claim.effect, lambda: verify(intent_of(claim.effect)))
        if isinstance(verdict, Applied):
            return Replay(self._after_receipt(plan, claim, verdict.receipt))
        if isinstance(verdict, Absent):
            return self._anew(plan, claim)
        reason = verdict.reason or "looking did not tell"
        state = self._recorder.doubtful(claim, reason, looked=True, settles_in_s=verdict.settles_in_s)
        raise EffectInDoubt(f"{plan.operation} {plan.key!r} is {state}: {reason}. {advice(state)}")

    def _anew(self, plan: Plan, claim: Claim) -> Claim:
        """Call after it was looked up and is not there: a call that has not begun, which a freeze stops."""
        try:
            with self._store.transaction() as tx:
                require_not_frozen(tx, self.agent_id, plan.service)
        except Frozen:
            self._recorder.not_sent(claim, "looked up and not there; not called again because of a freeze")
            raise
        return self._again(plan, claim, clean=True)

    def _again(self, plan: Plan, claim: Claim, *, clean: bool) -> Claim:
        renewed = claim.again(clean=clean)
        with self._store.transaction() as tx:
            lease_s = self._rules.lease_s(plan.deadline_s)
            if not effect_rows.call_again(tx, claim.effect.id, claim.fence, lease_s=lease_s):
                raise Fenced(f"{plan.operation} {plan.key!r} was taken over; nothing was called. Ask again.")
        return renewed

    def _after_receipt(self, plan: Plan, claim: Claim, receipt: Any) -> Any:
        try:
            return self._recorder.succeeded(claim, receipt, plan.bookings)
        except StoreUnavailable as error:
            raise EffectInDoubt(
                f"{plan.operation} {plan.key!r} was called, but the store does not answer, so its outcome is not "
                "recorded; it will be looked up. Ask again with the same key."
            ) from error

    def _plan_of(self, key: str, operation: Operation, params: Params, hold: Money | None) -> Plan:
        gateway, agent_id = self._gateway, self.agent_id
        operation.check(remote_key(self._secret, agent_id, key), **params)
        baseline = self._baseline(key, operation, params)
        return Plan(
            key=key,
            call=lambda tag: called(operation, gateway, agent_id, tag, params=params, baseline=baseline),
            service=operation.service,
            operation=operation.name,
            guarantee=Guarantee(operation.guarantee),
            params=params,
            hold=_larger(operation.hold(params), hold),
            verify=lambda intent: operation.verify(
                gateway, agent_id, intent.remote_key, params, intent.called_at, baseline=intent.baseline
            ),
            bookings=bookings_of(operation, params),
            baseline=baseline,
            serial_key=operation.serial_key(params),
            # The operation's own `verify` knows how long its service takes to settle.
            settle_s=0.0,
        )

    def _baseline(self, key: str, operation: Operation, params: Params) -> Any:
        """What the service showed before the first attempt; its row keeps that for the later ones."""
        with self._store.read_connection(autocommit=True) as connection:
            begun = effect_rows.by_key(connection, self.agent_id, key)
        return begun.baseline if begun else operation.baseline(self._gateway, self.agent_id, params)


def _larger(own: Money | None, given: Money | None) -> Money | None:
    """What to hold: a caller may say that more is at stake than the operation knows of, never less."""
    if given is None or own is None:
        return own if given is None else given
    return max(own, given)


def intent_of(effect: Effect) -> Intent:
    """What a verification is told."""
    return Intent(
        agent_id=effect.agent_id,
        key=effect.key,
        remote_key=effect.remote_key,
        params=effect.params,
        attempt=effect.attempt,
        called_at=effect.called_at,
        baseline=effect.baseline,
    )
