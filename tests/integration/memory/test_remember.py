"""Remembering: durable at once, each thing once, and nothing stored of what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agentstate.errors import InvalidInput, TooLarge
from agentstate.memory.facts.counts import count_memories
from agentstate.memory.facts.records import NewMemory
from tests.worlds.memories import World


def test_what_is_remembered_is_stored_and_wakes_the_workers_after_the_commit(world: World) -> None:
    with world.store.transaction() as tx:
        receipt = world.memory.of("a").remember("Flat stakes beat martingale", kind="lesson", tx=tx)
        assert world.wakes.bulk == []
    assert (receipt.searchable, receipt.outcome) == ("words", "new")
    assert world.wakes.bulk == ["embedding.embed_pending"]
    stored = world.memory.of("a").find(receipt.id)
    assert stored is not None
    assert stored.content == "Flat stakes beat martingale"


def test_a_transaction_that_fails_remembers_nothing(world: World) -> None:
    def remember_and_fail() -> None:
        with world.store.transaction() as tx:
            world.memory.of("a").remember("never", tx=tx)
            raise KeyError

    with pytest.raises(KeyError):
        remember_and_fail()
    assert world.memory.of("a").recall("never") == []
    assert world.wakes.bulk == []


def test_the_same_memory_is_kept_once_and_the_receipt_says_so(world: World) -> None:
    first = world.memory.of("a").remember("the house edge is 1 %")
    again = world.memory.of("a").remember("the house edge is 1 %")
    other_kind = world.memory.of("a").remember("the house edge is 1 %", kind="lesson")
    other_agent = world.memory.of("b").remember("the house edge is 1 %")
    assert (again.id, again.outcome, again.seq) == (first.id, "kept", first.seq)
    assert len({first.id, other_kind.id, other_agent.id}) == 3


def test_two_equal_turns_stay_two(world: World) -> None:
    turns = [
        NewMemory(agent_id="a", kind="turn", content="ok", session="s", source=source) for source in ("1", "2", "1")
    ]
    receipts = world.memory.remember_many(turns)
    assert [receipt.outcome for receipt in receipts] == ["new"] * 3
    assert receipts[0].id == receipts[2].id != receipts[1].id
    assert memory_stored(world, "a") == 2


def memory_stored(world: World, agent: str) -> int:
    with world.store.read_connection() as connection:
        return sum(counts.stored for counts in count_memories(connection, agent_id=agent))


def test_metadata_comes_back_exact_and_overrides_nothing(world: World) -> None:
    metadata = {"agent_id": "victim", "content": "forged", "score": 9, "amount": Decimal("0.10")}
    world.memory.of("a").remember("paid the escrow", metadata=metadata)
    world.pipeline().run_until_idle()
    hits = world.memory.of("a").recall("escrow")
    assert [(hit.content, hit.metadata) for hit in hits] == [("paid the escrow", metadata)]
    assert hits[0].score < 1
    assert world.memory.of("victim").recall("escrow") == []


@pytest.mark.parametrize(
    ("content", "changes", "said"),
    [
        ("", {}, "empty"),
        (" \n", {}, "empty"),
        ("a\x00b", {}, "NUL"),
        ("\ud800", {}, "surrogate"),
        (7, {}, "not text"),
        ("x", {"agent_id": "../etc"}, "agent id"),
        ("x", {"agent_id": ""}, "agent id"),
        ("x", {"kind": "k" * 33}, "32"),
        ("x", {"kind": "a b"}, "kind"),
        ("x", {"metadata": {"price": 0.1}}, "float"),
        ("x", {"metadata": [1]}, "dict"),
        ("x", {"at": datetime(2026, 1, 1)}, "time zone"),  # noqa: DTZ001 the point of the case
    ],
)
def test_bad_input_is_refused_and_nothing_is_stored(
    world: World, content: Any, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        world.memory.remember_many([NewMemory(**{"agent_id": "a", "content": content, **changes})])
    assert memory_stored(world, "a") == 0


def test_a_text_over_the_limit_names_size_and_limit(world: World) -> None:
    with pytest.raises(TooLarge, match=r"262,145 bytes.*262,144"):
        world.memory.of("a").remember("x" * 262_145)


def test_one_bad_item_keeps_the_whole_batch_out(world: World) -> None:
    with pytest.raises(InvalidInput):
        world.memory.remember_many([NewMemory(agent_id="a", content="fine"), NewMemory(agent_id="a", content="")])
    assert memory_stored(world, "a") == 0


def test_times_and_sources_come_back(world: World) -> None:
    at = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
    receipt = world.memory.of("a").remember("x", at=at, source="mail:7")
    stored = world.memory.of("a").find(receipt.id)
    assert stored is not None
    assert (stored.at, stored.source) == (at, "mail:7")
    assert world.memory.of("b").find(receipt.id) is None


REMEMBER = """
import sys
from agentstate import Agent
Agent("a").memory.remember("Flat stakes beat martingale")
Agent("a").conversation("s").add("user", "Hello")
print(sorted({"qdrant_client", "numpy", "openai", "anthropic"} & sys.modules.keys()))
"""


def test_a_process_that_only_remembers_loads_no_heavy_client(sqlite_url: str) -> None:
    root = Path(__file__).parents[3]
    env = {
        **os.environ,
        "PYTHONPATH": str(root / "shared"),
        "AGENTSTATE_DATABASE_URL": sqlite_url,
        "AGENTSTATE_BROKER_URL": "redis://127.0.0.1:1/0",
    }
    done = subprocess.run(
        [sys.executable, "-c", REMEMBER], env=env, cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
