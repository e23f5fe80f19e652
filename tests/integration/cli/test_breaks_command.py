"""`agentstate breaks`: open breaks are shown, taken up and ended by people, and only once."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from agentstate.errors import EffectInDoubt
from agentstate.money import AgentEffects, Breaks, Effects, Guards, Money, TransactionLedger, call
from agentstate.money.reconciliation.breaks import Sighting
from agentstate.store import Store
from tests.worlds.commands import Command


def opened(store: Store, agent: str = "ag_1", amount: str = "2.50") -> UUID:
    seen = Sighting(
        agent_id=agent,
        service="casino",
        kind="balance",
        subject="balance:USDC",
        amount=Money(amount),
        evidence={"observed": "97.50"},
    )
    return Breaks(store).report(seen)


def test_breaks_are_listed_and_shown(agentstate: Command, store: Store) -> None:
    mine, other = opened(store), opened(store, "ag_2")
    assert {found["id"] for found in agentstate("breaks", "list", "--json").json["breaks"]} == {str(mine), str(other)}
    [found] = agentstate("breaks", "list", "--agent", "ag_1", "--json").json["breaks"]
    assert (found["amount"], found["currency"], found["state"]) == ("2.500000", "USDC", "open")
    assert "2.50 USDC" in agentstate("breaks", "list").out
    assert agentstate("breaks", "list", "--service", "trading").out == "no breaks match\n"
    assert agentstate("breaks", "show", str(mine), "--json").json["evidence"] == {"observed": "97.50"}
    assert "97.50" in agentstate("breaks", "show", str(mine)).out


def test_a_break_is_taken_up_and_then_ended_once(agentstate: Command, store: Store) -> None:
    broken = str(opened(store))
    taken = agentstate("breaks", "acknowledge", broken, "--who", "ana", "--note", "asked the casino", "--json")
    assert (taken.json["state"], taken.json["resolution"]) == ("assigned", "taken up by ana: asked the casino")
    assert str(opened(store)) == broken, "what is seen again is the same break, taken up or not"
    assert "assigned" in agentstate("breaks", "list").out
    ended = agentstate("breaks", "resolve", broken, "--who", "ana", "--reason", "a fee; posted as fee:7")
    assert (ended.code, ended.out) == (0, f"{broken} resolved: resolved by ana: a fee; posted as fee:7\n")
    assert agentstate("breaks", "list", "--json").json["breaks"] == []
    assert len(agentstate("breaks", "list", "--all", "--json").json["breaks"]) == 1
    for words in (("resolve", broken, "--reason", "again"), ("acknowledge", broken)):
        answer = agentstate("breaks", *words)
        assert answer.code == 1
        assert "has ended already: resolved by ana" in answer.err
    assert str(opened(store)) != broken, "what is seen after its end is a new break"


def test_what_is_taken_up_goes_on_counting(agentstate: Command, store: Store) -> None:
    broken = str(opened(store))
    Guards(store, "ag_1").limit(unexplained="1")
    TransactionLedger(store, "ag_1").deposit("start", "casino", Money(100))
    agentstate("breaks", "acknowledge", broken, "--who", "ana")
    with pytest.raises(Exception, match="are stopped"):
        AgentEffects(Effects(store), "ag_1").execute_once("b1", call(lambda _key: {}, service="casino", hold=Money(5)))
    agentstate("breaks", "resolve", broken, "--reason", "found")
    assert (
        AgentEffects(Effects(store), "ag_1").execute_once("b2", call(lambda _key: {}, service="casino", hold=Money(5)))
        == {}
    )


def test_the_break_of_an_effect_ends_with_the_effect(agentstate: Command, store: Store) -> None:
    def lost(_key: str) -> None:
        raise TimeoutError

    TransactionLedger(store, "ag_1").deposit("start", "casino", Money(100))
    with pytest.raises(EffectInDoubt):
        AgentEffects(Effects(store), "ag_1").execute_once("bet:1", call(lost, service="casino", hold=Money(5)))
    [found] = agentstate("breaks", "list", "--json").json["breaks"]
    refused = agentstate("breaks", "resolve", found["id"], "--reason", "never mind")
    assert refused.code == 1
    assert f"agentstate effects resolve {found['effect_id']}" in refused.err
    assert agentstate("effects", "resolve", found["effect_id"], "--absent", "--reason", "asked").code == 0
    assert agentstate("breaks", "list").out == "no breaks match\n"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("show", str(uuid4())), 1, "there is no break"),
        (("resolve", str(uuid4()), "--reason", "x"), 1, "there is no break"),
        (("resolve", str(uuid4())), 2, "--reason"),
        (("show", "x"), 2, "not a valid UUID"),
        (("resolve", str(uuid4()), "--reason", " "), 1, "say reason"),
    ],
)
def test_what_cannot_be_is_refused_in_words(agentstate: Command, words: tuple[str, ...], code: int, told: str) -> None:
    answer = agentstate("breaks", *words)
    assert answer.code == code
    assert told in answer.err
