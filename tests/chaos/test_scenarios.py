"""Every scenario in short: what `make chaos` and its likes do at length, with the same counts."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from agentstate.money.amounts import Money
from agentstate.money.ledger.ledger import TransactionLedger
from agentstate.store.store import Store
from deploy.local.sandbox.client import SandboxClient
from deploy.local.stack.folder import ROOT
from deploy.local.stack.results import Row
from deploy.local.stack.stack import Stack
from deploy.local.stack.table import python_path
from tests.chaos import stack as stack_scenario
from tests.chaos.__main__ import SCENARIOS
from tests.chaos.conversation import run as conversation
from tests.chaos.memory import run as memory
from tests.chaos.money.bugs import BUGS
from tests.chaos.services import judge
from tests.chaos.services.run import groups_of, run
from tests.chaos.workers import run as workers
from tests.worlds.services import SandboxProcess

# No request is late here, and the sandbox takes them in order: what is not there after the deadline will never be.
QUICK = {"deadline_s": 3.0, "settle_scale": 0.02, "pace": 0.2}


def test_a_fleet_under_fire_does_nothing_twice_and_loses_nothing(
    sandbox: SandboxProcess, postgres_url: str, tmp_path: Path
) -> None:
    store = Store.open(postgres_url)
    (group,) = groups_of(
        24, processes=1, sandbox=sandbox.url, database=postgres_url, folder=tmp_path, seed=3, **QUICK
    )  # fmt: skip
    said: list[str] = []
    rows = run([group], store, sandbox.url, seed=5, odds=0.4, say=said.append, late=False)
    missed = [row for row in rows if row.met is False and not row.name.startswith("operations at")]
    assert missed == [], said
    assert by_name(rows)["faults that struck"].value >= 5
    _the_judgement_sees_what_is_wrong(store, group, sandbox.url)
    store.close()


def _the_judgement_sees_what_is_wrong(store: Store, group: judge.Group, url: str) -> None:
    """Planted: money in the truth that no intent moved, an effect that happened twice, and books that lie."""
    with SandboxClient(url) as client:
        truth = client.read_truth()
    once = next(row for row in truth["effects"] if row["request_key"] and ":" not in row["request_key"])
    once["count"] += 1
    truth["injected"] = [row for row in truth["injected"] if row["request_key"] != once["request_key"]]
    agent = group.agents[0]
    TransactionLedger(store, agent).deposit("lie", "casino", Money("5"))
    found = judge.find(store, truth, [group], set())
    assert len(found.doubled) == 1
    assert found.differences[agent, "casino"] != 0
    judge.reconcile(store, [group], found)
    assert (agent, "casino") in found.told


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row.name: row for row in rows}


def test_a_group_goes_to_its_process_whole(tmp_path: Path) -> None:
    (group,) = groups_of(10, processes=1, sandbox="http://x", database="y", folder=tmp_path, seed=1)
    assert judge.Group.from_json(group.to_json()) == dataclasses.replace(group)


def missed(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.met is False]


def test_nothing_acknowledged_is_lost_when_each_process_and_then_all_are_killed(fast_folder: Path) -> None:
    with TemporaryDirectory(prefix="agentstate-test-", dir=fast_folder) as folder:
        rows = list(stack_scenario.play(Path(folder), stack_scenario.Plan(rounds=1, small=True), print))
    assert missed(rows) == []
    assert sum(row.met is True for row in rows) == 18


@pytest.mark.guide_defect(150)
@pytest.mark.long
def test_a_sample_of_all_crash_points_doubles_nothing_and_every_planted_bug_is_caught(
    stack: Stack, tmp_path: Path
) -> None:
    # A program of its own: forked from the test run, its processes would inherit connections and locks.
    report, server = tmp_path / "chaos.json", stack.env["AGENTSTATE_DATABASE_URL"]
    options = ["--sample", "2", "--postgres", server, "--json", str(report)]
    command = [sys.executable, "-m", "tests.chaos", "money", *options]
    env = {**os.environ, "PYTHONPATH": python_path(None)}
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=900)
    assert run.returncode == 0, run.stdout + run.stderr
    rows = json.loads(report.read_text("utf-8"))
    assert [row["name"] for row in rows if not row["met"]] == []
    assert {row["name"] for row in rows if row["unit"] == "bug"} == {f"caught: bug: {name}" for name in BUGS}
    assert any(row["name"].startswith("control") and row["value"] > 0 for row in rows)


@pytest.mark.long
def test_bets_through_killed_workers_happen_once_each(tmp_path: Path) -> None:
    assert missed(workers.play(tmp_path, workers.Plan(bets=60, kills=6), print)) == []


@pytest.mark.long
def test_no_acknowledged_memory_is_lost_when_worker_index_redis_and_postgres_are_killed(fast_folder: Path) -> None:
    plan = memory.Plan(memories=300, kills=1, seed=1, rebuild_kills=0, longest_pause_s=0.3)
    with TemporaryDirectory(prefix="agentstate-test-", dir=fast_folder) as folder:
        rows = list(memory.play(Path(folder), plan, print))
    assert missed(rows) == []
    assert sum(row.met is True for row in rows) == 9


@pytest.mark.long
def test_every_turn_is_accounted_for_while_the_provider_fails_and_the_worker_is_killed(
    fast_folder: Path, settings_env: dict[str, str]
) -> None:
    named: dict[str, Any] = {"api": "openai", "pauses_s": (0.2, 0.6), "servers": settings_env}
    rows = list(conversation.play(fast_folder, conversation.Plan(3, turns=4, kills=1, seed=1, **named), print))
    assert [row for row in missed(rows) if "sent by the provider" not in row.name] == []
    assert sum(row.met is True for row in rows) >= 9


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_is_a_command(name: str) -> None:
    command = import_module(SCENARIOS[name]).SCENARIO.command(name)
    assert command.help
    assert command.params[-1].name == "json_file"
