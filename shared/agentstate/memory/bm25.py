"""Keyword ranking (BM25) of a handful of texts held in memory: the fresh memories that the index lacks as yet.

A few texts tell nothing about how common a word is, so they are read as if `PRIOR_TEXTS` others without the word
stood beside them: a memory that is alone still ranks by its words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from agentstate.memory.words import terms

K1 = 1.2
B = 0.4
AVERAGE_TERMS = 30
"""Length of a usual text in terms. A constant scores a text alike whatever stands beside it."""
PRIOR_TEXTS = 1_000


def rank(query: str, texts: Sequence[str]) -> list[tuple[int, float]]:
    """(position in `texts`, score) of the texts that share a term with `query`, best first; equal scores in order."""
    wanted = set(terms(query))
    if not wanted:
        return []
    counts = [Counter(terms(text)) for text in texts]
    weights = {term: _weight(sum(term in count for count in counts), len(texts)) for term in wanted}
    scored = [(position, _score(count, weights)) for position, count in enumerate(counts)]
    return sorted((item for item in scored if item[1] > 0), key=lambda item: -item[1])


def _weight(holding: int, texts: int) -> float:
    everything = texts + PRIOR_TEXTS
    return math.log(1 + (everything - holding + 0.5) / (holding + 0.5))


def _score(count: Counter[str], weights: dict[str, float]) -> float:
    length = K1 * (1 - B + B * count.total() / AVERAGE_TERMS)
    return sum(weight * count[term] * (K1 + 1) / (count[term] + length) for term, weight in weights.items())
