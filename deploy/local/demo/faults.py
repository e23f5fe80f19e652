"""Failures injected on purpose: lost and late answers at the services, killed processes, and an emptied Redis.

The wallet is spared: a request cut off there leaves no trace and needs a person, which takes longer than a
demonstration. Requests that vanish before they arrive are injected early: that they did not arrive is conclusive only
after 35 seconds.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import redis

from agentstate.errors import ServiceInDoubt
from agentstate.runtime import Runtime
from agentstate.services.operations import casino
from deploy.local.demo.workers import AgentProcesses, DemoStack, Report
from deploy.local.sandbox.client import SandboxClient

PLANTED_AGENT = "ag_planted"
PLANTED = Decimal("1.23")
"""Put on an account behind the back of its books, so that reconciliation has a real difference to find."""

LONG_ENOUGH_S = 30.0
"""A shorter run would wait longer for the proof that a request never arrived than it worked."""
_TRIES = 10
_FOUND_AT_ONCE = ("commit_then_drop", "500_after_effect", "slow:1200")
_MONEY = (
    ("casino", "bet", 0.05), ("trading", "open", 0.08), ("trading", "close", 0.08), ("escrow", "create", 0.08),
    ("escrow", "complete", 0.08), ("escrow", "release", 0.1), ("domains", "register", 0.1), ("casino", "deposit", 0.1),
    ("trading", "deposit", 0.1), ("faucet", "claim", 0.1),
)  # fmt: skip
"""Service, operation, and the share of its requests that a fault strikes."""


def make_rule(fault: str, service: str, operation: str, probability: float, times: int | None = None) -> dict[str, Any]:
    """One make_rule of the sandbox's fault plan."""
    given = {"fault": fault, "service": service, "operation": operation, "probability": probability, "times": times}
    return {name: value for name, value in given.items() if value is not None}


def make_steady_plan() -> list[dict[str, Any]]:
    """Answers that get lost after the effect, or come late; a look finds the effect at once."""
    share = 1 / len(_FOUND_AT_ONCE)
    return [
        make_rule(fault, service, operation, p * share) for service, operation, p in _MONEY for fault in _FOUND_AT_ONCE
    ]


def make_early_plan() -> list[dict[str, Any]]:
    """Return the early rules: also requests that never arrive, and effects after the timeout of the client."""
    return [
        make_rule("drop_before_commit", "casino", "bet", 0.2, 2),
        make_rule("drop_before_commit", "escrow", "create", 0.5, 1),
        make_rule("late_commit:12000", "casino", "bet", 0.2, 2),
        *make_steady_plan(),
    ]


@dataclass(frozen=True)
class FaultEvent:
    """Something that goes wrong at a moment of the run."""

    share: float
    """When: share of the fleet's time that has passed."""
    act: Callable[[], None]


class FaultInjector:
    """Everything that is injected, and a record of it."""

    def __init__(
        self, stack: DemoStack, agents: AgentProcesses, runtime: Runtime, *, seed: int, report: Report
    ) -> None:
        self._stack, self._agents, self._runtime, self._seed, self._report = stack, agents, runtime, seed, report
        self._sandbox = SandboxClient(stack.urls["sandbox"])
        self.injected: Counter[str] = Counter()
        self.disruptions: list[str] = []

    def list_events(self) -> list[FaultEvent]:
        """Return the events in order."""
        return [
            FaultEvent(0.25, self.use_steady_plan),
            FaultEvent(0.35, self.kill_agents),
            FaultEvent(0.45, self.plant_difference),
            FaultEvent(0.5, self.kill_worker),
            FaultEvent(0.6, self.flush_redis),
        ]

    def start(self, seconds: float) -> None:
        """Let the services fail, in a run of `seconds` that is long enough also as in `make_early_plan`."""
        plan = make_early_plan() if seconds >= LONG_ENOUGH_S else make_steady_plan()
        self._sandbox.set_faults(*plan, seed=self._seed)

    def use_steady_plan(self) -> None:
        """Go on with `make_steady_plan`."""
        self._count_injected()
        self._sandbox.set_faults(*make_steady_plan(), seed=self._seed + 1)

    def stop(self) -> None:
        """Let the services answer well again."""
        self._count_injected()
        self._sandbox.set_faults()

    def kill_worker(self, name: str = "worker-money-1") -> None:
        """`kill -9` a worker; its supervisor brings it back."""
        pid = self._stack.kill_process(name)
        self._note_disruption(f"kill -9 of {name} (pid {pid})")

    def kill_agents(self) -> None:
        """`kill -9` an agent process in the middle of its work, and start it again."""
        self._note_disruption(
            f"kill -9 of the process of {self._agents.kill_and_restart(0)}; it began again with the same keys"
        )

    def flush_redis(self) -> None:
        """Empty Redis: queues, cache, episodes, everything."""
        with redis.Redis.from_url(self._runtime.settings.redis_url) as client:
            keys = sum(int(space["keys"]) for space in client.info("keyspace").values())
            client.flushall()
        self._note_disruption(f"FLUSHALL of Redis ({keys} keys)")

    def plant_difference(self) -> None:
        """Put money on an account of which its books know nothing."""
        gateway, deposit = self._runtime.gateway, casino.deposit(amount=PLANTED)
        repeat_until_answered(lambda: gateway.act(casino.register().build_instruction(PLANTED_AGENT, "planted")))
        repeat_until_answered(lambda: gateway.act(deposit.build_instruction(PLANTED_AGENT, "planted")))
        self._runtime.accounts.enrol(PLANTED_AGENT, "casino", PLANTED_AGENT)
        self._note_disruption(
            f"{PLANTED} USDC put on the casino account of {PLANTED_AGENT} behind the back of its books"
        )

    def close(self) -> None:
        """Close the connections."""
        self._sandbox.close()

    def _note_disruption(self, what: str) -> None:
        self.disruptions.append(what)
        self._report(what)

    def _count_injected(self) -> None:
        self.injected.update(self._sandbox.read_faults()["injected"])


def repeat_until_answered(keyed: Callable[[], object]) -> None:
    """Repeat a call that happens once however often it is made, until its answer is not one of those that get lost."""
    for _ in range(_TRIES):
        with contextlib.suppress(ServiceInDoubt):
            keyed()
            return
    keyed()
