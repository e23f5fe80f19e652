"""The token estimator: a weight for each pair of classes of characters, fitted to exact counts.

`fitted.json` beside this file holds the weights; `scripts/fit-tokens` makes it, and prints how far off they are. The
estimate is then raised so that in 99 of 100 samples of each length it is not below the true count. It is additive:
of two texts, the second beginning on a line of its own, it is never more than of each of them added up.
"""

from __future__ import annotations

import json
import math
from functools import cache
from importlib.resources import files
from typing import Any, Final

from agentstate.providers.tokens.classes import (
    ASCII,
    CLASSES,
    PAIRS,
    WIDTH,
    Pairs,
    class_number,
    count_pairs,
    count_short_pairs,
    pair_index,
)
from agentstate.providers.tokens.families import Family

FITTED: Final = "fitted.json"
_SHORT: Final = 2_000
"""Characters up to which a text is counted without numpy, which takes a tenth of a second to load."""


class Estimator:
    """Estimates tokens of one family: fast, without a vocabulary, high rather than low."""

    exact = False

    def __init__(self, family: Family = Family.CLAUDE) -> None:
        self.family = family
        self._weights = family_weights(family)
        raised = load_fitted()[family]
        self._margin, self._slack = float(raised["margin"]), float(raised["slack"])

    @property
    def name(self) -> str:
        """What counts, for people."""
        return f"estimate for {self.family}"

    def count(self, text: str) -> int:
        """Estimated tokens of `text`, in nearly all cases at least the true number; 0 for the empty text."""
        if not text:
            return 0
        middle = self.mean_count(text)
        return math.ceil(self._margin * middle + self._slack * math.sqrt(middle))

    def mean_budget(self, count: float) -> float:
        """The largest unraised estimate whose raised one is not above `count`."""
        root = math.sqrt(self._slack**2 + 4 * self._margin * count)
        return float(((root - self._slack) / (2 * self._margin)) ** 2)

    def mean_count(self, text: str) -> float:
        """The estimate before it is raised: as often too low as too high."""
        if len(text) <= _SHORT:
            table = self._weights
            middle = sum(
                count * table[before + WIDTH * after] for (after, before), count in count_short_pairs(text).items()
            )
        else:
            middle = float(count_pairs(text) @ _as_array(self.family))
        return round(middle, 6)


@cache
def load_fitted() -> dict[str, dict[str, Any]]:
    """What was fitted for each family: `weights`, `margin` and `slack`."""
    document: dict[str, Any] = json.loads(files(__package__).joinpath(FITTED).read_text("utf-8"))
    families: dict[str, dict[str, Any]] = document["families"]
    return families


@cache
def family_weights(family: Family) -> list[float]:
    """Tokens for each pair of classes, at the places of `Pairs`."""
    return expand_weights(load_fitted()[family]["weights"])


@cache
def _as_array(family: Family) -> Pairs:
    import numpy as np

    return np.array(family_weights(family))


def weight_labels() -> list[str]:
    """The weights by name: of a class, of a class where another one stood before it, and of pairs within ASCII."""
    pairs = [f"{before}>{after}" for before in ASCII for after in ASCII]
    return [*CLASSES, *(f"*>{name}" for name in CLASSES), *pairs]


def expand_weights(named: dict[str, float]) -> list[float]:
    """Named weights as one weight for each pair."""
    table = [0.0] * PAIRS
    for label, weight in named.items():
        before, _, after = label.rpartition(">")
        if before in CLASSES:
            table[pair_index(before, after)] += weight
        else:
            for name in CLASSES:
                table[pair_index(name, after)] += weight if not before or name != after else 0.0
    return table


def count_features(text: str) -> Pairs:
    """How often each of `weight_labels()` counts in `text`."""
    import numpy as np

    pairs = count_pairs(text).reshape(len(CLASSES), -1)[:, : len(CLASSES)].T
    changed = pairs.copy()
    np.fill_diagonal(changed, 0)
    ascii_numbers = [class_number(name) for name in ASCII]
    return np.concatenate((pairs.sum(0), changed.sum(0), pairs[np.ix_(ascii_numbers, ascii_numbers)].ravel()))
