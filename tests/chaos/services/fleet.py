"""One process of the fleet: its agents do what they draw, side by side."""

from __future__ import annotations

import json
import logging
import random
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from agentstate.errors import (
    AgentStateError,
    EffectFailed,
    EffectInDoubt,
    EffectInProgress,
    ServiceRejected,
    ServiceUnreachable,
)
from agentstate.money.effects.engine import AgentEffects, Effects
from agentstate.services.operations.receipts import Receipt
from agentstate.services.operations.registry import OPERATIONS
from agentstate.store.store import Store
from tests.chaos.services.deck import Hand, Params, drawn
from tests.chaos.services.setting import Group

ATTEMPTS = 3


class Fleet:
    """The agents of a group at work."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.store = Store.open(group.database, pool_size=group.threads + 2)
        self.gateway = group.gateway(self.store)
        self.tally: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._operations = OPERATIONS

    def run(self) -> dict[str, int]:
        """Do the group's operations; how often each thing came of them."""
        shares = [self.group.agents[place :: self.group.threads] for place in range(self.group.threads)]
        try:
            with ThreadPoolExecutor(self.group.threads) as pool:
                list(pool.map(self._work, filter(None, shares)))
        finally:
            self.gateway.close()
            self.store.close()
        return dict(self.tally)

    def _work(self, agents: tuple[str, ...]) -> None:
        each = self.group.operations // len(self.group.agents)
        hands = [self._hand(agent) for agent in agents]
        engines = {agent: self._effects(agent) for agent in agents}
        for number in range(each):
            for hand in hands:
                name, params = drawn(hand, self.group.dialect)
                self._do(engines[hand.agent], hand, f"{self.group.seed}:{number}", name, params)

    def _hand(self, agent: str) -> Hand:
        others = tuple(other for other in self.group.agents if other != agent)
        return Hand(agent=agent, others=others, chance=random.Random(f"{self.group.seed}:{agent}"))

    def _effects(self, agent: str) -> AgentEffects:
        engine = Effects(
            self.store,
            registry=self._operations,
            outside=lambda: self.gateway,
            secret=b"chaos",
            rules=self.group.rules,
        )
        return AgentEffects(engine, agent)

    def _do(self, effects: AgentEffects, hand: Hand, key: str, name: str, params: Params) -> None:
        for _ in range(ATTEMPTS):
            came, receipt = self._attempted(effects, key, name, params)
            if came != "not sent":
                break
        if receipt is not None:
            hand.note(name, receipt.reference)
            if name == "domains.register":
                hand.note("domain", params["domain"])
        with self._lock:
            self.tally[came] += 1

    def _attempted(self, effects: AgentEffects, key: str, name: str, params: Params) -> tuple[str, Receipt | None]:
        try:
            operation = self._operations.parse(name, params)
            object.__setattr__(operation, "deadline_s", self.group.deadline_s + 0.5)
            return "done", effects.execute_once(key, operation)
        except EffectFailed:
            return "refused", None
        except EffectInDoubt:
            return "in doubt", None
        except (EffectInProgress, ServiceUnreachable):
            return "held back", None
        except ServiceRejected as error:
            return ("not sent" if error.retry_after is not None else "refused before"), None
        except AgentStateError as error:
            return type(error).__name__, None


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    sys.stdout.write(json.dumps(Fleet(Group.from_json(sys.argv[1])).run()))
