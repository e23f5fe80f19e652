"""Long texts: one row, several points, one hit."""

from __future__ import annotations

import pytest

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
