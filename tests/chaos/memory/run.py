"""One run: a stack, agents that remember, a killer, the audit when all is quiet, and the index moved under fire."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from agentstate.runtime import Runtime
from bench import provider as loopback
from deploy.local.stack.results import Row, equal_to
from tests.chaos.ground import Ground, running_stack
from tests.chaos.memory import audit, rebuild
from tests.chaos.memory.agents import Remembering
from tests.chaos.memory.killer import LONGEST_PAUSE_S, TARGETS, Killer
from tests.worlds.waiting import until

PARTS = "redis,postgres,qdrant,migrate,worker-io,worker-money,beat"
PROVIDER_MS = 5.0
SETTLES_WITHIN_S = 600.0


@dataclass(frozen=True)
class Plan:
    """What a run does."""

    memories: int
    kills: int
    """Of each process at least."""
    seed: int
    longest_pause_s: float = LONGEST_PAUSE_S
    """Between two kills."""
    rebuild_kills: int = 0
    """Of a command that fills the index anew, and of one that moves it to another model; 0: there is none."""


def run(base: Path, plan: Plan, *, say: Callable[[str], None]) -> Iterator[Row]:
    """Remember while processes are killed; what was found."""
    with loopback.start_provider(latency_ms=PROVIDER_MS, seed=plan.seed) as url:
        settings = {"EMBEDDER": "openai", "EMBEDDING_MODEL": "chaos", "OPENAI_BASE_URL": f"{url}/v1"}
        chosen = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        options = ["--money-workers", "1", "--only", PARTS, "--set", "SWEEP_EVERY_S=1", *chosen]
        with running_stack(base, options) as ground, closing(Runtime(ground.settings(), pool_size=10)) as runtime:
            remembering = Remembering(runtime, plan.memories, plan.seed)
            yield from _under_fire(ground, runtime, remembering, plan, say)
            told = loopback.fetch_counts(url)
            yield Row("provider calls", told["calls"], "calls")
            yield Row("texts paid twice", told["twice"], "texts", reference="killed between the answer and its keeping")
            if plan.rebuild_kills:
                known = remembering.acknowledged
                yield from rebuild.rows(ground, runtime, known, kills=plan.rebuild_kills, seed=plan.seed, say=say)


def _under_fire(
    ground: Ground, runtime: Runtime, remembering: Remembering, plan: Plan, say: Callable[[str], None]
) -> Iterator[Row]:
    killer = Killer(ground, plan.seed, say, longest_pause_s=plan.longest_pause_s)
    began = time.monotonic()
    remembering.start()
    killer.rage(lambda: not remembering.done, at_least=plan.kills)
    until(lambda: remembering.done)
    quiet = time.monotonic()
    say(f"{len(remembering.acknowledged):,} acknowledged; waiting for the index")

    def settled() -> bool:
        killer.revive()
        return audit.waiting(runtime) == 0

    until(settled, pause_s=0.1, within_s=SETTLES_WITHIN_S)
    yield equal_to("acknowledged", len(remembering.acknowledged), plan.memories, "memories")
    yield Row("under fire for", round(quiet - began, 1), "s")
    for name in TARGETS:
        yield Row(f"kill -9 of {name}", killer.kills[name], "kills")
    yield Row("given up by the supervisor, started by hand", killer.revived, "times", reference="6 deaths in a row")
    yield Row("calls that failed and were made again", remembering.troubles, "calls")
    yield Row("all searchable after the last kill", round(time.monotonic() - quiet, 1), "s")
    yield from audit.rows(runtime, remembering.acknowledged, plan.seed)
