"""The run: bets are queued while workers die, Redis is emptied on the way, and at the end all is counted."""

from __future__ import annotations

import os
import random
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from agentstate.runtime import Runtime
from agentstate.settings import PREFIX, Settings
from deploy.local.sandbox.client import SandboxClient
from deploy.local.stack.results import Row, at_least, equal_to
from deploy.local.stack.stack import Stack
from deploy.local.stack.table import python_path
from tests.chaos.driver import Say, Scenario, option
from tests.chaos.workers.betting import Betting
from tests.chaos.workers.crew import Crew

PARTS = ("redis", "postgres", "sandbox", "migrate", "beat")
SETTINGS = {"EMBEDDER": "lexical", "SNAPSHOT_EVERY_S": "3600"}
PAUSES_S = (0.2, 0.9)
"""Between two kills."""
QUIET_WITHIN_S = 240.0
"""What was killed in the middle waits for its lease, and absence for the settle time of the casino."""
FLUSHES = 2
READY_WITHIN_S = 60.0
"""Nobody is killed before the first bet was made, or this time has passed."""


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    bets: int = option(1_500, "How many to queue.", least=1)
    kills: int = option(110, "How many processes to kill.", least=3)
    seed: int = option(7, "Of what is drawn.")


def play(base: Path, plan: Plan, say: Say) -> list[Row]:
    """Kill children of pools and whole workers at random while they bet, and count what the casino did."""
    began = time.monotonic()
    with Stack(base / "stack", only=PARTS, settings=SETTINGS, progress=lambda _line: None, seed=plan.seed) as stack:
        env = {**os.environ, **stack.env, "PYTHONPATH": python_path(None)}
        settings = Settings.load(**_own(stack))
        draw = random.Random(plan.seed)
        with (
            closing(Runtime(settings)) as runtime,
            SandboxClient(stack.urls["sandbox"]) as sandbox,
            Crew(env, base, draw) as crew,
        ):
            betting = Betting(runtime)
            betting.begin()
            Fire(plan, betting, crew, settings.broker_url, draw, say).rage()
            quiet_s = _until_quiet(betting, crew, say)
            rows = [
                *_facts(plan, crew, betting, time.monotonic() - began, quiet_s),
                *betting.rows(sandbox),
            ]
    return rows


def _own(stack: Stack) -> dict[str, str]:
    """The stack's settings, whatever this shell says."""
    return {
        name.removeprefix(PREFIX).lower(): value
        for name, value in stack.env.items()
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower() in Settings.model_fields
    }


@dataclass(frozen=True)
class Fire:
    """Bets are queued and workers die, in turn."""

    plan: Plan
    betting: Betting
    crew: Crew
    broker_url: str
    draw: random.Random
    say: Say

    def rage(self) -> None:
        """Before each kill comes its share of the bets, so that all of them die at work."""
        flushes = {self.plan.kills * (number + 1) // (FLUSHES + 1) for number in range(FLUSHES)}
        for number in range(self.plan.kills):
            self._queue(self.plan.bets * (number + 1) // self.plan.kills)
            time.sleep(self.draw.uniform(*PAUSES_S))
            if number in flushes:
                self._empty_redis()
            self._kill()
            if number % 10 == 0:
                self.say(f"{self.crew.killed} killed, {self.betting.queued} queued, {self.betting.made()} made")

    def _queue(self, up_to: int) -> None:
        first = not self.betting.queued
        self.betting.queue(up_to - self.betting.queued)
        deadline = time.monotonic() + READY_WITHIN_S
        while first and not self.betting.made() and time.monotonic() < deadline:
            time.sleep(0.1)

    def _kill(self) -> None:
        before = self.crew.killed
        while self.crew.killed == before:
            self.crew.kill_one()
        self.crew.see_to_all()

    def _empty_redis(self) -> None:
        with Redis.from_url(self.broker_url) as redis:
            redis.flushall()
        self.say("Redis was emptied")


def _until_quiet(betting: Betting, crew: Crew, say: Say) -> float:
    """Let nobody die any more until all jobs have ended; how long that took."""
    began = spoke = time.monotonic()
    while betting.waiting() and time.monotonic() < began + QUIET_WITHIN_S:
        time.sleep(0.5)
        crew.see_to_all()
        if time.monotonic() > spoke + 5:
            spoke = time.monotonic()
            say(f"{betting.waiting()} wait")
    return time.monotonic() - began


def _facts(plan: Plan, crew: Crew, betting: Betting, took_s: float, quiet_s: float) -> list[Row]:
    return [
        equal_to("bets queued", betting.queued, plan.bets, "bets"),
        at_least("processes killed", crew.killed, plan.kills, "kill -9"),
        Row("  of these children of a pool", crew.children_killed, "kill -9"),
        Row("  of these whole workers", crew.workers_killed, "kill -9"),
        equal_to("Redis emptied", FLUSHES, FLUSHES, "FLUSHALL"),
        Row("from the last kill until all was finished", quiet_s, "s"),
        Row("the whole run", took_s, "s"),
    ]


SCENARIO = Scenario("Bets through workers under kill -9", "chaos-workers", Plan, play)
