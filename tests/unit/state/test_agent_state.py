"""Schema versions of state: every field of every old version survives, and what cannot be told is refused.

The number in a test's name is that of the defect that it shows not to happen.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentstate.errors import ConfigurationError, InvalidInput, SchemaOutdated
from agentstate.money.amounts import Money
from agentstate.state import codec
from agentstate.state.agent_state import CURRENT_SCHEMA, SCHEMA, AgentState
from agentstate.state.schema import Blob, Schema
from tests.unit.state.strategies import DECIMALS, KEYS, VALUES

GOLDEN = Path(__file__).parents[2] / "golden"
V1 = {"agent_id": "ag_1", "balance": Decimal("1.5"), "session_count": 2}
V2 = {"schema_version": 2, "agent_id": "ag_1", "portfolio": {"usdc": Decimal(250), "eth": Decimal(2)}}
V3 = {**V2, "schema_version": 3, "session_count": 2, "preferences": {"style": "careful"}}

OWN = {"schema_version", "agent_id", "balance", "portfolio", "session_count", "preferences"}
UNKNOWN = st.dictionaries(KEYS.filter(lambda key: key not in OWN), VALUES, max_size=4)


def without(blob: Blob, *names: str) -> Blob:
    return {key: value for key, value in blob.items() if key not in names}


@pytest.mark.parametrize("version", range(1, CURRENT_SCHEMA + 1))
def test_every_version_has_a_golden_file_that_reads_as_it_always_did(version: int) -> None:
    golden = codec.loads((GOLDEN / f"state_v{version}.json").read_text())
    state = AgentState.migrate(golden["stored"])
    assert repr(codec.deep_copy(sorted_(state.to_dict()))) == repr(sorted_(golden["migrated"]))
    assert AgentState.migrate(state.to_dict()) == state


def sorted_(blob: Blob) -> Blob:
    return dict(sorted(blob.items()))


@settings(max_examples=40, deadline=None)
@given(DECIMALS, st.integers(0, 2**40), UNKNOWN)
def test_no_field_of_version_1_is_lost(balance: Decimal, sessions: int, unknown: dict[str, Any]) -> None:
    raw = {"agent_id": "ag_1", "balance": balance, "session_count": sessions, **unknown}
    found = AgentState.migrate(raw).to_dict()
    assert found["portfolio"] == {"usdc": balance}
    assert without(found, "schema_version", "portfolio", "preferences") == without(raw, "balance")


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([2, 3]), st.dictionaries(KEYS, VALUES, max_size=3), UNKNOWN)
def test_no_field_of_a_later_version_is_lost(version: int, portfolio: dict[str, Any], unknown: dict[str, Any]) -> None:
    raw = {"schema_version": version, "agent_id": "ag_1", "portfolio": portfolio, "preferences": {"a": 1}, **unknown}
    found = AgentState.migrate(raw).to_dict()
    assert without(found, "schema_version", "session_count") == without(raw, "schema_version")


@pytest.mark.guide_defect(53)
@settings(max_examples=40, deadline=None)
@given(UNKNOWN, st.sampled_from([V1, V2, V3]))
def test_the_callers_dict_is_left_alone(unknown: dict[str, Any], blob: Blob) -> None:
    raw = {**unknown, **blob}
    before = codec.dumps(raw)
    state = AgentState.migrate(raw)
    state.portfolio["usdc"] = "changed"
    state.to_dict()["portfolio"]["usdc"] = "changed"
    assert codec.dumps(raw) == before


@pytest.mark.guide_defect(53)
def test_nor_is_a_state_changed_by_what_was_given_to_it() -> None:
    mine = {"usdc": ["1"]}
    state = AgentState(agent_id="ag_1", portfolio=mine)
    mine["usdc"].append("2")
    assert state.portfolio == {"usdc": ["1"]}
    with pytest.raises(FrozenInstanceError):
        state.session_count = 5  # type: ignore[misc]


@pytest.mark.guide_defect(54)
@pytest.mark.parametrize("blob", [V2, V3])
def test_a_portfolio_without_a_version_is_recognised_and_kept(blob: Blob) -> None:
    state = AgentState.migrate(without(blob, "schema_version"))
    assert state.portfolio == {"usdc": Decimal(250), "eth": Decimal(2)}
    assert state.preferences == blob.get("preferences", {})


@pytest.mark.guide_defect(54)
@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"agent_id": "ag_1"},
        {"agent_id": "ag_1", "session_count": 3},
        {**V1, "portfolio": {"usdc": 9}},
        {**V1, "preferences": {}},
        {"agent_id": "ag_1", "portfolio": None},
        {"agent_id": "ag_1", "portfolio": "usdc"},
        {**V1, "schema_version": 1, "portfolio": {"usdc": 9}},
        {"agent_id": "ag_1", "schema_version": 1},
    ],
    ids=lambda raw: "+".join(sorted(raw)) or "empty",
)
def test_what_cannot_be_told_is_refused(raw: Blob) -> None:
    with pytest.raises(InvalidInput):
        AgentState.migrate(raw)


@pytest.mark.guide_defect(55)
@pytest.mark.parametrize("version", ["2", None, True, False, 0, -1, Decimal(2), [2]], ids=repr)
def test_a_version_that_is_no_number_is_refused_in_words(version: Any) -> None:
    with pytest.raises(InvalidInput, match="schema_version"):
        AgentState.migrate({**V2, "schema_version": version})


@pytest.mark.guide_defect(55)
def test_nor_one_of_thousands_of_digits() -> None:
    with pytest.raises(InvalidInput, match="schema_version"):
        AgentState.migrate({**V2, "schema_version": -(10**5000)})


@pytest.mark.guide_defect(56)
@pytest.mark.parametrize("version", [CURRENT_SCHEMA + 1, 10**5000], ids=["next", "huge"])
def test_a_newer_version_is_refused(version: int) -> None:
    with pytest.raises(SchemaOutdated, match="Update agentstate"):
        AgentState.migrate({**V3, "schema_version": version, "from_the_future": 1})


@pytest.mark.guide_defect(56)
def test_an_unknown_field_of_this_version_is_written_back() -> None:
    state = AgentState.migrate({**V3, "mood": {"calm": Decimal(1)}})
    changed = replace(state, session_count=state.session_count + 1)
    assert changed.to_dict()["mood"] == {"calm": Decimal(1)}
    assert changed.to_dict()["session_count"] == 3


@pytest.mark.guide_defect(57)
@pytest.mark.parametrize(
    "raw",
    [{**V1, "balance": 1.5}, {**V1, "balance": True}, {**V1, "balance": None}, {**V2, "portfolio": {"usdc": 0.1}}],
    ids=["float", "bool", "none", "float in portfolio"],
)
def test_no_float_gets_in(raw: Blob) -> None:
    with pytest.raises(InvalidInput):
        AgentState.migrate(raw)


@pytest.mark.guide_defect(57)
def test_nor_by_hand() -> None:
    with pytest.raises(InvalidInput, match="float"):
        AgentState(agent_id="ag_1", portfolio={"usdc": 0.1})
    assert AgentState(agent_id="ag_1", portfolio={"usdc": Money("0.1")}).portfolio["usdc"] == Money.from_minor(100_000)


@pytest.mark.guide_defect(58)
@pytest.mark.parametrize("agent_id", [None, "", 7, "a b"])
def test_a_state_is_somebodys(agent_id: Any) -> None:
    with pytest.raises(InvalidInput, match="agent"):
        AgentState.migrate({**V3, "agent_id": agent_id})
    with pytest.raises(InvalidInput, match="agent"):
        AgentState(agent_id=agent_id)


@pytest.mark.guide_defect(58)
def test_the_reader_may_say_whose_but_not_otherwise() -> None:
    assert AgentState.migrate(without(V3, "agent_id"), agent_id="ag_2").agent_id == "ag_2"
    with pytest.raises(InvalidInput, match="agent_id"):
        AgentState.migrate(without(V3, "agent_id"))
    with pytest.raises(InvalidInput, match="not of ag_2"):
        AgentState.migrate(V3, agent_id="ag_2")


@pytest.mark.guide_defect(59)
@pytest.mark.parametrize("name", ["portfolio", "preferences"])
@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_what_should_be_a_dict_is_one(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=name):
        AgentState.migrate({**V3, name: value})


@pytest.mark.parametrize("count", [-1, True, "2", Decimal(2), 2**63])
def test_the_count_of_sessions_is_a_count(count: Any) -> None:
    with pytest.raises(InvalidInput, match="session_count"):
        AgentState.migrate({**V3, "session_count": count})


def test_extra_cannot_hide_a_field_and_old_versions_are_not_made() -> None:
    with pytest.raises(InvalidInput, match="extra"):
        AgentState(agent_id="ag_1", extra={"portfolio": {}})
    with pytest.raises(InvalidInput, match="migrate"):
        AgentState(2, "ag_1")


def test_a_step_that_loses_or_changes_a_field_is_caught() -> None:
    for bad in (lambda blob: without(blob, "kept"), lambda blob: {**blob, "kept": 2}):
        schema = Schema("a thing")
        schema.add_step(1)(bad)
        with pytest.raises(ConfigurationError, match="kept"):
            schema.migrate({"schema_version": 1, "kept": 1})


def test_a_step_that_changes_its_input_changes_no_one_elses() -> None:
    schema = Schema("a thing")

    @schema.add_step(1, takes=frozenset({"inner"}))
    def impure(blob: Blob) -> Blob:
        blob["inner"].append(2)
        return blob

    raw = {"schema_version": 1, "inner": [1]}
    assert schema.migrate(raw) == {"schema_version": 2, "inner": [1, 2]}
    assert raw == {"schema_version": 1, "inner": [1]}


def test_steps_come_in_order() -> None:
    with pytest.raises(ConfigurationError, match="version 1"):
        Schema("a thing").add_step(2)
    assert SCHEMA.newest_version == CURRENT_SCHEMA == 3
