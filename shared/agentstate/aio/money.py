"""Books, effects and guards of an agent, awaited.

Written by `scripts/generate_async.py` from the synchronous classes; change those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentstate.aio.memory import AsyncContext
from agentstate.aio.threads import AsyncPart
from agentstate.money.amounts import DEFAULT_CURRENCY
from agentstate.money.guards.rules import DAY_S, EVERY
from agentstate.money.ledger.postings import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from decimal import Decimal
    from typing import Any
    from uuid import UUID

    from agentstate.money.amounts import Amount, Money
    from agentstate.money.effects.engine import AgentEffects, R
    from agentstate.money.effects.operation import Operation
    from agentstate.money.effects.table import Effect
    from agentstate.money.guards.guards import Guards, P, Rules, T
    from agentstate.money.guards.rules import Rule
    from agentstate.money.guards.uses import Use
    from agentstate.money.ledger.ledger import TransactionLedger
    from agentstate.money.ledger.postings import Line, Place, Posted
    from agentstate.money.ledger.statement import Cursor, StatementPage
    from agentstate.money.reconciliation.breaks import Break, Breaks, Sighting
    from agentstate.money.reconciliation.portfolio_snapshots import Snapshot
    from agentstate.money.reconciliation.reconciler import Finding
    from agentstate.services.adapter import Adapter, Capabilities, State
    from agentstate.services.agent_services import AgentServices
    from agentstate.services.cache.entry import CacheEntry
    from agentstate.services.cache.portfolio import Portfolio
    from agentstate.services.http.limiter import ServiceLimits
    from agentstate.services.operations.service_ledger import LedgerPage
    from agentstate.store import Transaction


class AsyncLedger(AsyncPart["TransactionLedger"]):
    """`TransactionLedger`, awaited: the same verbs with the same arguments, results and errors."""

    async def post(
        self,
        key: str,
        lines: Sequence[Line],
        *,
        kind: str = "transfer",
        effective_at: datetime | None = None,
        meta: Mapping[str, Any] | None = None,
        tx: Transaction | None = None,
    ) -> Posted:
        """Write one transaction; durable at return (or when `tx` commits)."""
        return await self._run_verb(
            lambda part: part.post(key, lines, kind=kind, effective_at=effective_at, meta=meta, tx=tx)
        )

    async def append(
        self, entry: Mapping[str, Any], *, key: str | None = None, tx: Transaction | None = None
    ) -> Posted:
        """Write a plain entry with a signed amount; positive is money that came in, negative money that went out."""
        return await self._run_verb(lambda part: part.append(entry, key=key, tx=tx))

    async def deposit(self, key: str, service: str, amount: Amount, *, tx: Transaction | None = None) -> Posted:
        """Record money that came in from outside. Raises as `post`; AmountInvalid for a float."""
        return await self._run_verb(lambda part: part.deposit(key, service, amount, tx=tx))

    async def withdraw(self, key: str, service: str, amount: Amount, *, tx: Transaction | None = None) -> Posted:
        """Record money that went outside. Raises as `post`; AmountInvalid for a float."""
        return await self._run_verb(lambda part: part.withdraw(key, service, amount, tx=tx))

    async def transfer(
        self,
        key: str,
        amount: Amount,
        *,
        source: Place,
        target: Place,
        kind: str = "transfer",
        tx: Transaction | None = None,
    ) -> Posted:
        """Move `amount` from one (service, bucket) of the agent's to another. Raises as `post`."""
        return await self._run_verb(
            lambda part: part.transfer(key, amount, source=source, target=target, kind=kind, tx=tx)
        )

    async def reserve(self, key: str, service: str, amount: Amount, *, tx: Transaction | None = None) -> Posted:
        """Hold `amount` for an operation that is about to start; the `id` of the result names the hold."""
        return await self._run_verb(lambda part: part.reserve(key, service, amount, tx=tx))

    async def settle(
        self, key: str, hold_id: UUID, lines: Sequence[Line] | None = None, *, tx: Transaction | None = None
    ) -> Posted:
        """End a hold with the movements that took place; a hold ends once."""
        return await self._run_verb(lambda part: part.settle(key, hold_id, lines, tx=tx))

    async def void(self, key: str, hold_id: UUID, *, tx: Transaction | None = None) -> Posted:
        """Give a hold back, because nothing happened. Raises as `settle`."""
        return await self._run_verb(lambda part: part.void(key, hold_id, tx=tx))

    async def balance(
        self,
        service: str,
        currency: str = DEFAULT_CURRENCY,
        *,
        as_of: datetime | None = None,
        bucket: str = Bucket.AVAILABLE,
    ) -> Money:
        """Return the balance of one account, now or as it was recorded at `as_of` (timezone-aware)."""
        return await self._run_verb(lambda part: part.balance(service, currency, as_of=as_of, bucket=bucket))

    async def balance_from_ledger(
        self,
        currency: str = DEFAULT_CURRENCY,
        *,
        service: str | None = None,
        bucket: str = Bucket.AVAILABLE,
        whole: bool = False,
    ) -> Decimal:
        """Return the sum of the entries themselves in whole units, to compare with the stored balance."""
        return await self._run_verb(
            lambda part: part.balance_from_ledger(currency, service=service, bucket=bucket, whole=whole)
        )

    async def recent(self, limit: int = 20) -> list[Posted]:
        """Return the newest transactions, newest first; raise InvalidInput for a limit below 0."""
        return await self._run_verb(lambda part: part.recent(limit))

    async def statement(
        self,
        service: str | None = None,
        *,
        bucket: str | None = None,
        currency: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: Cursor | None = None,
        limit: int = 100,
    ) -> StatementPage:
        """Return a page of entries, account by account, each with the balance after it."""
        return await self._run_verb(
            lambda part: part.statement(
                service, bucket=bucket, currency=currency, since=since, until=until, after=after, limit=limit
            )
        )

    async def get(self, key: str) -> Posted:
        """Return the transaction that was posted under `key`; raise NotFound when there is none."""
        return await self._run_verb(lambda part: part.get(key))

    async def find(self, key: str) -> Posted | None:
        """Return the transaction that was posted under `key`, None when there is none."""
        return await self._run_verb(lambda part: part.find(key))


