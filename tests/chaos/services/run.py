"""One run: agents and money first, then the fleet under every fault, then quiet, then the judgement."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from agentstate.money.amounts import Money
from agentstate.money.effects.engine import Effects
from agentstate.money.effects.table import Effect, EffectState
from agentstate.money.ledger.ledger import TransactionLedger
from agentstate.money.reconciliation.enrolment import ServiceAccounts
from agentstate.services.operations import casino, wallet
from agentstate.services.operations.accounts import JOINS
from agentstate.services.operations.registry import OPERATIONS
from agentstate.store.migrate import upgrade_schema
from agentstate.store.store import Store
from agentstate.store.tables.money import effects
from deploy.local.sandbox.client import SandboxClient
from deploy.local.stack.folder import ROOT
from deploy.local.stack.results import Row
from deploy.local.stack.stack import Stack
from deploy.local.stack.table import python_path
from tests.chaos.driver import Say, Scenario, option
from tests.chaos.services import judge
from tests.chaos.services.fleet import Fleet
from tests.chaos.services.person import QUIET_S, Person
from tests.chaos.services.setting import SERVICES, Group
from tests.stubs.service_calls import send
from tests.worlds.services import services_toml

DOLLARS = "20000"
SWEEP_PAUSE_S = 0.3
QUIET_WITHIN_S = 180.0
LATE, LATE_ODDS = "late_commit:3800", 0.002
"""Done 0.8 s after the fleet's deadline, and before absence counts."""

LEAST_AGENTS, MOST_AGENTS = 3, 8


