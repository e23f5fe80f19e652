"""Every public verb of memory takes any value for any argument: it serves it, or refuses it by name with a remedy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from agentstate.errors import AgentStateError, InvalidInput, NotFound
from agentstate.ids import shorten_repr
from agentstate.memory.facts.records import NewMemory
from agentstate.memory.index.maintenance import FleetIndex
from agentstate.memory.ingest.transcripts import read_transcript
from agentstate.settings import Settings
from tests.worlds.memories import World

ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    3,
    2**31,
    2**63,
    2**70,
    10**5_000,
    1.5,
    -0.0,
    math.nan,
    math.inf,
    1e308,
    Decimal("1.5"),
    Decimal("NaN"),
    Decimal("1E+999999"),
    "",
    " ",
    "a\x00b",
    "\ud800",
    "x" * 100_000,
    "é" * 300,
    "no-such-thing",
    "%_\\",
    b"bytes",
    [],
    ["a\x00"],
    [None],
    [[1]],
    {},
    {"k": None},
    {5: "x"},
    {"k\x00": "\ud800"},
    (),
    {1, 2},
    object(),
    datetime(2026, 1, 1),  # noqa: DTZ001 naive on purpose
    datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
    date(2026, 1, 1),
    timedelta(-1),
    timedelta.max,
    UUID(int=1),
    len,
]
"""Values that no one means."""


# The stricter of the two: no number beyond 63 bits, no NUL, no half of a surrogate pair.
pytestmark = pytest.mark.database("postgres")


def list_verbs(world: World, path: Path) -> dict[str, tuple[Callable[..., Any], dict[str, Any], list[str]]]:
    """Each verb with arguments that it takes, and the names of those that are tried."""
    memory = world.memory.of("a")
    receipt = memory.remember("The gardener is called Ottokar.")
    runtime: Any = SimpleNamespace(store=world.store, index=world.index, jobs=world.jobs)
    index = FleetIndex(runtime)
    read = partial(read_transcript, settings=world.settings)
    spaces = memory.namespaces
    spaces.create("desk")
    spaces.offer("desk", "b")
    of_item = [field.name for field in fields(NewMemory)]
    return {
        "remember": (
            memory.remember,
            {"content": "a fact"},
            ["content", "kind", "at", "subject", "valid_from", "valid_to", "importance", "metadata", "source",
             "namespace", "tx"],
        ),
        "remember_many": (memory.remember_many, {"items": [NewMemory(content="x")]}, ["items", "tx"]),
        "remember_item": (
            lambda **changes: memory.remember_many([NewMemory(**{"content": "a turn", **changes})]), {}, of_item
        ),
        "recall": (
            memory.recall,
            {"query": "gardener"},
            ["query", "limit", "kind", "session", "since", "until", "as_of", "where", "half_life", "neighbours",
             "namespaces"],
        ),
        "get": (memory.get, {"memory_id": receipt.id}, ["memory_id", "namespaces"]),
        "find": (memory.find, {"memory_id": receipt.id}, ["memory_id", "namespaces"]),
        "statements": (memory.statements, {"subject": "x"}, ["subject", "known_as_of", "namespaces"]),
        "believed": (memory.believed, {"subject": "x"}, ["subject", "as_of", "namespaces"]),
        "export": (lambda **changes: list(memory.export(**changes)), {}, ["namespaces"]),
        "iterate_held": (lambda **changes: list(memory.iterate_held(**changes)), {"kinds": ("fact",)}, ["kinds"]),
        "list": (memory.list, {}, ["limit", "before", "kind", "namespaces"]),
        "forget": (memory.forget, {"memory_id": UUID(int=5), "namespace": None}, ["memory_id", "namespace"]),
        "wait_searchable": (
            memory.wait_searchable, {"receipts": [], "timeout_s": 0.0}, ["receipts", "timeout_s"]
        ),
        "create": (spaces.create, {"name": "desk"}, ["name"]),
        "offer": (spaces.offer, {"name": "desk", "to": "b"}, ["name", "to", "role"]),
        "accept": (world.memory.of("b").namespaces.accept, {"name": "desk"}, ["name"]),
        "leave": (world.memory.of("b").namespaces.leave, {"name": "desk"}, ["name"]),
        "withdraw": (spaces.withdraw, {"name": "desk", "agent_id": "b"}, ["name", "agent_id"]),
        "forget_all": (world.memory.of("c").forget_all, {}, ["conversations"]),
        "verify": (index.verify, {}, ["repair", "remove_unknown", "progress"]),
        "list_dead": (index.list_dead, {}, ["agent_id", "limit"]),
        "revive": (index.revive, {}, ["agent_id"]),
        "drop": (index.drop, {"collection": "none"}, ["collection"]),
        "read_transcript": (lambda **changes: list(read(**changes)), {"path": path}, ["path", "form", "agent_id"]),
    }  # fmt: skip


NAMED_AS = {
    "name": "namespace", "to": "agent id", "agent_id": "agent", "items": "items", "namespaces": "namespace",
    "kinds": "kind", "memory_id": "memory", "path": "transcript", "namespace": "namespace", "collection": "collection",
}  # fmt: skip
"""How errors call an argument, where not by its own name."""
REMEDIES = ("give", "use ", "write", "remove", "split", "shorten", "correct", "choose", "cannot", "may ", "no access",
            "has no memory", "has to", "allowed", "there is no", "no namespace", "leave some out",
            "time zone")  # fmt: skip


def test_every_argument_is_served_or_refused_by_name(world: World, tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    path.write_text("")
    wrong = []
    for verb, (call, usual, names) in list_verbs(world, path).items():
        for name in names:
            for odd in ODD:
                if (name in usual and usual[name] is odd) or (name, odd) == ("progress", len):
                    continue
                try:
                    call(**{**usual, name: odd})
                except AgentStateError as error:
                    said = str(error)
                    spoken = {name, name.replace("_", " "), NAMED_AS.get(name, name)}
                    if not any(each in said for each in spoken) or not any(each in said for each in REMEDIES):
                        wrong.append(f"{verb}({name}={shorten_repr(odd):.40}): {said[:150]}")
                    if len(said) > 600:
                        wrong.append(f"{verb}({name}={shorten_repr(odd):.40}): {len(said)} characters")
                except Exception as error:  # noqa: BLE001 the very thing that must not leave a verb
                    wrong.append(f"{verb}({name}={shorten_repr(odd):.40}): {type(error).__name__}: {str(error)[:100]}")
    assert not wrong, "\n".join([f"{len(wrong)} of them", *wrong[:60]])


def test_what_is_refused_stores_nothing(world: World) -> None:
    memory = world.memory.of("a")
    for changes in ({"importance": True}, {"importance": 2**70}, {"at": datetime(2026, 1, 1)}, {"subject": "a\x00"}):  # noqa: DTZ001
        with pytest.raises(InvalidInput):
            memory.remember("a fact", **changes)  # type: ignore[arg-type]
    assert memory.list() == []
    with pytest.raises(NotFound):
        memory.get(UUID(int=5))


def test_settings_are_no_argument_of_any_type(world: World) -> None:
    runtime: Any = SimpleNamespace(store=world.store, index=world.index, jobs=world.jobs)
    with pytest.raises(InvalidInput, match="settings is 5; give a Settings"):
        FleetIndex(runtime).rebuild(5)  # type: ignore[arg-type]
    assert isinstance(world.settings, Settings)