class AsyncEffects(AsyncPart["AgentEffects"]):
    """`AgentEffects`, awaited: the same verbs with the same arguments, results and errors."""

    async def execute_once(self, key: str, operation: Operation[R], /, *, hold: Money | None = None) -> R:
        """`execute_once` on an event loop, for coroutine functions too; a cancelled call is in doubt."""
        part = await self._runner.run(self._open_part)
        return await part.execute_once_async(key, operation, hold=hold)

    async def submit(self, key: str, operation: Operation[Any], /, *, tx: Transaction | None = None) -> UUID:
        """Let a worker execute a registered operation once for `key`, ever; return the id of its job."""
        return await self._run_verb(lambda part: part.submit(key, operation, tx=tx))

    async def get(self, key: str) -> Effect:
        """Return the effect under `key`; raises NotFound."""
        return await self._run_verb(lambda part: part.get(key))

    async def find(self, key: str) -> Effect | None:
        """Return the effect under `key`, None when there is none."""
        return await self._run_verb(lambda part: part.find(key))

    async def list(self, *, state: str | None = None, limit: int = 50) -> list[Effect]:
        """Return the newest effects, newest first, in one state when named."""
        return await self._run_verb(lambda part: part.list(state=state, limit=limit))

    async def resolve(self, key: str) -> Effect:
        """Look for an effect that is in doubt now, by its registered operation; return it as it stands then."""
        return await self._run_verb(lambda part: part.resolve(key))

    async def decide(self, key: str, *, happened: bool, receipt: Any = None, who: str, reason: str = "") -> Effect:
        """End an open effect by a person's finding; return it as it stands then. Final."""
        return await self._run_verb(
            lambda part: part.decide(key, happened=happened, receipt=receipt, who=who, reason=reason)
        )

    async def book(self, key: str, *, lines: Sequence[Line] | None = None) -> Effect:
        """Book a success that had wrong postings, and end its break; does nothing when it is booked already."""
        return await self._run_verb(lambda part: part.book(key, lines=lines))


