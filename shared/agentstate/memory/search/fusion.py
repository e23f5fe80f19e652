"""One ranking out of several: a bounded weighted sum of the retrievers' own scores.

Ranks alone (RRF) let a weak retriever drag a strong one down: on LoCoMo's turns RRF with k=60 finds less than keywords
by themselves. Scores brought to 0..1 by fixed functions keep a strong retriever's lead, mean the same in every query,
and so can be held against a threshold: no match gives nothing.

A turn that is answered counts more: what the next turns score adds to its own, since a question and its answer are
about the same. The constants were chosen on LoCoMo's conversations 26, 41, 43, 47 and 49 and confirmed on the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DENSE = "dense"
KEYWORD = "keyword"
EXACT = "exact"
KEYWORD_STORE = "keyword_store"

WEIGHT = 0.4
"""Share of the dense retriever where there is one; from 0.2 to 0.5 the result is flat."""
HALF_SCORE = 12.0
"""The keyword score that counts 0.5; from 8 to 20 the result is flat."""
EXACT_WEIGHT = 0.8
"""How far all identifiers of the query lift a memory that holds them: above all that holds none of them."""
NEXT = (0.3, 0.15)
"""How far the score of the next turn, and of the one after, adds to a turn's own."""
DENSE_FLOOR = 0.25
"""Cosine below which a text that shares no word with the query is not about it: 83 % of the evidence that shares no
word with its question lies above, and 89 % of unrelated pairs below (MiniLM on LoCoMo, 658 and 23,000 pairs)."""

Found = list[tuple[str, float]]
"""(memory, score), best first. Ids are text, as the index tells them: hundreds are compared and few are read."""
Place = tuple[str, int]
"""A turn's session and its number there."""


@dataclass(frozen=True, kw_only=True)
class RetrieverScore:
    """The place that one retriever gave a memory."""

    rank: int
    """1 is the retriever's best."""
    score: float
    """The retriever's own score: a cosine, BM25, or the share of the query's identifiers that the memory holds."""


@dataclass(frozen=True, kw_only=True)
class Fused:
    """A memory with the score of all retrievers together, from 0 to 1."""

    id: str
    score: float
    retrievers: dict[str, RetrieverScore] = field(default_factory=dict)
    own: float = 0.0
    """The part of the score that is its own; the rest comes from the turns after it."""


def fuse_scores(
    found: Mapping[str, Found],
    *,
    semantic: bool,
    places: Mapping[str, Place] | None = None,
    limit: int | None = None,
) -> list[Fused]:
    """Merge the memories that the retrievers found, best first; equal scores by id.

    Args:
        found: by retriever name, (memory, the retriever's score), best first.
        semantic: whether a dense retriever exists. Without it the keyword score counts whole.
        places: of memories that are turns, their place.
        limit: how many are wanted; None: all.
    """
    scores = {name: dict(one) for name, one in found.items()}
    own = _score_alone(scores, WEIGHT if semantic else 0.0)

    # What a turn lacks to a full score is reduced by the scores of the two turns after it.
    places = places or {}
    by_place = {places[memory]: score for memory, score in own.items() if memory in places}
    soon, later = NEXT
    whole = dict(own)
    for memory, score in own.items():
        if memory in places:
            session, number = places[memory]
            lack = 1 - soon * by_place.get((session, number + 1), 0.0)
            lack *= 1 - later * by_place.get((session, number + 2), 0.0)
            whole[memory] = 1 - (1 - score) * lack

    best = sorted(whole, key=lambda memory: (-whole[memory], memory))[:limit]
    ranks = {name: {memory: rank for rank, memory in enumerate(one, start=1)} for name, one in scores.items()}
    return [
        Fused(
            id=memory,
            score=whole[memory],
            retrievers={
                name: RetrieverScore(rank=ranks[name][memory], score=one[memory])
                for name, one in scores.items()
                if memory in one
            },
            own=own[memory],
        )
        for memory in best
    ]


def _score_alone(scores: Mapping[str, Mapping[str, float]], share: float) -> dict[str, float]:
    """Return the score above 0 of each memory that matches, by its own text alone."""
    dense, exact = scores.get(DENSE, {}), scores.get(EXACT, {})
    words = dict(scores.get(KEYWORD, {}))
    for memory, score in scores.get(KEYWORD_STORE, {}).items():
        words[memory] = max(score, words.get(memory, 0.0))
    # What the dense retriever did not list is no nearer than the last that it did. Counted as 0 it would fall behind
    # all that is listed, and good matches by words with it: R@10 on LoCoMo .63 instead of .70.
    unlisted = min(dense.values(), default=0.0)
    own = {}
    for memory in {**dense, **words, **exact}:
        near, word = dense.get(memory, unlisted), words.get(memory, 0.0)
        if near < DENSE_FLOOR and memory not in words and memory not in exact:
            continue
        score = share * min(max(near, 0.0), 1.0) + (1 - share) * word / (word + HALF_SCORE)
        own[memory] = 1 - (1 - score) * (1 - EXACT_WEIGHT * exact.get(memory, 0.0))
    return {memory: score for memory, score in own.items() if score > 0}
