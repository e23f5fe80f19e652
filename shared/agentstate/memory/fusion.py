"""One ranking out of several: a bounded weighted sum of the arms' own scores.

Ranks alone (RRF) let a weak arm drag a strong one down: on LoCoMo's turns RRF with k=60 finds less than the keyword
arm by itself. Scores brought to 0..1 by fixed functions keep a strong arm's lead, mean the same in every query, and so
can be held against a threshold: no match gives nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

DENSE = "dense"
KEYWORD = "keyword"
KEYWORD_STORE = "keyword_store"

WEIGHT = 0.5
"""Share of the dense arm where there is one; from 0.3 to 0.6 the result is flat (LoCoMo)."""
HALF_SCORE = 10.0
"""The keyword score that counts 0.5."""
DENSE_FLOOR = 0.15
"""Cosine below which a text that shares no word with the query is not about it."""


@dataclass(frozen=True, kw_only=True)
class ArmScore:
    """Where one arm put a memory."""

    rank: int
    """1 is the arm's best."""
    score: float
    """The arm's own score: a cosine, or BM25."""


@dataclass(frozen=True, kw_only=True)
class Fused:
    """A memory with the score of all arms together, from 0 to 1."""

    id: UUID
    score: float
    arms: dict[str, ArmScore] = field(default_factory=dict)


def fuse(arms: Mapping[str, Sequence[tuple[UUID, float]]], *, semantic: bool) -> list[Fused]:
    """Merge what the arms found, best first; equal scores by id.

    Args:
        arms: by arm name, (memory, the arm's score), best first.
        semantic: whether a dense arm exists. Without it the keyword score counts whole.
    """
    found: dict[UUID, dict[str, ArmScore]] = {}
    for arm, hits in arms.items():
        for rank, (memory, score) in enumerate(hits, start=1):
            found.setdefault(memory, {})[arm] = ArmScore(rank=rank, score=score)
    share = WEIGHT if semantic else 0.0
    # What the dense arm did not list is no nearer than the last that it did. Counted as 0 it would fall behind all
    # that is listed, and good matches by words with it: R@10 on LoCoMo .63 instead of .70.
    unlisted = min((score for _, score in arms.get(DENSE, ())), default=0.0)
    fused = [Fused(id=memory, score=_score(scores, share, unlisted), arms=scores) for memory, scores in found.items()]
    return sorted((item for item in fused if _is_match(item)), key=lambda item: (-item.score, item.id))


def _score(arms: dict[str, ArmScore], share: float, unlisted: float) -> float:
    dense = max(arms[DENSE].score if DENSE in arms else unlisted, 0.0)
    keyword = max((arms[arm].score for arm in (KEYWORD, KEYWORD_STORE) if arm in arms), default=0.0)
    return share * min(dense, 1.0) + (1 - share) * keyword / (keyword + HALF_SCORE)


def _is_match(item: Fused) -> bool:
    if KEYWORD in item.arms or KEYWORD_STORE in item.arms:
        return item.score > 0
    return item.arms[DENSE].score >= DENSE_FLOOR
