"""The person to whom effects go that nobody can find out by looking: it asks the truth and says what happened."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from agentstate.errors import AgentStateError
from agentstate.money.amounts import Money
from agentstate.money.effects.engine import Effects
from agentstate.money.effects.table import Effect, EffectState, list_effects
from agentstate.services.http.gateway import Gateway
from agentstate.services.operations import escrow
from agentstate.services.operations.names import Service
from agentstate.services.operations.receipts import pack_receipt
from agentstate.services.operations.registry import OPERATIONS
from agentstate.services.wire import Answer
from agentstate.store.store import Store
from deploy.local.sandbox.client import SandboxClient
from tests.chaos.services.setting import Group

PAUSE_S = 1.0
QUIET_S = 4.5
"""How long after its call a request may still be on its way to the sandbox, which is less than absence takes."""

MOST = 500


class Person:
    """Decides what waits for a person, by the truth route.

    Args:
        store: the books.
        client: the sandbox's own routes.
        groups: all groups, to know each agent's accounts.
        quiet_s: how long it waits after a call.
    """

    def __init__(
        self, store: Store, client: SandboxClient, groups: Sequence[Group], *, quiet_s: float = QUIET_S
    ) -> None:
        self._quiet_s = quiet_s
        self._store, self._client = store, client
        self._groups = {agent: group for group in groups for agent in group.agents}
        self._gateways: Mapping[str, Gateway] = {group.name: group.gateway(store) for group in groups}
        self._resolver = Effects(store, registry=OPERATIONS, rules=groups[0].rules).resolver
        self.decided: dict[str, str] = {}

    def close(self) -> None:
        """Give up the connections."""
        for gateway in self._gateways.values():
            gateway.close()

    def watch(self, stop: threading.Event) -> None:
        """Decide what comes up until told to stop."""
        while not stop.wait(PAUSE_S):
            self.decide_all()

    def decide_all(self) -> int:
        """Decide everything that waits; how many."""
        with self._store.read_connection() as connection:
            waiting = list_effects(connection, state=EffectState.MANUAL, limit=MOST)
        return sum(self._decide(effect) for effect in waiting)

    def _decide(self, effect: Effect) -> bool:
        if (effect.read_at - effect.called_at).total_seconds() < self._quiet_s:
            return False
        truth = self._client.read_request(effect.remote_key)
        happened = bool(truth["effects"] or truth["ledger"])
        receipt = self._receipt(effect, truth) if happened else None
        try:
            self._resolver.decide(
                effect.id, happened=happened, receipt=receipt, who="chaos", reason="the truth says so"
            )
        except AgentStateError:
            return False
        self.decided[effect.remote_key] = "Applied" if happened else "Absent"
        return True

    def _receipt(self, effect: Effect, truth: Mapping[str, Any]) -> dict[str, Any]:
        if "escrow_id" in effect.params:
            return self._escrow(effect)
        group = self._groups[effect.agent_id]
        mine = group.account(effect.agent_id, effect.service)
        moved = sum(row["micros"] for row in truth["ledger"] if row["agent_id"] == mine)
        reference = truth["effects"][0]["reference"] if truth["effects"] else "none"
        amounts = {"debited": Money.from_minor(max(-moved, 0)), "credited": Money.from_minor(max(moved, 0))}
        receipt = {"reference": reference, **amounts}
        if effect.operation == "casino.pay":
            receipt["to"] = effect.params["to"]
        return receipt

    def _escrow(self, effect: Effect) -> dict[str, Any]:
        gateway = self._gateways[self._groups[effect.agent_id].name]
        body = gateway.read(effect.agent_id, Service.ESCROW, "get", escrow_id=str(effect.params["escrow_id"]))
        operation = escrow.Release(escrow_id=str(effect.params["escrow_id"]))
        return pack_receipt(operation.read_receipt(Answer(body)))
