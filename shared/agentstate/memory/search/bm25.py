"""How much a term of a text counts (BM25), the same in the index and for the memories that the index lacks as yet.

The index keeps a text as its terms' weights and multiplies them by how rare each term is among the agent's memories.
For a few texts held in memory that rarity is unknown, so they are read as if `PRIOR_TEXTS` others without the term
stood beside them: a memory that is alone still ranks by its words.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from agentstate.memory.search.words import split_terms

K1 = 1.2
B = 0.75
AVERAGE_TERMS = 60
"""Length of a usual text in terms, with what was said before it. A constant scores a text alike whatever stands beside
it; from 30 to 256 the result is flat (LoCoMo, conversations 26, 41, 43, 47, 49)."""
PRECEDING_SHARES = (0.5, 0.3, 0.2)
"""What a term counts that the turn before has, the one before that, and so on: a turn answers what was said before."""
QUESTION_FACTOR = 0.8
"""A text that ends with a question tells less than one that answers it."""
PRIOR_TEXTS = 1_000

_ASKS = re.compile(r"\?\s*(\[[^\]]*\])?\s*\Z")


def term_weights(text: str, before: Sequence[str] = ()) -> dict[str, float]:
    """The weight of each term of `text`, and of the texts said before it, the nearest first."""
    counts: Counter[str] = Counter()
    for share, said in zip((1.0, *PRECEDING_SHARES), (text, *before), strict=False):
        for term in split_terms(said):
            counts[term] += share  # type: ignore[assignment] # a term said before counts in part
    factor = (K1 + 1) * (QUESTION_FACTOR if _ASKS.search(text) else 1.0)
    length = K1 * (1 - B + B * sum(counts.values()) / AVERAGE_TERMS)
    return {term: factor * count / (count + length) for term, count in counts.items()}


def rank_texts(query: str, texts: Sequence[str]) -> list[tuple[int, float]]:
    """(position in `texts`, score) of the texts that share a term with `query`, best first; equal scores in order."""
    wanted = set(split_terms(query)) if texts else set()
    if not wanted:
        return []
    weighed = [term_weights(text) for text in texts]
    rarity = {term: _rarity(sum(term in each for each in weighed), len(texts)) for term in wanted}
    scored = [(position, _score(each, rarity)) for position, each in enumerate(weighed)]
    return sorted((item for item in scored if item[1] > 0), key=lambda item: -item[1])


def _rarity(holding: int, texts: int) -> float:
    everything = texts + PRIOR_TEXTS
    return math.log(1 + (everything - holding + 0.5) / (holding + 0.5))


def _score(weighed: Mapping[str, float], rarity: Mapping[str, float]) -> float:
    return sum(rare * weighed[term] for term, rare in rarity.items() if term in weighed)
