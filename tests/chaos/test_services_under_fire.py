"""The fleet under every fault of the services, in short: `make chaos-services` is the long form."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentstate.money.amounts import Money
from agentstate.money.ledger.ledger import TransactionLedger
from agentstate.store.store import Store
from deploy.local.sandbox.client import SandboxClient
from deploy.local.stack.results import Row
from tests.chaos.services import judge
from tests.chaos.services.run import groups_of, run
from tests.worlds.services import SandboxProcess

# No request is late here, and the sandbox takes them in order: what is not there after the deadline will never be.
QUICK = {"deadline_s": 3.0, "settle_scale": 0.02, "pace": 0.2}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path / "sandbox")
    yield process
    process.close()


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
