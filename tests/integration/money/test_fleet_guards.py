"""Limits and freezes of the whole fleet: they bind each agent by itself, unless it has one of its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from click.testing import CliRunner

from agentstate.cli.root import cli
from agentstate.errors import Frozen, InvalidInput, LimitExceeded
from agentstate.money import AgentEffects, Effects, Guards, Money, TransactionLedger, call
from agentstate.settings import PREFIX
from agentstate.store.store import Store


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url, pool_size=20)
    for agent in ("ag_1", "ag_2"):
        TransactionLedger(opened, agent).deposit("start", "casino", Money(100))
    yield opened
    opened.close()


@pytest.fixture
def fleet(store: Store) -> Guards:
    return Guards(store, "*")


def bet(store: Store, agent: str, key: str, amount: str) -> None:
    AgentEffects(Effects(store), agent).execute_once(key, call(lambda _key: {}, service="casino", hold=Money(amount)))


def test_a_limit_of_the_fleet_binds_each_agent_by_itself(store: Store, fleet: Guards) -> None:
    fleet.limit(total="10")
    for agent in ("ag_1", "ag_2"):
        bet(store, agent, "b1", "10")
        with pytest.raises(LimitExceeded, match=r"10\.00 USDC used"):
            bet(store, agent, "b2", "0.01")


@pytest.mark.parametrize(("own", "most"), [("5", "5"), ("50", "50")])
def test_an_agents_own_limit_takes_its_place(store: Store, fleet: Guards, own: str, most: str) -> None:
    fleet.limit(per_operation="10")
    mine = Guards(store, "ag_1")
    [rule] = mine.limit(per_operation=own)
    bet(store, "ag_1", "b1", most)
    with pytest.raises(LimitExceeded):
        bet(store, "ag_1", "b2", str(float(most) + 1))
    with pytest.raises(LimitExceeded):
        bet(store, "ag_2", "b1", "11")
    mine.remove(rule.id)
    with pytest.raises(LimitExceeded):
        bet(store, "ag_1", "b3", "11")


def test_a_limit_of_another_name_holds_beside_it(store: Store, fleet: Guards) -> None:
    fleet.limit(per_operation="10", rate=2)
    Guards(store, "ag_1").limit(per_operation="10", service="casino")
    Guards(store, "ag_1").limit(total="15")
    bet(store, "ag_1", "b1", "10")
    with pytest.raises(LimitExceeded, match="all together"):
        bet(store, "ag_1", "b2", "6")
    bet(store, "ag_1", "b3", "1")
    with pytest.raises(LimitExceeded, match="2 operations"):
        bet(store, "ag_1", "b4", "1")


def test_many_at_once_stay_within_the_fleets_limit(store: Store, fleet: Guards) -> None:
    fleet.limit(total="5")

    def attempt(number: int) -> None:
        with suppress(LimitExceeded):
            bet(store, f"ag_{1 + number % 2}", f"b{number}", "1")

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(attempt, range(24)))
    for agent in ("ag_1", "ag_2"):
        assert TransactionLedger(store, agent).balance("casino") == Money(95)


def test_own_code_is_bound_too_and_the_fleet_has_none(store: Store, fleet: Guards) -> None:
    fleet.limit(total="5")
    with pytest.raises(LimitExceeded), Guards(store, "ag_1").use("6", service="casino"):
        pytest.fail("ran")
    with pytest.raises(InvalidInput, match="agent id"), fleet.use("1", service="casino"):
        pytest.fail("ran")


def test_a_freeze_of_the_fleet_stops_all(store: Store, fleet: Guards) -> None:
    fleet.freeze("casino", "the casino is closed", who="ana")
    for agent in ("ag_1", "ag_2"):
        with pytest.raises(Frozen, match=r"for every agent.*unfreeze '\*' 'casino'"):
            bet(store, agent, "b1", "1")
    assert "FROZEN" in Guards(store, "ag_1").rules().describe()
    assert fleet.unfreeze("casino")
    bet(store, "ag_1", "b1", "1")


def test_they_are_set_and_shown_by_command(store: Store, database_url: str) -> None:
    def run(*words: str) -> str:
        result = CliRunner().invoke(cli, words, prog_name="agentstate", env={PREFIX + "DATABASE_URL": database_url})
        assert result.exit_code == 0, result.output
        return result.output

    run("guards", "set", "*", "--per-operation", "10", "--rate", "5")
    run("guards", "set", "ag_1", "--per-operation", "20")
    shown = run("guards", "list", "ag_1")
    assert "one operation may cost at most 20.00 USDC." in shown
    assert "at most 5 operations may begin in 1 day, for every agent by itself." in shown
    assert "10.00 USDC" not in shown
    assert "one operation may cost at most 10.00 USDC, for every agent by itself." in run("guards", "list", "ag_2")
    assert "for every agent by itself" in run("guards", "list", "*")
    with pytest.raises(LimitExceeded):
        bet(store, "ag_2", "b1", "11")
