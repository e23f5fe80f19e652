"""Forgetting: gone from every store, checked, and no worker brings it back."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from agentstate.errors import NotFound
from agentstate.memory.conversation import ConversationHistory
from agentstate.memory.embedding.queue import ClaimedBatch, EmbeddingBacklog
from agentstate.memory.facts.forget import ERASE_KIND
from agentstate.memory.facts.records import NewMemory
from agentstate.memory.facts.service import MemoryService
from agentstate.memory.index.collection import open_qdrant
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.memory.index.verify import IndexVerifier
from agentstate.memory.ingest.ingest import Ingest, IngestReport
from agentstate.memory.ingest.transcripts import read_transcript
from agentstate.memory.search.chunks import CHUNK_TOKENS, split_chunks
from agentstate.store.tables import memory_vectors
from tests.integration.memory.test_chunks import LONG
from tests.worlds.memories import Space, World, points_of

pytestmark = pytest.mark.database("sqlite")


def vectors(world: World) -> int:
    with world.store.read_connection() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(memory_vectors)).scalar_one()


def test_a_memory_is_forgotten_everywhere_and_the_receipt_says_so(world: World) -> None:
    long = world.memory.of("a").remember(LONG)
    kept = world.memory.of("a").remember("the vault has a door")
    world.pipeline().run_until_idle()
    receipt = world.memory.of("a").forget(long.id)
    assert receipt.complete
    removed = {erased.store: erased.removed for erased in receipt.stores}
    assert removed["memories"] == 1
    assert removed["index"] == len(split_chunks(LONG, limit=CHUNK_TOKENS)) > removed["vectors"] > 0
    assert [hit.id for hit in world.memory.of("a").recall("vault")] == [kept.id]
    assert (world.index.count_points("a"), vectors(world)) == (1, 1)
    with pytest.raises(NotFound):
        world.memory.of("a").forget(long.id)


def test_nobody_forgets_for_another(world: World) -> None:
    kept = world.memory.of("a").remember("the vault has a door")
    with pytest.raises(NotFound):
        world.memory.of("b").forget(kept.id)
    assert world.memory.of("a").find(kept.id) is not None


def test_an_agent_is_forgotten_and_others_stay(world: World) -> None:
    for agent in ("a", "b"):
        world.memory.of(agent).remember("the vault has a door")
    world.pipeline().run_until_idle()
    receipt = world.memory.of("a").forget_all()
    assert receipt.complete
    removed = {erased.store: erased.removed for erased in receipt.stores}
    assert removed == {"memories": 1, "vectors": 1, "episodes": 0, "index": 1}
    assert (world.index.count_points("a"), world.index.count_points("b")) == (0, 1)
    assert world.memory.of("a").recall("vault") == []
    assert len(world.memory.of("b").recall("vault")) == 1


def test_conversations_go_when_asked_for_and_the_receipt_tells_what_stays(world: World) -> None:
    for agent in ("a", "b"):
        history = ConversationHistory(world.store, world.jobs, world.settings, agent, "s")
        history.add("user", "the vault has a door")
    receipt = world.memory.of("a").forget_all()
    assert (receipt.complete, receipt.kept) == (True, {"turns": 1})
    receipt = world.memory.of("a").forget_all(conversations=True)
    assert {erased.store: erased.removed for erased in receipt.stores}["conversations"] == 1
    assert (receipt.complete, receipt.kept) == (True, {})
    assert world.memory.of("b").forget_all().kept == {"turns": 1}


def test_an_index_that_is_down_is_told_and_left_to_a_job(world: World) -> None:
    memory = world.memory.of("a").remember("the vault has a door")
    world.pipeline().run_until_idle()
    with closing(open_qdrant("http://127.0.0.1:9")) as nowhere:
        index = MemoryIndex(nowhere, Space(world.index.space))
        receipt = (
            MemoryService(world.store, world.jobs, index, world.embedder, world.settings).of("a").forget(memory.id)
        )
    assert not receipt.complete
    assert receipt.stores[-1].left is None
    assert world.memory.of("a").recall("vault") == []
    [job] = world.jobs.list(kind=ERASE_KIND)
    assert job.payload == {"tenant": "a", "memories": [str(memory.id)]}
    erased = world.memory.forgetting.erase_points("a", [memory.id])
    assert (erased.removed, erased.left, world.index.count_points("a")) == (1, 0, 0)


def test_a_worker_that_comes_late_brings_nothing_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = world.memory.of("a").remember("the vault has a door")
    claim = EmbeddingBacklog.claim_batch

    def claim_and_lose(backlog: EmbeddingBacklog, limit: int, *, lease_s: float, light: bool = False) -> ClaimedBatch:
        batch = claim(backlog, limit, lease_s=lease_s, light=light)
        if batch.memories:
            world.memory.of("a").forget(memory.id)
        return batch

    monkeypatch.setattr(EmbeddingBacklog, "claim_batch", claim_and_lose)
    assert world.pipeline().run_once().fenced == 1
    assert (world.index.count_points("a"), vectors(world)) == (0, 0)


def test_forgetting_the_newest_statement_does_not_bring_back_the_older(world: World) -> None:
    world.memory.of("a").remember("the balance is 100", subject="balance")
    newest = world.memory.of("a").remember("the balance is 200", subject="balance")
    world.memory.of("a").forget(newest.id)
    for _ in range(2):
        assert world.memory.of("a").believed("balance") is None
        assert world.memory.of("a").recall("balance") == []
        world.pipeline().run_until_idle()


def test_after_everything_was_forgotten_a_new_life_may_begin(world: World) -> None:
    world.memory.of("a").remember("the vault has a door")
    world.pipeline().run_until_idle()
    world.memory.of("a").forget_all()
    world.memory.of("a").remember("the vault has a door")
    world.pipeline().run_until_idle()
    assert world.memory.forgetting.erase_points("a", None).removed == 0
    assert len(world.memory.of("a").recall("vault")) == 1


def test_a_turn_that_was_forgotten_is_not_brought_back_by_its_file(world: World, tmp_path: Path) -> None:
    lines = [
        {"agent": "a", "session": "s", "id": f"t{n}", "role": "user", "text": f"the vault word is w{n}",
         "time": "2026-01-01T10:00:00Z"}
        for n in range(3)
    ]  # fmt: skip
    path = tmp_path / "turns.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))

    def store_file() -> IngestReport:
        ingest = Ingest(world.store, world.jobs, world.memory, world.settings)
        return ingest.store_turns(read_transcript(path, world.settings))

    store_file()
    world.pipeline().run_until_idle()
    memory = world.memory.of("a")
    (doomed,) = [one for one in memory.list() if one.content.endswith("w1")]
    receipt = memory.forget(doomed.id)
    assert [erased.store for erased in receipt.stores if erased.left] == ["conversations"]
    assert not receipt.complete, "the turn itself is still in its conversation"
    for _ in range(2):
        report = store_file()
        assert (report.stored, report.already, report.forgotten) == (0, 3, 1)
        world.pipeline().run_until_idle()
        assert memory.find(doomed.id) is None
        assert [hit.content for hit in memory.recall("vault word w1")] != [doomed.content]
    assert memory.forget_all(conversations=True).complete


def test_workers_bring_nothing_back_and_an_agent_may_say_it_anew(world: World) -> None:
    lesson = NewMemory(agent_id="a", content="never bet on Mondays", kind="lesson")
    (first,) = world.memory.remember_many([lesson])
    world.memory.of("a").forget(first.id)
    (again,) = world.memory.remember_many([lesson], revive=False)
    assert (again.id, again.outcome, again.searchable) == (first.id, "forgotten", None)
    assert world.memory.of("a").find(first.id) is None
    assert world.memory.of("a").remember("never bet on Mondays", kind="lesson").outcome == "new"
    (kept,) = world.memory.remember_many([lesson], revive=False)
    assert kept.outcome in {"kept", "forgotten"}
    assert world.memory.of("a").find(first.id) is not None


def test_a_point_of_a_forgotten_memory_is_surplus_and_no_other_stores(world: World) -> None:
    memory = world.memory.of("a").remember("the vault has a door")
    world.pipeline().run_until_idle()
    world.memory.of("a").forget(memory.id)
    world.index.upsert_points(points_of(memory.id, ["the vault has a door"]))  # a rebuild that had read it before
    verifier = IndexVerifier(world.store, world.index)
    found = verifier.compare_all()
    assert (found.orphaned, found.unknown) == (1, 0)
    assert world.index.count_points("a") == 0
    assert verifier.compare_all().is_sound
