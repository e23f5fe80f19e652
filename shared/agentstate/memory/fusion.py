"""One ranking out of several: a bounded weighted sum of the arms' own scores.

Ranks alone (RRF) let a weak arm drag a strong one down: on LoCoMo's turns RRF with k=60 finds less than the keyword
arm by itself. Scores brought to 0..1 by fixed functions keep a strong arm's lead, mean the same in every query, and so
can be held against a threshold: no match gives nothing.

A turn that is answered counts more: what the next turns score adds to its own, since a question and its answer are
about the same. The constants were chosen on LoCoMo's conversations 26, 41, 43, 47 and 49 and confirmed on the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

DENSE = "dense"
KEYWORD = "keyword"
EXACT = "exact"
KEYWORD_STORE = "keyword_store"

WEIGHT = 0.4
"""Share of the dense arm where there is one; from 0.2 to 0.5 the result is flat."""
HALF_SCORE = 12.0
"""The keyword score that counts 0.5; from 8 to 20 the result is flat."""
EXACT_WEIGHT = 0.8
"""How far all identifiers of the query lift a memory that holds them: above all that holds none of them."""
NEXT = (0.3, 0.15)
"""How far the score of the next turn, and of the one after, adds to a turn's own."""
DENSE_FLOOR = 0.25
"""Cosine below which a text that shares no word with the query is not about it: 83 % of the evidence that shares no
word with its question lies above, and 89 % of unrelated pairs below (MiniLM on LoCoMo, 658 and 23,000 pairs)."""

Place = tuple[str, int]
"""A turn's session and its number there."""


@dataclass(frozen=True, kw_only=True)
class ArmScore:
    """Where one arm put a memory."""

    rank: int
    """1 is the arm's best."""
    score: float
    """The arm's own score: a cosine, BM25, or the share of the query's identifiers that the memory holds."""


@dataclass(frozen=True, kw_only=True)
class Fused:
    """A memory with the score of all arms together, from 0 to 1."""

    id: UUID
    score: float
    arms: dict[str, ArmScore] = field(default_factory=dict)
    own: float = 0.0
    """The part of the score that is its own; the rest comes from the turns after it."""


def fuse(
    arms: Mapping[str, Sequence[tuple[UUID, float]]],
    *,
    semantic: bool,
    places: Mapping[UUID, Place] | None = None,
) -> list[Fused]:
    """Merge what the arms found, best first; equal scores by id.

    Args:
        arms: by arm name, (memory, the arm's score), best first.
        semantic: whether a dense arm exists. Without it the keyword score counts whole.
        places: of memories that are turns, where they stand.
    """
    found: dict[UUID, dict[str, ArmScore]] = {}
    for arm, hits in arms.items():
        for rank, (memory, score) in enumerate(hits, start=1):
            found.setdefault(memory, {})[arm] = ArmScore(rank=rank, score=score)
    share = WEIGHT if semantic else 0.0
    # What the dense arm did not list is no nearer than the last that it did. Counted as 0 it would fall behind all
    # that is listed, and good matches by words with it: R@10 on LoCoMo .63 instead of .70.
    unlisted = min((score for _, score in arms.get(DENSE, ())), default=0.0)
    own = {memory: _own(scores, share, unlisted) for memory, scores in found.items() if _is_match(scores)}
    following = _following(own, places or {})
    fused = [
        Fused(id=memory, score=1 - (1 - score) * following.get(memory, 1.0), arms=found[memory], own=score)
        for memory, score in own.items()
        if score > 0
    ]
    return sorted(fused, key=lambda item: (-item.score, item.id))


def _own(arms: dict[str, ArmScore], share: float, unlisted: float) -> float:
    dense = max(arms[DENSE].score if DENSE in arms else unlisted, 0.0)
    keyword = max((arms[arm].score for arm in (KEYWORD, KEYWORD_STORE) if arm in arms), default=0.0)
    score = share * min(dense, 1.0) + (1 - share) * keyword / (keyword + HALF_SCORE)
    exact = arms[EXACT].score if EXACT in arms else 0.0
    return 1 - (1 - score) * (1 - EXACT_WEIGHT * exact)


def _following(own: Mapping[UUID, float], places: Mapping[UUID, Place]) -> dict[UUID, float]:
    """How much of what a turn lacks to a full score is left by the turns after it."""
    at = {places[memory]: score for memory, score in own.items() if memory in places}
    left: dict[UUID, float] = {}
    for memory in own:
        if memory in places:
            session, number = places[memory]
            scores = (at.get((session, number + step), 0.0) for step in range(1, len(NEXT) + 1))
            one, two = (1 - share * score for share, score in zip(NEXT, scores, strict=True))
            left[memory] = one * two
    return left


def _is_match(arms: dict[str, ArmScore]) -> bool:
    if set(arms) == {DENSE}:
        return arms[DENSE].score >= DENSE_FLOOR
    return True