class AsyncBreaks(AsyncPart["Breaks"]):
    """`Breaks`, awaited: the same verbs with the same arguments, results and errors."""

    async def find(
        self, *, agent_id: str | None = None, service: str | None = None, only_open: bool = True, limit: int = 100
    ) -> list[Break]:
        """Return the breaks that match, newest first."""
        return await self._run_verb(
            lambda part: part.find(agent_id=agent_id, service=service, only_open=only_open, limit=limit)
        )

    async def get(self, break_id: UUID, *, tx: Transaction | None = None) -> Break:
        """Return one break; raise NotFound, also for another agent's."""
        return await self._run_verb(lambda part: part.get(break_id, tx=tx))

    async def acknowledge(self, break_id: UUID, *, who: str, note: str = "") -> Break:
        """Record that a person looks into an open break; it stays open, and goes on counting."""
        return await self._run_verb(lambda part: part.acknowledge(break_id, who=who, note=note))

    async def resolve(self, break_id: UUID, *, who: str, reason: str) -> Break:
        """End an open break with an explanation. The books are not touched: post the missing transaction before."""
        return await self._run_verb(lambda part: part.resolve(break_id, who=who, reason=reason))

    async def report(self, sighting: Sighting, *, tx: Transaction | None = None) -> UUID:
        """Open a break for `sighting`, or count it on the open one; return the break's id."""
        return await self._run_verb(lambda part: part.report(sighting, tx=tx))

    async def explain(self, fingerprint: str, resolution: str, *, tx: Transaction | None = None) -> bool:
        """Close the open break with `fingerprint` automatically; return False when there is none."""
        return await self._run_verb(lambda part: part.explain(fingerprint, resolution, tx=tx))


