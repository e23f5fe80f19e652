"""The fleet and its agents: default, given, pickled, closed; and transactions that verbs join by themselves."""

from __future__ import annotations

import os
import pickle  # noqa: TID251 agents are handed to other processes by it
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentstate import Agent, Fleet, Money, Settings, connect
from agentstate.agent import default_fleet
from agentstate.errors import ConfigurationError, InvalidInput, NotFound
from agentstate.store.migrate import upgrade_schema

ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(tmp_path: Path) -> str:
    address = f"sqlite:///{tmp_path / 'agents.db'}"
    upgrade_schema(address)
    return address


@pytest.fixture
def fleet(url: str) -> Iterator[Fleet]:
    with connect(database_url=url) as opened:
        yield opened


def test_a_fleet_gives_agents_that_share_its_connections(fleet: Fleet) -> None:
    one, other = fleet.agent("ag_1"), fleet.agent("ag_2")
    assert one.fleet is other.fleet is fleet
    one.ledger.deposit("gift", "casino", Money("2"))
    assert one.ledger.balance("casino") == Money("2")
    assert other.ledger.balance("casino") == Money.zero()


def test_agents_without_a_fleet_share_the_default_one_of_the_process(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentstate.agent._default", None)
    monkeypatch.setenv("AGENTSTATE_DATABASE_URL", url)
    assert Agent("ag_1").fleet is Agent("ag_2").fleet is default_fleet()
    default_fleet().close()


def test_settings_and_single_values_together_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="settings and redis_url"):
        connect(Settings.load(database_url=url), redis_url="redis://127.0.0.1:1/0")


def test_a_closed_fleet_opens_again_on_use(fleet: Fleet) -> None:
    fleet.agent("ag_1").ledger.deposit("gift", "casino", Money("2"))
    fleet.close()
    assert fleet.agent("ag_1").ledger.balance("casino") == Money("2")


def test_pickled_agents_share_one_fleet_with_connections_of_its_own(fleet: Fleet) -> None:
    agents = [fleet.agent("ag_1"), fleet.agent("ag_2")]
    copies = [pickle.loads(pickle.dumps(agent)) for agent in agents]  # noqa: S301 made here
    assert [copy.id for copy in copies] == ["ag_1", "ag_2"]
    assert copies[0].fleet is copies[1].fleet
    assert copies[0].fleet is not fleet
    copies[0].ledger.deposit("gift", "casino", Money("2"))
    assert agents[0].ledger.balance("casino") == Money("2")
    copies[0].fleet.close()


CHILD = """
import multiprocessing, sys
from agentstate import Money, connect

def deposit(agent):
    agent.ledger.deposit("gift", "casino", Money("2"))

if __name__ == "__main__":
    method, url = sys.argv[1:]
    agent = connect(database_url=url).agent("ag_1")
    agent.ledger.balance("casino")  # the parent has a connection when the child begins
    child = multiprocessing.get_context(method).Process(target=deposit, args=(agent,))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert agent.ledger.balance("casino") == Money("2")
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_an_agent_works_in_a_child_process(url: str, tmp_path: Path, method: str) -> None:
    # A program of its own: forked from the test run, the child could find locks that threads of other tests hold.
    program = tmp_path / "parent.py"
    program.write_text(CHILD)
    path = {"PYTHONPATH": f"{ROOT / 'shared'}{os.pathsep}{ROOT}"}
    subprocess.run([sys.executable, program, method, url], env=os.environ | path, check=True, timeout=120)


def test_verbs_in_a_transaction_commit_together(fleet: Fleet) -> None:
    agent = fleet.agent("ag_1")
    with agent.transaction():
        agent.ledger.deposit("gift", "casino", Money("2"))
        job = agent.jobs.submit("cache.refresh", {"service": "casino"})
        assert agent.ledger.balance("casino") == Money.zero()  # reads see what is committed
    assert agent.ledger.balance("casino") == Money("2")
    assert agent.jobs.get(job).id == job


def test_verbs_in_a_transaction_that_fails_leave_nothing(fleet: Fleet) -> None:
    agent, jobs = fleet.agent("ag_1"), []

    def fail() -> None:
        with agent.transaction():
            agent.ledger.deposit("gift", "casino", Money("2"))
            jobs.append(agent.jobs.submit("cache.refresh", {"service": "casino"}))
            raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        fail()
    assert agent.ledger.balance("casino") == Money.zero()
    with pytest.raises(NotFound):
        agent.jobs.get(jobs[0])


def test_a_transaction_is_joined_by_its_own_thread_and_fleet_alone(fleet: Fleet, tmp_path: Path) -> None:
    elsewhere = f"sqlite:///{tmp_path / 'other.db'}"
    upgrade_schema(elsewhere)
    seen: list[object] = []
    with connect(database_url=elsewhere) as other, fleet.agent("ag_1").transaction():
        other.agent("ag_1").ledger.deposit("gift", "casino", Money("2"))
        assert other.agent("ag_1").ledger.balance("casino") == Money("2")  # committed at once
        thread = threading.Thread(target=lambda: seen.append(fleet.runtime.store.current_transaction()))
        thread.start()
        thread.join(30)
    assert seen == [None]


def test_a_nested_transaction_joins_the_outer_one(fleet: Fleet) -> None:
    agent = fleet.agent("ag_1")

    def fail() -> None:
        with agent.transaction():
            with agent.transaction():
                agent.ledger.deposit("gift", "casino", Money("2"))
            raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        fail()
    assert agent.ledger.balance("casino") == Money.zero()


def test_a_context_that_outlives_the_transaction_does_not_use_it(fleet: Fleet) -> None:
    import contextvars

    agent = fleet.agent("ag_1")
    with agent.transaction():
        kept = contextvars.copy_context()
    kept.run(lambda: agent.ledger.deposit("gift", "casino", Money("2")))
    assert agent.ledger.balance("casino") == Money("2")


def test_what_must_commit_before_it_acts_refuses_a_transaction(fleet: Fleet) -> None:
    store = fleet.runtime.store
    store.refuse_ambient("execute_once")
    with fleet.agent("ag_1").transaction(), pytest.raises(InvalidInput, match="execute_once was called inside"):
        store.refuse_ambient("execute_once")


def test_the_fleet_has_what_belongs_to_all_agents(fleet: Fleet) -> None:
    assert fleet.breaks.find() == []
    assert fleet.effects.list() == []
    assert fleet.accounts.list_agents() == []
    assert fleet.jobs.list() == []
    results = {each.check: each.finding.verdict for each in fleet.doctor(only=["database"])}
    assert list(results.values()) == ["ok"]


def test_an_argument_that_is_not_an_address_is_refused_by_name(url: str) -> None:
    with pytest.raises(TypeError, match="databse_url"):
        connect(databse_url=url)  # type: ignore[call-arg]
