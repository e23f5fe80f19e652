"""`agentstate effects`: effects are shown with their evidence, and what a human found out ends them."""

from __future__ import annotations

from decimal import Decimal
from uuid import uuid4

import pytest

from agentstate.errors import EffectInDoubt
from agentstate.money import AgentEffects, Breaks, Effects, EffectState, Money, TransactionLedger, call
from agentstate.store import Store
from tests.worlds.commands import Command


@pytest.fixture
def effects(store: Store) -> AgentEffects:
    """Two bets of an agent: one was made, one is left to a human."""
    TransactionLedger(store, "ag_1").deposit("start", "casino", Money(100))
    made = AgentEffects(Effects(store), "ag_1")
    made.execute_once("bet:1", call(lambda _key: {"bet_id": 1}, service="casino", hold=Money(5)))
    with pytest.raises(EffectInDoubt):
        made.execute_once("bet:2", call(_lost, service="casino", hold=Money(5)))
    return made


def _lost(_key: str) -> None:
    raise TimeoutError


def test_effects_are_listed(agentstate: Command, effects: AgentEffects) -> None:
    assert len(agentstate("effects", "list", "--json").json["effects"]) == 2
    [manual] = agentstate("effects", "list", "--state", "manual", "--agent", "ag_1", "--json").json["effects"]
    assert (manual["key"], manual["state"]) == ("bet:2", "manual")
    assert "bet:1" in agentstate("effects", "list").out
    assert agentstate("effects", "list", "--agent", "nobody").out == "no effects match\n"


def test_what_happened_is_booked_by_a_humans_word(agentstate: Command, store: Store, effects: AgentEffects) -> None:
    doubtful = str(effects.get("bet:2").id)
    found = ("--applied", '{"bet_id": 2, "odds": 1.50}', "--reason", "seen in the service's list")
    answer = agentstate("effects", "resolve", doubtful, *found, "--json")
    assert (answer.code, answer.json["state"]) == (0, "succeeded")
    outcome = effects.get("bet:2").outcome
    assert outcome is not None
    assert outcome["value"] == {"bet_id": 2, "odds": Decimal("1.50")}
    assert TransactionLedger(store, "ag_1").balance("casino") == Money(90)
    assert Breaks(store).find(agent_id="ag_1") == []
    [evidence] = agentstate("effects", "show", doubtful, "--json").json["evidence"]
    assert (evidence["kind"], evidence["detail"]["reason"]) == ("decided", "seen in the service's list")
    assert "seen in the service's list" in agentstate("effects", "show", doubtful).out


def test_what_did_not_happen_gives_its_money_back(agentstate: Command, store: Store, effects: AgentEffects) -> None:
    doubtful = str(effects.get("bet:2").id)
    assert agentstate("effects", "resolve", doubtful, "--absent", "--reason", "the service says so").code == 0
    assert effects.get("bet:2").state is EffectState.FAILED
    assert TransactionLedger(store, "ag_1").balance("casino") == Money(95)
    again = agentstate("effects", "resolve", doubtful, "--absent", "--reason", "again")
    assert again.code == 1
    assert "has failed already" in again.err


def test_looking_now_tells_how_it_stands(agentstate: Command, effects: AgentEffects) -> None:
    doubtful = str(effects.get("bet:2").id)
    assert agentstate("effects", "resolve", doubtful).out.startswith(f"{doubtful} manual")


@pytest.mark.parametrize(
    "words",
    [["--applied", "{}"], ["--absent"], ["--absent", "--reason", " "], ["--reason", "x"],
     ["--applied", "{}", "--absent", "--reason", "x"]],
)  # fmt: skip
def test_half_a_decision_is_none(agentstate: Command, effects: AgentEffects, words: list[str]) -> None:
    doubtful = str(effects.get("bet:2").id)
    assert agentstate("effects", "resolve", doubtful, *words).code == 2
    assert effects.get("bet:2").state is EffectState.MANUAL


def test_a_receipt_is_json(agentstate: Command, effects: AgentEffects) -> None:
    answer = agentstate("effects", "resolve", str(effects.get("bet:2").id), "--applied", "{", "--reason", "x")
    assert answer.code == 1
    assert "no JSON" in answer.err


@pytest.mark.parametrize("effect", [str(uuid4()), "not-an-id"], ids=["unknown", "malformed"])
@pytest.mark.parametrize("verb", ["show", "resolve"])
def test_an_effect_that_is_not_there_is_an_error(agentstate: Command, verb: str, effect: str) -> None:
    answer = agentstate("effects", verb, effect)
    assert answer.code == 1
    assert effect in answer.err
