"""Keyword ranking and fusion: better matches first, bounded scores, nothing out of nothing."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentstate.memory.facts.records import MemoryRecord
from agentstate.memory.search import terms
from agentstate.memory.search.fusion import (
    DENSE,
    DENSE_FLOOR,
    EXACT,
    HALF_SCORE,
    KEYWORD,
    KEYWORD_STORE,
    WEIGHT,
    RetrieverScore,
    fuse_scores,
)
from agentstate.memory.search.hits import Hit, Why

A, B, C = (str(UUID(int=number)) for number in (1, 2, 3))

ARMS = st.dictionaries(
    st.sampled_from([DENSE, KEYWORD, KEYWORD_STORE]),
    st.lists(st.tuples(st.sampled_from([A, B, C]), st.floats(0, 50)), unique_by=lambda hit: hit[0]),
)


def test_texts_with_more_of_the_query_come_first() -> None:
    texts = ["nothing here", "the coin pays", "the coin flip pays twice"]
    assert [position for position, _ in terms.rank_texts("coin flip", texts)] == [2, 1]


def test_a_rare_word_weighs_more_than_a_common_one() -> None:
    texts = ["bet coin"] * 50 + ["bet zeppelin"]
    assert terms.rank_texts("bet zeppelin", texts)[0][0] == 50


def test_a_single_fresh_memory_scores_as_one_among_many() -> None:
    ((_, alone),) = terms.rank_texts("coin", ["coin flip"])
    assert alone > 5


def test_no_common_word_is_no_match() -> None:
    assert terms.rank_texts("zeppelin", ["coin flip"]) == []
    assert terms.rank_texts("the of", ["the of"]) == []
    assert terms.rank_texts("coin", []) == []


def test_a_strong_arm_is_not_dragged_down_by_a_weak_one() -> None:
    retrievers = {DENSE: [(B, 0.31), (C, 0.30), (A, 0.29)], KEYWORD: [(A, 20.0), (C, 2.0)]}
    assert [item.id for item in fuse_scores(retrievers, semantic=True)] == [A, C, B]


def test_what_the_dense_arm_does_not_list_counts_as_its_last() -> None:
    retrievers = {DENSE: [(B, 0.5), (C, 0.4)], KEYWORD: [(A, 10.0), (C, 10.0)]}
    scores = {item.id: item.score for item in fuse_scores(retrievers, semantic=True)}
    assert scores[A] == scores[C] > scores[B]


def test_a_far_vector_alone_is_no_match() -> None:
    assert fuse_scores({DENSE: [(A, DENSE_FLOOR - 0.01)]}, semantic=True) == []
    assert fuse_scores({DENSE: [(A, DENSE_FLOOR)]}, semantic=True)[0].id == A


def test_without_a_model_the_words_count_whole() -> None:
    assert fuse_scores({KEYWORD: [(A, HALF_SCORE)]}, semantic=False)[0].score == 0.5
    assert fuse_scores({KEYWORD: [(A, HALF_SCORE)]}, semantic=True)[0].score == pytest.approx(0.5 * (1 - WEIGHT))


def test_every_arm_is_explained() -> None:
    (hit,) = fuse_scores({DENSE: [(A, 0.5)], KEYWORD: [(A, 3.0)]}, semantic=True)
    assert {retriever: (score.rank, score.score) for retriever, score in hit.retrievers.items()} == {
        DENSE: (1, 0.5),
        KEYWORD: (1, 3.0),
    }


@given(ARMS, st.booleans())
def test_scores_are_bounded_sorted_and_each_memory_comes_once(
    retrievers: dict[str, list[tuple[str, float]]], semantic: bool
) -> None:
    fused = fuse_scores(retrievers, semantic=semantic)
    assert all(0 <= item.score <= 1 for item in fused)
    assert [item.score for item in fused] == sorted((item.score for item in fused), reverse=True)
    assert len({item.id for item in fused}) == len(fused)


@given(st.floats(0, 1), st.floats(0, 40), st.floats(0.01, 5))
def test_more_of_either_arm_never_ranks_lower(cosine: float, words: float, more: float) -> None:
    retrievers = {DENSE: [(A, cosine), (B, cosine)], KEYWORD: [(A, words + more), (B, words)]}
    fused = {item.id: item.score for item in fuse_scores(retrievers, semantic=True)}
    assert fused[A] >= fused.get(B, 0.0)


def test_a_turn_counts_more_when_the_turns_after_it_are_about_the_same() -> None:
    places = {A: ("s", 1), B: ("s", 2), C: ("s", 9)}
    retrievers = {KEYWORD: [(B, 9.0), (A, 4.0), (C, 4.0)]}
    fused = {item.id: item for item in fuse_scores(retrievers, semantic=False, places=places)}
    assert fused[A].score > fused[C].score == fused[C].own == fused[A].own


def test_turns_of_another_session_add_nothing() -> None:
    places = {A: ("s", 1), B: ("t", 2)}
    fused = fuse_scores({KEYWORD: [(B, 9.0), (A, 4.0)]}, semantic=False, places=places)
    assert all(item.score == item.own for item in fused)


def test_an_identifier_outranks_any_number_of_words() -> None:
    retrievers = {KEYWORD: [(B, 40.0), (A, 1.0)], EXACT: [(A, 1.0)]}
    assert [item.id for item in fuse_scores(retrievers, semantic=False)] == [A, B]


def test_half_of_the_identifiers_is_less_than_all() -> None:
    fused = fuse_scores({EXACT: [(A, 1.0), (B, 0.5)]}, semantic=True)
    assert [item.id for item in fused] == [A, B]


def test_what_was_said_before_counts_in_part() -> None:
    alone, after = (
        terms.weigh_terms("Since 2016."),
        terms.weigh_terms("Since 2016.", ["How long have you painted?", "Hello"]),
    )
    assert set(after) == {*alone, "paint", "long", "hello"}
    assert after["2016"] > after["paint"] > after["hello"] > 0


def test_a_text_that_asks_counts_less_than_one_that_tells() -> None:
    assert terms.weigh_terms("you paint?")["paint"] < terms.weigh_terms("you paint.")["paint"]
    assert (
        terms.weigh_terms("you paint? [image: a brush]")["paint"]
        < terms.weigh_terms("you paint! [image: a brush]")["paint"]
    )


def test_a_hit_explains_itself() -> None:
    retrievers = {DENSE: RetrieverScore(rank=2, score=0.52), KEYWORD: RetrieverScore(rank=1, score=11.3)}
    record: Any = type("Record", (), dict.fromkeys(MemoryRecord.__dataclass_fields__))()
    hit = Hit(record=record, score=0.3, why=Why(retrievers=retrievers, own=0.5, freshness=0.5))
    assert hit.explain() == "0.30 = dense 0.52 (no. 2), keyword 11.30 (best), later turns +0.10, age x0.50"


def test_ids_are_kept() -> None:
    found = str(uuid4())
    assert fuse_scores({KEYWORD: [(found, 1.0)]}, semantic=False)[0].id == found


def test_a_long_answer_before_does_not_drown_a_short_turn() -> None:
    long = " ".join(f"word{number}" for number in range(terms.MAX_PRECEDING_TERMS + 1))
    assert terms.weigh_terms("Since 2016.", [long]) == terms.weigh_terms("Since 2016.")
    short = " ".join(long.split()[1:])
    assert terms.weigh_terms("Since 2016.", [short]) != terms.weigh_terms("Since 2016.")


def test_a_text_is_long_or_short_among_those_of_its_agent() -> None:
    text = " ".join(f"word{number}" for number in range(100))
    assert terms.weigh_terms(text, usual=120)["word1"] > terms.weigh_terms(text, usual=17)["word1"]
