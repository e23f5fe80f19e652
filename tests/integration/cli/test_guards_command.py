"""`agentstate guards`: limits and freezes from the command line."""

from __future__ import annotations

from decimal import Decimal

import pytest

from agentstate.errors import Frozen, LimitExceeded
from agentstate.money import Guards
from agentstate.store import Store
from tests.worlds.commands import Command


def test_limits_are_set_listed_used_and_removed(agentstate: Command, settings_env: dict[str, str]) -> None:
    assert "has no limits" in agentstate("guards", "list", "alice").out
    done = agentstate(
        "guards", "set", "alice", "--total", "5.50", "--rate", "3", "--service", "casino", "--who", "carol", "--json"
    )
    assert done.code == 0, done.err
    listed = agentstate("guards", "list", "alice", "--json").json
    shown = {rule["kind"]: (rule["maximum"], rule["window_s"], rule["set_by"]) for rule in listed["rules"]}
    assert {**shown, "total": (Decimal(shown["total"][0]), *shown["total"][1:])} == {
        "total": (Decimal("5.50"), 86_400, "carol"),
        "rate": (3, 86_400, "carol"),
    }
    store = Store.open(settings_env["AGENTSTATE_DATABASE_URL"])
    with pytest.raises(LimitExceeded), Guards(store, "alice").use("6", service="casino"):
        pytest.fail("let in")
    store.close()
    for rule in listed["rules"]:
        assert agentstate("guards", "remove", "alice", rule["id"]).code == 0
    again = agentstate("guards", "remove", "alice", listed["rules"][0]["id"])
    assert (again.code, "has no rule" in again.err) == (1, True)
    assert agentstate("guards", "list", "alice", "--json").json == {"agent": "alice", "rules": [], "freezes": []}


def test_a_freeze_is_set_listed_and_lifted(agentstate: Command, settings_env: dict[str, str]) -> None:
    done = agentstate("guards", "freeze", "alice", "casino", "odd balance", "--who", "carol", "--json")
    assert done.json == {"agent": "alice", "frozen": "casino", "changed": True}
    assert "it was already" in agentstate("guards", "freeze", "alice", "casino", "again").out
    assert "by carol: odd balance" in agentstate("guards", "list", "alice").out
    store = Store.open(settings_env["AGENTSTATE_DATABASE_URL"])
    with pytest.raises(Frozen, match="unfreeze alice 'casino'"), Guards(store, "alice").use(service="casino"):
        pytest.fail("let in")
    store.close()
    assert agentstate("guards", "unfreeze", "alice", "casino").out == "unfrozen casino\n"
    assert agentstate("guards", "unfreeze", "alice", "casino", "--json").json["changed"] is False


@pytest.mark.parametrize("words", [[], ["--total", "abc"], ["--total", "-1"], ["--rate", "-1"], ["--window", "0"]])
def test_a_limit_that_says_nothing_is_refused(agentstate: Command, words: list[str]) -> None:
    answer = agentstate("guards", "set", "alice", *words)
    assert answer.code in {1, 2}
    assert agentstate("guards", "list", "alice", "--json").json["rules"] == []
