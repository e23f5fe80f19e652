"""One agent at the financial services: its accounts, its states with their age, its portfolio, reconciliation."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from agentstate.money.amounts import DEFAULT_CURRENCY

if TYPE_CHECKING:
    from agentstate.money.reconciliation.portfolio_snapshots import Snapshot
    from agentstate.money.reconciliation.reconciler import Finding
    from agentstate.runtime import Runtime
    from agentstate.services.adapter import Adapter
    from agentstate.services.cache.entry import CacheEntry
    from agentstate.services.cache.portfolio import Portfolio
    from agentstate.store import Transaction


class AgentServices:
    """One agent at the financial services; `agent.services`."""

    def __init__(self, runtime: Runtime, agent_id: str) -> None:
        self.agent_id = agent_id
        self._runtime = runtime

    def enrol(self, service: str, account: str | None = None, *, tx: Transaction | None = None) -> bool:
        """Record the agent's account at a service, so that it is reconciled and in snapshots.

        Args:
            service: such as `casino`.
            account: the account's id at the service; by the services file when left out, and the agent's own id where
                that names none.
            tx: the transaction to write in; its own when left out.

        Returns:
            True when it is new, False when it was recorded before.

        Raises:
            InvalidInput: unknown service. Conflict: the agent has another account there.

        Example:
            agent.services.enrol("casino", account="ag_12ab")
        """
        from agentstate.services.operations.names import Service

        if account is None and service in tuple(Service) and self._runtime.gateway_if_any is not None:
            account = self._runtime.gateway.dialect.find_account(self.agent_id, Service(service))
        return self._runtime.accounts.enrol(self.agent_id, service, account or self.agent_id, tx=tx)

    def at(self, service: str) -> Adapter:
        """Return one service: its state, its own ledger, its limits; raises InvalidInput for an unknown one."""
        from agentstate.services.adapter import Adapter

        return Adapter(self._runtime.gateway, self.agent_id, service)

    @property
    def casino(self) -> Adapter:
        """The casino, as in `agent.services.casino.read_state()`."""
        return self.at("casino")

    @property
    def trading(self) -> Adapter:
        """Trading."""
        return self.at("trading")

    @property
    def wallet(self) -> Adapter:
        """The wallet."""
        return self.at("wallet")

    @property
    def domains(self) -> Adapter:
        """Domains."""
        return self.at("domains")

    @property
    def faucet(self) -> Adapter:
        """The faucet."""
        return self.at("faucet")

    @property
    def escrow(self) -> Adapter:
        """Escrow."""
        return self.at("escrow")

    def read(self, service: str, *, force_refresh: bool = False, stale_for_s: float = 0.0) -> CacheEntry:
        """Return the agent's state at a service with its age and quality, from the cache or the service.

        Args:
            service: such as `casino`.
            force_refresh: ask the service even when the cache has a live entry.
            stale_for_s: seconds for which an expired entry is returned at once while it is refreshed behind.

        Example:
            state = agent.services.read("casino")
            print(state.quality, state.age_s, state.funds)
        """
        return self._runtime.cache.get(self.agent_id, service, force_refresh, stale_for_s=stale_for_s)

    def portfolio(self, *, force_refresh: bool = False) -> Portfolio:
        """Return all states side by side; one that cannot be read is unknown, never 0.

        Money in flight, as our books know it, stands on a line of its own.
        """
        from agentstate.money.reconciliation.books_snapshot import read_in_flight

        held = partial(read_in_flight, self._runtime.store, self.agent_id, DEFAULT_CURRENCY)
        return self._runtime.cache.portfolio_snapshot(self.agent_id, force_refresh, in_flight=held)

    def reconcile(self, service: str) -> Finding:
        """Compare the agent's books with a service now; a difference that nothing explains becomes a break."""
        return self._runtime.reconciler.reconcile(self.agent_id, service)

    def snapshot(self) -> Snapshot | None:
        """Return the agent's newest portfolio snapshot; None before the first."""
        return self._runtime.snapshots.find(self.agent_id)
