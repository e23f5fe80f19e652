"""What goes wrong on purpose: lost and late answers at the services, killed processes, and an emptied Redis.

The wallet is spared: what is cut off there leaves no trace and is for a person to find out, which takes longer than a
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
from deploy.local.demo.crew import Crew
from deploy.local.demo.stage import Say, Stage
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


def rule(fault: str, service: str, operation: str, probability: float, times: int | None = None) -> dict[str, Any]:
    """One rule of the sandbox's fault plan."""
    given = {"fault": fault, "service": service, "operation": operation, "probability": probability, "times": times}
    return {name: value for name, value in given.items() if value is not None}


def steady_plan() -> list[dict[str, Any]]:
    """Answers that get lost after the effect, or come late; a look finds the effect at once."""
    share = 1 / len(_FOUND_AT_ONCE)
    return [rule(fault, service, operation, p * share) for service, operation, p in _MONEY for fault in _FOUND_AT_ONCE]


def early_plan() -> list[dict[str, Any]]:
    """First also some requests that never arrive, and some that take effect when nobody waits for them any more."""
    return [
        rule("drop_before_commit", "casino", "bet", 0.2, 2),
        rule("drop_before_commit", "escrow", "create", 0.5, 1),
        rule("late_commit:12000", "casino", "bet", 0.2, 2),
        *steady_plan(),
    ]


@dataclass(frozen=True)
class Event:
    """Something that goes wrong at a moment of the run."""

    share: float
    """When: share of the fleet's time that has passed."""
    act: Callable[[], None]


class Trouble:
    """Everything that is injected, and a record of it."""

    def __init__(self, stage: Stage, crew: Crew, runtime: Runtime, *, seed: int, say: Say) -> None:
        self._stage, self._crew, self._runtime, self._seed, self._say = stage, crew, runtime, seed, say
        self._sandbox = SandboxClient(stage.urls["sandbox"])
        self.injected: Counter[str] = Counter()
        self.done: list[str] = []

    def events(self) -> list[Event]:
        """What happens when, in order."""
        return [
            Event(0.25, self.settle_down),
            Event(0.35, self.kill_agents),
            Event(0.45, self.plant_difference),
            Event(0.5, self.kill_worker),
            Event(0.6, self.flush_redis),
        ]

    def begin(self, seconds: float) -> None:
        """Let the services fail, in a run of `seconds` that is long enough also as in `early_plan`."""
        plan = early_plan() if seconds >= LONG_ENOUGH_S else steady_plan()
        self._sandbox.set_faults(*plan, seed=self._seed)

    def settle_down(self) -> None:
        """Go on with `steady_plan`."""
        self._count()
        self._sandbox.set_faults(*steady_plan(), seed=self._seed + 1)

    def end(self) -> None:
        """Let the services answer well again."""
        self._count()
        self._sandbox.set_faults()

    def kill_worker(self, name: str = "worker-money-1") -> None:
        """`kill -9` a worker; its supervisor brings it back."""
        pid = self._stage.kill(name)
        self._note(f"kill -9 of {name} (pid {pid})")

    def kill_agents(self) -> None:
        """`kill -9` an agent process in the middle of whatever its agents do, and start it again."""
        self._note(f"kill -9 of the process of {self._crew.kill(0)}; it began again with the same keys")

    def flush_redis(self) -> None:
        """Empty Redis: queues, cache, episodes, everything."""
        with redis.Redis.from_url(self._runtime.settings.redis_url) as client:
            keys = sum(int(space["keys"]) for space in client.info("keyspace").values())
            client.flushall()
        self._note(f"FLUSHALL of Redis ({keys} keys)")

    def plant_difference(self) -> None:
        """Put money on an account of which its books know nothing."""
        gateway = self._runtime.gateway
        _until_answered(lambda: casino.register.call(gateway, PLANTED_AGENT, "planted"))
        _until_answered(lambda: casino.deposit.call(gateway, PLANTED_AGENT, "planted", amount=PLANTED))
        self._runtime.fleet.enrol(PLANTED_AGENT, "casino", PLANTED_AGENT)
        self._note(f"{PLANTED} USDC put on the casino account of {PLANTED_AGENT} behind the back of its books")

    def close(self) -> None:
        """Close the connections."""
        self._sandbox.close()

    def _note(self, what: str) -> None:
        self.done.append(what)
        self._say(what)

    def _count(self) -> None:
        self.injected.update(self._sandbox.read_faults()["injected"])


def _until_answered(keyed: Callable[[], object]) -> None:
    """Repeat a call that happens once however often it is made, until its answer is not one of those that get lost."""
    for _ in range(_TRIES):
        with contextlib.suppress(ServiceInDoubt):
            keyed()
            return
    keyed()
