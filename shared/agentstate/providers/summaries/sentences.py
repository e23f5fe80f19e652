"""Sentences of a text and their weight by SumBasic, which prefers the words of the whole text.

A sentence weighs as much as its words are frequent; once a sentence is taken, its words count less, so that
the next one adds something new. On chat it does better than graph rankers, which are no better than chance.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

_END: Final = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])[\"')\]]*\s+|\n+")
_WORD: Final = re.compile(r"[^\W\d_]{3,}")
_STOP: Final = frozenset(
    re.findall(
        r"\w+",
        """
        about after again all also and any are because been before being but can could did does doing
        don for from get got had has have having her here hers him his how into its just know like more
        most not now off once only other our out over own really same she should some such than that the
        their them then there these they this those through too under until very was way well were what
        when where which while who why will with would yeah yes you your let one thing things going good
        great okay thanks thank hey wow
        """,
    )
)


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, verbatim, without surrounding white space; line breaks end a sentence."""
    return [stripped for part in _END.split(text) if (stripped := part.strip())]


def content_words(text: str) -> list[str]:
    """Lower-case words of three letters and more that are not stop words."""
    return [word for word in _WORD.findall(text.lower()) if word not in _STOP]


def rank_by_weight(candidates: Sequence[str]) -> Iterator[int]:
    """Indices of the candidates in the order in which SumBasic takes them; empty ones are left out."""
    bags = [content_words(candidate) for candidate in candidates]
    counts = Counter(word for bag in bags for word in bag)
    total = sum(counts.values())
    weights = {word: count / total for word, count in counts.items()}
    left = {index for index, bag in enumerate(bags) if bag}
    while left:
        best = max(left, key=lambda index: (sum(weights[word] for word in bags[index]) / len(bags[index]), -index))
        yield best
        left.discard(best)
        for word in set(bags[best]):
            weights[word] *= weights[word]
