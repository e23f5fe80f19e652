"""Tokens: how many a text has for which models, and how texts are packed and cut by them.

Estimated by default, without any vocabulary; exact where a vocabulary is on this machine; never a download.
"""

from agentstate.providers.tokens.counting import (
    CachedCounter,
    counter_for,
    estimate_tokens,
    fit_tokens,
    mean_budget,
    mean_tokens,
    pack_texts,
)
from agentstate.providers.tokens.estimator import Estimator
from agentstate.providers.tokens.exact import ExactCounter
from agentstate.providers.tokens.families import Family, TokenCounter, family_of

__all__ = [
    "CachedCounter",
    "Estimator",
    "ExactCounter",
    "Family",
    "TokenCounter",
    "counter_for",
    "estimate_tokens",
    "family_of",
    "fit_tokens",
    "mean_budget",
    "mean_tokens",
    "pack_texts",
]
