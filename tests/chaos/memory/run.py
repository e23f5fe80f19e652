"""One run: a stack, agents that remember, a killer, the audit when all is quiet, and the index moved under fire."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from agentstate.runtime import Runtime
from bench import provider as loopback
from deploy.local.stack.results import Row, equal_to
from tests.chaos.driver import Say, Scenario, option
from tests.chaos.killer import LONGEST_PAUSE_S, Killer
from tests.chaos.memory import audit, rebuild
from tests.chaos.memory.agents import Remembering
from tests.chaos.world import World, running_stack
from tests.worlds.waiting import until

TARGETS = ("worker-io", "qdrant", "redis", "postgres")
PARTS = "redis,postgres,qdrant,migrate,worker-io,worker-money,beat"
PROVIDER_MS = 5.0
SETTLES_WITHIN_S = 600.0


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    memories: int = option(20_000, "How many to remember.", least=1)
    kills: int = option(5, "Of each process at least.", least=0)
    seed: int = option(7, "Of what is drawn.")
    rebuild_kills: int = option(3, "Of each index command.", least=0)
    longest_pause_s: float = LONGEST_PAUSE_S
    """Between two kills."""


def play(base: Path, plan: Plan, say: Say) -> Iterator[Row]:
    """Kill worker, index, Redis and Postgres at random while agents remember, and count what is left.

    Then the index is filled anew and moved to another model, by commands that are killed at random too.
    """
    with loopback.start_provider(latency_ms=PROVIDER_MS, seed=plan.seed) as url:
        settings = {
            "SWEEP_EVERY_S": "1",
            "EMBEDDER": "openai",
            "EMBEDDING_MODEL": "chaos",
            "OPENAI_BASE_URL": f"{url}/v1",
        }
        options = ["--money-workers", "1", "--only", PARTS]
        with (
            running_stack(base, options, settings) as world,
            closing(Runtime(world.settings(), pool_size=10)) as runtime,
        ):
            remembering = Remembering(runtime, plan.memories, plan.seed)
            yield from _under_fire(world, runtime, remembering, plan, say)
            told = loopback.fetch_counts(url)
            yield Row("provider calls", told["calls"], "calls")
            yield Row("texts paid twice", told["twice"], "texts", reference="killed between the answer and its keeping")
            if plan.rebuild_kills:
                known = remembering.acknowledged
                yield from rebuild.rows(world, runtime, known, kills=plan.rebuild_kills, seed=plan.seed, say=say)


def _under_fire(world: World, runtime: Runtime, remembering: Remembering, plan: Plan, say: Say) -> Iterator[Row]:
    killer = Killer(world, TARGETS, random.Random(plan.seed), say, longest_pause_s=plan.longest_pause_s)
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


SCENARIO = Scenario("Memories under kill -9", "chaos-memory", Plan, play)
