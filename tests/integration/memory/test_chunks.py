"""Long texts: one row, several points, one hit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from agentstate.errors import ProviderRefused
from agentstate.memory.facts.records import NewMemory
from agentstate.memory.search.chunks import CHUNK_TOKENS, split_chunks
from agentstate.providers.tokens import estimate_tokens
from tests.worlds.memories import World

pytestmark = pytest.mark.database("postgres")

FILLER = "Nothing of note was said about markets on this day. " * 120
LONG = f"{FILLER}\n\nThe vault code is zebra-42.\n\n{FILLER}\n\nThe gardener is called Ottokar.\n\n{FILLER}"


def test_a_long_text_comes_back_whole_and_once(world: World) -> None:
    receipt = world.memory.of("a").remember(LONG)
    world.memory.of("a").remember("Short words about gardens")
    world.pipeline().run_until_idle()
    assert world.index.count_points("a") == len(split_chunks(LONG, limit=CHUNK_TOKENS)) + 1 > 3
    for query in ("what is the vault code?", "gardener Ottokar", "markets"):
        hits = world.memory.of("a").recall(query)
        assert [hit.content == LONG for hit in hits if hit.id == receipt.id] == [True], query


def test_its_chunks_are_sent_in_one_call_and_paid_once(world: World) -> None:
    world.memory.of("a").remember(LONG)
    world.memory.of("a").remember(LONG, kind="lesson")
    world.pipeline().run_until_idle()
    assert len(world.embedder.calls) == 1
    assert world.embedder.calls[0] == len(set(split_chunks(LONG, limit=CHUNK_TOKENS)))
    world.memory.of("a").remember(LONG, kind="strategy")
    world.pipeline().run_until_idle()
    assert len(world.embedder.calls) == 1


def test_a_worker_that_was_slower_makes_no_second_set_of_points(world: World) -> None:
    world.memory.of("a").remember(LONG)
    world.pipeline().run_until_idle()
    before = world.index.count_points("a")
    world.memory.of("a").remember(f"{LONG} Later.", subject="x")
    world.memory.of("a").remember("Never mind.", subject="x")
    world.pipeline().run_until_idle()
    assert world.index.count_points("a") == 2 * before + 1


@pytest.mark.parametrize("text", [LONG, "x" * 30_000, "ä " * 9_000, "word " * 9_000, "a\n\n" * 5_000, "🂡" * 5_000])
def test_pieces_hold_all_words_and_keep_the_limit(text: str) -> None:
    pieces = split_chunks(text, limit=200)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert max(estimate_tokens(piece) for piece in pieces) <= 200
    assert split_chunks(text, limit=200) == pieces


def test_a_short_text_stays_as_it_is() -> None:
    assert split_chunks("  two  words ", limit=200) == ["  two  words "]
    assert split_chunks("hi", limit=200, speaker="Ada") == ["Ada: hi"]


def takes(tokens: int) -> Callable[[Sequence[str]], Exception | None]:
    """An embedder that refuses longer texts, as a server with a short context does."""

    def refuse(texts: Sequence[str]) -> Exception | None:
        return ProviderRefused("answered 413: too long") if max(map(estimate_tokens, texts)) > tokens else None

    return refuse


@pytest.mark.parametrize("tokens", [512, 300, 64])
def test_a_provider_with_a_short_context_is_given_shorter_pieces(world: World, tokens: int) -> None:
    world.embedder.fails = takes(tokens)
    receipts = world.memory.of("a").remember_many([NewMemory(content=LONG), NewMemory(content="a short one")])
    pipeline = world.pipeline()
    assert pipeline.run_until_idle().dead == 0
    world.memory.of("a").wait_searchable(receipts, timeout_s=0)
    assert world.memory.of("a").recall("gardener Ottokar")[0].content == LONG
    assert world.index.count_points("a") >= len(split_chunks(LONG, limit=tokens)) + 1
    # What was learnt is kept: the next long memory costs one call.
    calls = len(world.embedder.calls)
    world.memory.of("a").remember(f"Once more. {LONG}")
    assert pipeline.run_until_idle().searchable == 1
    assert len(world.embedder.calls) == calls + 1


def test_a_text_that_is_refused_for_its_content_shortens_no_other(world: World) -> None:
    world.embedder.fails = lambda texts: (
        ProviderRefused("answered 400: content") if any("zebra-42" in text for text in texts) else None
    )
    world.memory.of("a").remember(LONG)
    pipeline = world.pipeline()
    assert pipeline.run_until_idle().dead == 1
    world.memory.of("a").remember(FILLER)
    pipeline.run_until_idle()
    assert world.index.count_points("a") == len(split_chunks(FILLER, limit=CHUNK_TOKENS))


def test_the_length_of_a_piece_is_a_setting(world: World) -> None:
    world.embedder.fails = takes(512)
    world.memory.of("a").remember(LONG)
    assert world.pipeline(embedding_text_tokens=512).run_until_idle().searchable == 1
    assert len(world.embedder.calls) == 1
