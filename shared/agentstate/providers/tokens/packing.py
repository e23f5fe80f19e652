"""Texts packed into provider calls under a limit of tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from agentstate.providers.tokens.counting import estimate_tokens

_EDGES: Final = re.compile(r"\s")


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


def pack_texts(texts: Sequence[str], *, max_inputs: int, max_tokens: int) -> Iterator[range]:
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
