"""Who counts tokens for a model, and counts that are remembered by what was counted."""

from __future__ import annotations

from functools import cache
from typing import Literal, TypeAlias

from agentstate.errors import ConfigurationError
from agentstate.providers.tokens.estimator import Estimator
from agentstate.providers.tokens.exact import ExactCounter, TokenCounter
from agentstate.providers.tokens.families import Family, family_of
from agentstate.providers.tokens.remembered import CachedByText

How: TypeAlias = Literal["estimate", "exact", "auto"]


class CachedCounter:
    """A counter that counts each text once while it is remembered. Safe to share between threads."""

    def __init__(self, counter: TokenCounter) -> None:
        self.family = counter.family
        self.exact = counter.exact
        self.name = counter.name
        self._count = CachedByText(counter.count)

    def count(self, text: str) -> int:
        """See `TokenCounter.count`."""
        return self._count(text)


def counter_for(model: str | None = None, how: How = "estimate") -> TokenCounter:
    """The counter for a model, one per process and family.

    Args:
        model: a model's name; None and names that are not known are counted as the finest family, Claude's.
        how: `estimate`, `exact`, or `auto`: exact where its package and vocabulary are here.

    Raises:
        ConfigurationError: exact was asked for and is not to be had; says what to do.
    """
    family = family_of(model)
    if how == "estimate":
        return _remembered_estimator(family)
    try:
        return _remembered_exact(family)
    except ConfigurationError:
        if how == "exact":
            raise
        return _remembered_estimator(family)


def estimate_tokens(text: str) -> int:
    """Estimated tokens of `text` for the finest family: at least the true number of nearly every text and model."""
    return _estimator().count(text)


def mean_tokens(text: str) -> float:
    """The same, as often too low as too high: for parts that are added up; see `mean_budget`."""
    return _estimator().mean_count(text)


def mean_budget(limit: float) -> float:
    """What parts may expect in sum, so that `estimate_tokens` of all of them is `limit` at most."""
    return _estimator().mean_budget(limit)


@cache
def _estimator() -> Estimator:
    return Estimator()


@cache
def _remembered_estimator(family: Family) -> TokenCounter:
    return CachedCounter(Estimator(family))


@cache
def _remembered_exact(family: Family) -> TokenCounter:
    return CachedCounter(ExactCounter(family))
