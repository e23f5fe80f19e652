"""The whole stack under `kill -9`, process by process and all at once, while an agent writes: nothing that was
acknowledged is missing afterwards, and nothing happened twice.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import sqlalchemy as sa

from agentstate.agent import Agent, Fleet
from agentstate.money.effects.table import ENDED_STATES, EffectState, list_effects
from agentstate.money.ledger.postings import Bucket
from agentstate.runtime import Runtime
from agentstate.services.operations import casino
from agentstate.store.tables import jobs, memories
from agentstate.store.tables.base import db_time
from agentstate.store.tables.money import effects, recon_cursors
from deploy.local.sandbox.client import SandboxClient
from deploy.local.stack.folder import ROOT
from deploy.local.stack.results import Row, equal_to
from deploy.local.stack.table import python_path
from tests.chaos.driver import Say, Scenario, option
from tests.chaos.world import World, running_stack
from tests.chaos.writer import GIFT, STAKE
from tests.worlds.waiting import PATIENCE_S, until

AGENT = "ag_chaos"
KINDS = ("memory", "turn", "deposit", "bet", "job")
SERVERS = ("qdrant", "redis", "sandbox", "postgres")


class Writing:
    """The writer process and what it was told."""

    def __init__(self, world: World, journal: Path) -> None:
        self._journal = journal
        journal.touch()
        env = {**os.environ, "PYTHONPATH": python_path(None), "AGENTSTATE_ENV_FILE": str(world.folder.env_file)}
        command = [sys.executable, str(ROOT / "tests/chaos/writer.py"), AGENT, str(journal)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, text=True)

    def acknowledged(self) -> dict[str, dict[str, Any]]:
        """What was acknowledged so far: by kind, what was told by name."""
        found: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        for line in self._journal.read_text("utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                entry = json.loads(line)
                assert entry["name"] not in found[entry["kind"]]
                found[entry["kind"]][entry["name"]] = entry["told"]
        return found

    def wait_progress(self, kinds: tuple[str, ...] = KINDS, by: int = 3) -> None:
        """Return once each kind of write was acknowledged a few times more."""
        before = Counter({kind: len(names) for kind, names in self.acknowledged().items()})

        def has_moved() -> bool:
            assert self._process.poll() is None, "the writer has died"
            now = self.acknowledged()
            return all(len(now[kind]) >= before[kind] + by for kind in kinds)

        until(has_moved)

    def finish(self) -> tuple[dict[str, dict[str, Any]], set[str]]:
        """End it once nothing is open: what was acknowledged, and the kinds of errors that it met on the way."""
        out, _ = self._process.communicate(timeout=PATIENCE_S)
        assert self._process.returncode == 0
        told = json.loads(out)
        assert {kind: each["open"] for kind, each in told.items()} == {kind: [] for kind in KINDS}
        return self.acknowledged(), {trouble for each in told.values() for trouble in each["troubles"]}

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


SETTINGS = {"SWEEP_EVERY_S": "0.5", "RECONCILE_EVERY_S": "5", "SNAPSHOT_EVERY_S": "5"}
SMALL = ("--money-workers", "1", "--only", "redis,postgres,qdrant,sandbox,migrate,worker-io,worker-money,beat")


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    rounds: int = option(3, "In each, every process is killed once, and then all of them together.", least=1)
    small: bool = False
    """A stack with fewer processes, whose leases are wound on at the end."""


def play(base: Path, plan: Plan, say: Say) -> Iterator[Row]:
    """Kill every process of the stack again and again while an agent writes, and count what is missing or doubled."""
    settings = {**SETTINGS, **({"EMBEDDER": "lexical"} if plan.small else {})}
    kills = 0
    with running_stack(base, SMALL if plan.small else (), settings) as world:
        with closing(Runtime(world.settings())) as runtime:
            agent = Fleet(runtime).agent(AGENT)
            agent.effects.execute_once("register", casino.register())
            agent.services.enrol("casino")
            agent.effects.execute_once("start", casino.deposit(amount=Decimal(500)))
        writing = Writing(world, base / "acknowledged.jsonl")
        try:
            writing.wait_progress()
            for _ in range(plan.rounds):
                for name in sorted(set(world.processes()) - {"migrate"}, key=lambda name: (name in SERVERS, name)):
                    killed = world.kill(name)
                    if not plan.small or name in SERVERS:
                        until(lambda name=name, killed=killed: world.is_running_again(name, killed))  # type: ignore[misc]
                        writing.wait_progress()
                    kills += 1
                    say(f"kill -9 of {name}, no. {kills}")
                world.kill_all()
                world.up()
                writing.wait_progress()
                say("all processes were killed at once, and started again")
            with closing(Runtime(world.settings())) as runtime:
                if plan.small:
                    let_leases_end(runtime)
                acknowledged = settle(runtime, writing)
                found = measure(world, runtime, acknowledged)
        finally:
            writing.kill()
    facts = {"processes killed": kills} | {f"acknowledged: {kind}": len(names) for kind, names in acknowledged.items()}
    yield from (Row(name, value, "count") for name, value in facts.items())
    yield from (equal_to(name, value, 0, "count") for name, value in found.items())


Acknowledged: TypeAlias = dict[str, dict[str, Any]]
"""By kind of write, what was told by name."""


def settle(runtime: Runtime, writing: Writing) -> Acknowledged:
    """End the writing and wait until all is quiet; what was acknowledged."""
    acknowledged, troubles = writing.finish()
    until(lambda: is_quiet(runtime))
    # Otherwise nothing was killed at a moment that mattered, and the test shows little.
    assert "StoreUnavailable" in troubles
    return acknowledged


def measure(world: World, runtime: Runtime, acknowledged: Acknowledged) -> dict[str, int]:
    """Everything that must not be, counted: 0 each when the promises are kept."""
    agent = Fleet(runtime).agent(AGENT)
    with SandboxClient(world.folder.read_record()["urls"]["sandbox"]) as sandbox:
        return {
            **in_memories(runtime, acknowledged["memory"]),
            **in_turns(agent, acknowledged["turn"]),
            **in_jobs(runtime, acknowledged["job"]),
            **in_money(agent, sandbox, acknowledged),
        }


def let_leases_end(runtime: Runtime) -> None:
    """Let so much time pass that others may take over what killed workers held, and absence is conclusive."""
    with runtime.store.transaction() as tx:
        for table, column in ((jobs, "lease_until"), (recon_cursors, "lease_until")):
            held = table.c[column].is_not(None)
            tx.connection.execute(sa.update(table).where(held).values({column: db_time(-1)}))
        claimed = memories.c.claim.is_not(None)
        tx.connection.execute(sa.update(memories).where(claimed).values(due_at=db_time(-1)))
        is_open = effects.c.state.not_in(ENDED_STATES)
        long_ago = {"called_at": db_time(-120), "lease_until": db_time(-1), "next_verify_at": db_time(-1)}
        tx.connection.execute(sa.update(effects).where(is_open).values(long_ago))


def is_quiet(runtime: Runtime) -> bool:
    """Whether nothing is under way any more."""
    with runtime.store.read_connection() as connection:
        waiting = sa.select(sa.func.count()).where(memories.c.state != "searchable")
        at_work = sa.select(sa.func.count()).where(jobs.c.status.in_(["ready", "running"]), jobs.c.agent_id == AGENT)
        is_open = sa.select(sa.func.count()).where(effects.c.state.not_in(ENDED_STATES))
        return not any(connection.execute(query).scalar_one() for query in (waiting, at_work, is_open))


def in_memories(runtime: Runtime, acknowledged: dict[str, str]) -> dict[str, int]:
    from qdrant_client.http import models

    with runtime.store.read_connection() as connection:
        stored = {str(found) for (found,) in connection.execute(sa.select(memories.c.id))}
    mine = models.Filter(must=[models.FieldCondition(key="agent_id", match=models.MatchValue(value=AGENT))])
    points, _ = runtime.qdrant.scroll(runtime.index.space, scroll_filter=mine, limit=100_000, with_payload=False)
    indexed = Counter(str(point.id) for point in points)
    name = next(iter(acknowledged))
    recalled = {str(hit.id) for hit in runtime.memory.of(AGENT).recall(f"What did I learn as {name}?")}
    return {
        "memories missing": len(set(acknowledged.values()) - stored),
        "memories not in the index": len(stored - set(indexed)),
        "points of the index too many": sum((indexed - Counter(stored)).values()),
        "memories not recalled": int(acknowledged[name] not in recalled),
    }


def in_turns(agent: Agent, acknowledged: dict[str, int]) -> dict[str, int]:
    said = agent.conversation("chaos").turns()
    numbers = {turn.source_id: turn.number for turn in said}
    return {
        "turns missing or with another number": sum(numbers.get(name) != told for name, told in acknowledged.items()),
        "turns said twice": len(said) - len(numbers),
        "gaps in the conversation": int([turn.number for turn in said] != list(range(1, len(said) + 1))),
    }


def in_jobs(runtime: Runtime, acknowledged: dict[str, str]) -> dict[str, int]:
    found = {job.dedupe_key: job for job in runtime.jobs.list(agent_id=AGENT, kind="cache.refresh", limit=100_000)}
    ids = {name: str(job.id) for name, job in found.items()}
    return {
        "jobs missing": sum(ids.get(name) != told for name, told in acknowledged.items()),
        "jobs not ended": sum(job.status.value not in {"done", "discarded"} for job in found.values()),
        "jobs dead": len(runtime.jobs.list(status="dead")),
    }


def in_money(agent: Agent, sandbox: SandboxClient, acknowledged: Acknowledged) -> dict[str, int]:
    ledger, bets = agent.ledger, acknowledged["bet"]
    with agent.fleet.runtime.store.read_connection() as connection:
        known = {effect.key: effect for effect in list_effects(connection, agent_id=AGENT, limit=100_000)}
    succeeded = {effect.remote_key for effect in known.values() if effect.state is EffectState.SUCCEEDED}
    asked_again = list(bets)[:: max(1, len(bets) // 10)]
    told_again = {
        name: agent.effects.execute_once(name, casino.bet(amount=STAKE, side="heads")) for name in asked_again
    }
    happened = sandbox.count_effects_by_key(AGENT)
    booked = ledger.balance("casino")
    until(lambda: agent.services.reconcile("casino").status == "matched", pause_s=1.0)
    return {
        "deposits missing, in minor units": ledger.balance("treasury").minor
        - GIFT.minor * len(acknowledged["deposit"]),
        "bets missing": sum(name not in known or known[name].remote_key not in happened for name in bets),
        "bets with another answer": sum(bets[name] != again.reference for name, again in told_again.items()),
        "effects that happened twice": sum(count - 1 for count in happened.values()),
        "effects unknown to us, or unknown there": len(succeeded ^ set(happened)),
        "still held, in minor units": ledger.balance("casino", bucket=Bucket.IN_FLIGHT).minor,
        "books against the casino, in minor units": booked.minor - sandbox.read_balance(AGENT),
        "balance against its entries": int(ledger.balance_from_ledger(service="casino") != booked.amount),
    }


SCENARIO = Scenario("Every process killed, again and again", "chaos-stack", Plan, play)