def groups_of(
    operations: int, *, processes: int, sandbox: str, database: str, folder: Path, seed: int, **times: float
) -> list[Group]:
    """As many groups as processes; every third one speaks the services' own routes."""
    file = folder / "services.toml"
    file.write_text(services_toml(sandbox, folder / "secrets"), "utf-8")
    agents = max(LEAST_AGENTS, min(MOST_AGENTS, operations // processes // 50))
    return [
        Group(
            name=f"group-{place}",
            dialect="services" if place % 3 == 2 else "gateway",
            agents=tuple(f"ag_{place}_{number}" for number in range(agents)),
            sandbox=sandbox,
            database=database,
            services_file=str(file),
            operations=operations // processes,
            seed=seed * 1_000 + place,
            **times,
        )
        for place in range(processes)
    ]


def equip(group: Group, store: Store, client: SandboxClient) -> None:
    """Make a group's agents known everywhere, with money there and in our books."""
    gateway = group.gateway()
    for agent in group.agents:
        if group.dialect == "gateway":
            send(gateway, agent, "setup:register", casino.register())
        else:
            for join in JOINS:
                send(gateway, agent, "setup:join", join())
        address = send(gateway, agent, "setup:wallet", wallet.create(chain="base")).reference
        for service in SERVICES:
            account = group.account(agent, service)
            client.fund_account(account, service, DOLLARS, f"start:{agent}", address if service == "wallet" else None)
            TransactionLedger(store, agent).deposit(f"start:{service}", service, Money(DOLLARS))
            ServiceAccounts(store).enrol(agent, service, account)
    gateway.close()


def work(groups: Sequence[Group]) -> Counter[str]:
    """Let all groups work at once, each in a process of its own; what came of their operations.

    A single group works here: it shares nothing that a process of its own would keep apart.
    """
    if len(groups) == 1:
        return Counter(Fleet(groups[0]).run())
    env = {**os.environ, "PYTHONPATH": python_path(os.environ.get("PYTHONPATH")), "OPENBLAS_NUM_THREADS": "1"}
    commands = [[sys.executable, "-m", "tests.chaos.services.fleet", group.to_json()] for group in groups]
    running = [subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for command in commands]
    tally: Counter[str] = Counter()
    for process in running:
        out, _ = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"a process of the fleet ended with {process.returncode}")
        tally.update(json.loads(out))
    return tally


class Doubts:
    """Which intents were in doubt at some time, asked for again and again while they are."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.seen: set[str] = set()

    def look(self) -> int:
        """Note those of now; how many intents are open."""
        doubtful = effects.c.state.in_((EffectState.IN_DOUBT, EffectState.MANUAL))
        with self._store.read_connection() as connection:
            self.seen.update(connection.execute(sa.select(effects.c.remote_key).where(doubtful)).scalars())
            ended = effects.c.state.in_((EffectState.SUCCEEDED, EffectState.FAILED))
            return int(connection.execute(sa.select(sa.func.count()).where(~ended)).scalar_one())

    def watch(self, stop: threading.Event) -> None:
        """Look until told to stop."""
        while not stop.wait(0.5):
            self.look()


class Sweep:
    """The worker of the fleet: looks for what is in doubt, for each agent in its own dialect."""

    def __init__(self, groups: Sequence[Group], store: Store) -> None:
        self._gateways = {group.name: group.gateway(store) for group in groups}
        by_agent: dict[str, object] = {
            agent: self._gateways[group.name] for group in groups for agent in group.agents
        }  # fmt: skip
        self._store = store
        self._resolvers = {
            agent: Effects(store, registry=OPERATIONS, outside=partial(_same, gateway), rules=groups[0].rules).resolver
            for agent, gateway in by_agent.items()
        }

    def once(self) -> None:
        """Look for everything that is due."""
        any_resolver = next(iter(self._resolvers.values()))
        while any_resolver.sweep(limit=50, resolve=self._resolve):
            pass

    def watch(self, stop: threading.Event) -> None:
        """Look until told to stop."""
        while not stop.wait(SWEEP_PAUSE_S):
            self.once()

    def close(self) -> None:
        """Give up the connections."""
        for gateway in self._gateways.values():
            gateway.close()

    def _resolve(self, effect_id: UUID) -> Effect:
        with self._store.read_connection() as connection:
            agent = connection.execute(sa.select(effects.c.agent_id).where(effects.c.id == effect_id)).scalar_one()
        return self._resolvers[agent].resolve(effect_id)


def _same(value: object) -> object:
    return value


def settle(sweep: Sweep, person: Person, doubts: Doubts) -> None:
    """With nothing going wrong any more, let everything that is open be found out."""
    until = time.monotonic() + QUIET_WITHIN_S
    while doubts.look() and time.monotonic() < until:
        sweep.once()
        person.decide_all()
        time.sleep(SWEEP_PAUSE_S)


@contextmanager
def beside(*watches: Callable[[threading.Event], None]) -> Iterator[None]:
    """Let some watches run beside the block."""
    stop = threading.Event()
    threads = [threading.Thread(target=watch, args=(stop,)) for watch in watches]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def faults(odds: float, *, late: bool) -> list[dict[str, Any]]:
    """Any fault at any operation, fewer at reads; with `late`, some requests are done after their caller gave up."""
    rules: list[dict[str, Any]] = [{"fault": LATE, "probability": LATE_ODDS}] if late else []
    return [*rules, {"fault": "any", "probability": odds}, {"fault": "any", "probability": odds / 4, "reads": True}]


def run(
    groups: Sequence[Group], store: Store, sandbox: str, *, seed: int, odds: float, say: Say, late: bool = True
) -> list[Row]:
    """The whole run; its judgement."""
    began = time.monotonic()
    with SandboxClient(sandbox) as client:
        client.set_faults()
        for group in groups:
            equip(group, store, client)
        say(f"{sum(len(group.agents) for group in groups)} agents in {len(groups)} processes are ready")
        client.set_faults(*faults(odds, late=late), seed=seed)
        doubts, person = Doubts(store), Person(store, client, groups, quiet_s=QUIET_S if late else 0.5)
        working = time.monotonic()
        sweep = Sweep(groups, store)
        with beside(doubts.watch, person.watch, sweep.watch, sweep.watch):
            tally = work(groups)
        seconds = time.monotonic() - working
        injected = Counter(client.read_faults()["injected"])
        say(f"the fleet is done after {seconds:.0f} s: {dict(sorted(tally.items()))}")
        client.set_faults()
        settle(sweep, person, doubts)
        sweep.close()
        person.close()
        found = judge.find(store, client.read_truth(), groups, doubts.seen)
        found.injected = injected
        judge.reconcile(store, groups, found)
    for line in [*found.doubled, *found.contradicted, *found.unexplained, *found.unknown_keys][:20]:
        say(line)
    whole = Row("duration", round(time.monotonic() - began, 1), "s", "", f"{seconds:.0f} s of it under fire")
    return [*judge.rows(found, seconds), Row("decided by a person", len(person.decided)), whole]


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    operations: int = option(23_000, "How many, over all six services.", least=1)
    processes: int = option(3, "Processes of the fleet; every third speaks own routes.", least=1)
    seed: int = option(7, "Of the fleet and of the faults.")
    odds: float = option(0.12, "Probability of a fault at each operation.")


def play(base: Path, plan: Plan, say: Say) -> list[Row]:
    """Run a fleet against the sandbox with every fault of the services on, and compare every intent with the truth."""
    say(f"{plan.operations} operations in {plan.processes} processes, a fault at {plan.odds:.0%} of them")
    with Stack(base / "data", only=("postgres", "sandbox"), seed=plan.seed) as stack:
        database = stack.env["AGENTSTATE_DATABASE_URL"]
        sandbox = stack.env["AGENTSTATE_SERVICES_URL"].removesuffix("/api/v1")
        upgrade_schema(database)
        groups = groups_of(
            plan.operations, processes=plan.processes, sandbox=sandbox, database=database, folder=base, seed=plan.seed
        )
        with closing(Store.open(database, pool_size=8)) as store:
            return run(groups, store, sandbox, seed=plan.seed, odds=plan.odds, say=say)


SCENARIO = Scenario("The services under fire", "chaos-services", Plan, play)
