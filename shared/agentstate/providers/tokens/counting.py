"""Token counts: the counter of a model, cached counts, and texts cut and packed by tokens."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from agentstate.errors import ConfigurationError
from agentstate.providers.tokens.estimator import Estimator
from agentstate.providers.tokens.exact import ExactCounter
from agentstate.providers.tokens.families import Family, TokenCounter, family_of

T = TypeVar("T")

How: TypeAlias = Literal["estimate", "exact", "auto"]

MAX_CHARS: Final = 4_000_000
"""Size of the cache in characters: about 4 MB of plain English."""
_EDGES: Final = re.compile(r"\s")


class CachedByText(Generic[T]):
    """Cache of a function of one text, least recently used texts dropped first. Safe to share between threads."""

    def __init__(self, function: Callable[[str], T], *, max_chars: int = MAX_CHARS) -> None:
        self._function = function
        self._max_chars = max_chars
        self._chars = 0
        self._known: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, text: str) -> T:
        """Return the function's result for `text`."""
        with self._lock:
            if text in self._known:
                self._known.move_to_end(text)
                return self._known[text]
        result = self._function(text)
        with self._lock:
            if len(text) <= self._max_chars and text not in self._known:
                self._known[text] = result
                self._chars += len(text)
                while self._chars > self._max_chars:
                    self._chars -= len(self._known.popitem(last=False)[0])
        return result


class CachedCounter:
    """A counter with a cache of its counts. Safe to share between threads."""

    def __init__(self, counter: TokenCounter) -> None:
        self.family = counter.family
        self.exact = counter.exact
        self.name = counter.name
        self._count = CachedByText(counter.count)

    def count(self, text: str) -> int:
        """See `TokenCounter.count`."""
        return self._count(text)


def counter_for(model: str | None = None, how: How = "estimate") -> TokenCounter:
    """Return the counter for a model, one per process and family.

    Args:
        model: a model's name; None and names that are not known are counted as the finest family, Claude's.
        how: `estimate`, `exact`, or `auto`: exact where its package and vocabulary are here.

    Raises:
        ConfigurationError: exact was asked for and is not to be had; says what to do.
    """
    family = family_of(model)
    if how == "estimate":
        return _cached_estimator(family)
    try:
        return _cached_exact(family)
    except ConfigurationError:
        if how == "exact":
            raise
        return _cached_estimator(family)


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of `text` for the finest family: for nearly every text and model at least the true number."""
    return _default_estimator().count(text)


def mean_tokens(text: str) -> float:
    """Estimate the mean number of tokens of `text`, to add up parts; see `mean_budget`."""
    return _default_estimator().mean_count(text)


def mean_budget(limit: float) -> float:
    """Return the largest sum of `mean_tokens` of parts that keeps `estimate_tokens` of the whole within `limit`."""
    return _default_estimator().mean_budget(limit)


@cache
def _default_estimator() -> Estimator:
    return Estimator()


@cache
def _cached_estimator(family: Family) -> TokenCounter:
    return CachedCounter(Estimator(family))


@cache
def _cached_exact(family: Family) -> TokenCounter:
    return CachedCounter(ExactCounter(family))


def fit_tokens(text: str, limit: int) -> str:
    """Return the longest head of `text` estimated at `limit` tokens at most, cut at white space if possible."""
    if estimate_tokens(text) <= limit:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if estimate_tokens(text[:middle]) <= limit:
            low = middle
        else:
            high = middle - 1
    if low >= len(text) or text[low].isspace():
        return text[:low].rstrip()
    edges = [match.start() for match in _EDGES.finditer(text, low // 2, low)]
    return text[: edges[-1] if edges else low].rstrip()


def pack_texts(texts: Sequence[str], *, max_inputs: int, max_tokens: int) -> Iterator[range]:
    """Split `texts` into consecutive ranges that fit one provider call; a text over `max_tokens` goes alone."""
    begin, total = 0, 0
    for index, text in enumerate(texts):
        tokens = estimate_tokens(text)
        if index > begin and (index - begin >= max_inputs or total + tokens > max_tokens):
            yield range(begin, index)
            begin, total = index, 0
        total += tokens
    if begin < len(texts):
        yield range(begin, len(texts))