class AsyncGuards(AsyncPart["Guards"]):
    """`Guards`, awaited: the same verbs with the same arguments, results and errors."""

    async def limit(
        self,
        *,
        per_operation: Amount | None = None,
        total: Amount | None = None,
        loss: Amount | None = None,
        in_flight: Amount | None = None,
        rate: int | None = None,
        unexplained: Amount | None = None,
        service: str = EVERY,
        operation: str = EVERY,
        window_s: int = DAY_S,
        currency: str = DEFAULT_CURRENCY,
        who: str | None = None,
        tx: Transaction | None = None,
    ) -> list[Rule]:
        """Set limits, each in place of the one of the same kind, service, operation, currency and window."""
        return await self._run_verb(
            lambda part: part.limit(
                per_operation=per_operation,
                total=total,
                loss=loss,
                in_flight=in_flight,
                rate=rate,
                unexplained=unexplained,
                service=service,
                operation=operation,
                window_s=window_s,
                currency=currency,
                who=who,
                tx=tx,
            )
        )

    async def remove(self, rule_id: UUID, *, tx: Transaction | None = None) -> None:
        """Remove one rule; raise NotFound when the agent has none with this id."""
        await self._run_verb(lambda part: part.remove(rule_id, tx=tx))

    async def freeze(self, service: str, reason: str, *, who: str | None = None, tx: Transaction | None = None) -> bool:
        """Stop money moves at `service` (`*`: everywhere) that have not begun; return False when they are stopped."""
        return await self._run_verb(lambda part: part.freeze(service, reason, who=who, tx=tx))

    async def unfreeze(self, service: str, *, who: str | None = None, tx: Transaction | None = None) -> bool:
        """Lift the freeze of `service`; return False when there is none."""
        return await self._run_verb(lambda part: part.unfreeze(service, who=who, tx=tx))

    async def rules(self) -> Rules:
        """Return all rules and freezes that bind the agent, the fleet's among them."""
        return await self._run_verb(lambda part: part.rules())

    async def describe(self) -> str:
        """Return the rules and freezes that bind the agent as plain sentences, for people and prompts."""
        return await self._run_verb(lambda part: part.describe())

    def use(
        self, amount: Amount | None = None, *, service: str, operation: str = "action", longest_s: float = 3600.0
    ) -> AbstractAsyncContextManager[Use]:
        """Run a block of one's own code under the rules, for `async with`; the store is asked in a thread."""
        return self._open_part().use_async(amount, service=service, operation=operation, longest_s=longest_s)

    def guard(
        self, *, service: str, operation: str = "action", parameter: str = "amount", currency: str = DEFAULT_CURRENCY
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Return a decorator that runs each call of a function, plain or async, as `use` of its `parameter`."""
        return self._open_part().guard(service=service, operation=operation, parameter=parameter, currency=currency)


class AsyncServices(AsyncPart["AgentServices"]):
    """`AgentServices`, awaited: the same verbs with the same arguments, results and errors."""

    async def enrol(self, service: str, account: str | None = None, *, tx: Transaction | None = None) -> bool:
        """Record the agent's account at a service, so that it is reconciled and in snapshots."""
        return await self._run_verb(lambda part: part.enrol(service, account, tx=tx))

    async def at(self, service: str) -> AsyncService:
        """Return one service: its state, its own ledger, its limits; raises InvalidInput for an unknown one."""
        opened = await self._run_verb(lambda part: part.at(service))
        return AsyncService(self._runner, lambda: opened)

    @property
    def casino(self) -> AsyncService:
        """The casino, as in `agent.services.casino.read_state()`."""
        return AsyncService(self._runner, lambda: self._open_part().casino)

    @property
    def trading(self) -> AsyncService:
        """Trading."""
        return AsyncService(self._runner, lambda: self._open_part().trading)

    @property
    def wallet(self) -> AsyncService:
        """The wallet."""
        return AsyncService(self._runner, lambda: self._open_part().wallet)

    @property
    def domains(self) -> AsyncService:
        """Domains."""
        return AsyncService(self._runner, lambda: self._open_part().domains)

    @property
    def faucet(self) -> AsyncService:
        """The faucet."""
        return AsyncService(self._runner, lambda: self._open_part().faucet)

    @property
    def escrow(self) -> AsyncService:
        """Escrow."""
        return AsyncService(self._runner, lambda: self._open_part().escrow)

    async def read(self, service: str, *, force_refresh: bool = False, stale_for_s: float = 0.0) -> CacheEntry:
        """Return the agent's state at a service with its age and quality, from the cache or the service."""
        return await self._run_verb(
            lambda part: part.read(service, force_refresh=force_refresh, stale_for_s=stale_for_s)
        )

    async def portfolio(self, *, force_refresh: bool = False) -> Portfolio:
        """Return all states side by side; one that cannot be read is unknown, never 0."""
        return await self._run_verb(lambda part: part.portfolio(force_refresh=force_refresh))

    async def reconcile(self, service: str) -> Finding:
        """Compare the agent's books with a service now; a difference that nothing explains becomes a break."""
        return await self._run_verb(lambda part: part.reconcile(service))

    async def snapshot(self) -> Snapshot | None:
        """Return the agent's newest portfolio snapshot; None before the first."""
        return await self._run_verb(lambda part: part.snapshot())


class AsyncService(AsyncPart["Adapter"]):
    """`Adapter`, awaited: the same verbs with the same arguments, results and errors."""

    async def capabilities(self, name: str) -> Capabilities:
        """Return the guarantees of an operation; raises InvalidInput when there is none of that name."""
        return await self._run_verb(lambda part: part.capabilities(name))

    async def read_state(self) -> State:
        """Ask the service for the agent's state."""
        return await self._run_verb(lambda part: part.read_state())

    async def ledger(self) -> LedgerPage:
        """Return the rows that the service shows of the account's ledger, put in order, and how far they are complete."""
        return await self._run_verb(lambda part: part.ledger())

    async def limits(self) -> ServiceLimits:
        """Return the requests a minute and the amounts that the service is known to allow."""
        return await self._run_verb(lambda part: part.limits())
