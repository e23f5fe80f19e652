"""Token estimate without a vocabulary: high rather than low, for packing calls and for thresholds.

A sum of character weights plus a part per word, set so that it stays at or above the true count of the most
finely cutting model family in use (about 2.9 bytes a token on chat, 1.9 on JSON with identifiers and amounts,
1.5 on hexadecimal). No byte-level vocabulary has more tokens than the text has bytes: the upper bound.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

_PER_WORD: Final = 0.75
_LOWER: Final = 0.26
_UPPER: Final = 0.7
_DIGIT: Final = 0.85
_MARK: Final = 0.95
_SPACE: Final = 0.02
_NEWLINE: Final = 0.9
_PER_OTHER_BYTE: Final = 0.5
_DENSE: Final = re.compile(r"(?=[A-Za-z_+/=-]*[0-9])[A-Za-z0-9_+/=-]{24,}")
_PER_DENSE_CHAR: Final = 0.97  # base64 is cut at nearly every character
_EDGES: Final = re.compile(r"\s")


def estimate_tokens(text: str) -> int:
    """Estimated tokens of `text`, in nearly all cases at least the true number; 0 for the empty text."""
    if not text:
        return 0
    loose = _DENSE.sub(" ", text)
    dense = (len(text) - len(loose)) * _PER_DENSE_CHAR
    weights = sum(_weight(char) * count for char, count in Counter(loose).items())
    estimate = int(weights + dense + _PER_WORD * len(loose.split())) + 1
    return min(estimate, len(text.encode("utf-8", "surrogatepass")))


def _weight(char: str) -> float:
    if not char.isascii():
        return _PER_OTHER_BYTE * len(char.encode("utf-8", "surrogatepass"))
    if char.islower():
        return _LOWER
    if char.isupper():
        return _UPPER
    if char.isdigit():
        return _DIGIT
    if char == " ":
        return _SPACE
    return _NEWLINE if char.isspace() else _MARK


def fit_tokens(text: str, limit: int) -> str:
    """The longest head of `text` estimated at `limit` tokens at most, cut at white space if there is some."""
    if estimate_tokens(text) <= limit:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if estimate_tokens(text[:middle]) <= limit:
            low = middle
        else:
            high = middle - 1
    return _at_edge(text, low)


def _at_edge(text: str, end: int) -> str:
    if end >= len(text) or text[end].isspace():
        return text[:end].rstrip()
    edges = [match.start() for match in _EDGES.finditer(text, end // 2, end)]
    return text[: edges[-1] if edges else end].rstrip()


def pack(texts: Sequence[str], *, max_inputs: int, max_tokens: int) -> Iterator[range]:
    """Cut `texts` into consecutive runs that one provider call takes; a text over `max_tokens` goes alone."""
    begin, total = 0, 0
    for index, text in enumerate(texts):
        tokens = estimate_tokens(text)
        if index > begin and (index - begin >= max_inputs or total + tokens > max_tokens):
            yield range(begin, index)
            begin, total = index, 0
        total += tokens
    if begin < len(texts):
        yield range(begin, len(texts))
