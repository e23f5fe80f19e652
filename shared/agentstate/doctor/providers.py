"""Checks of the providers: who embeds and who summarizes, and whether it is who should."""

from __future__ import annotations

from agentstate.doctor.finding import Finding, ok, warn
from agentstate.doctor.system import System
from agentstate.providers import ProviderStatus, choose_embedder, choose_summarizer

_SETTINGS = "`agentstate doctor --settings` lists what decides about it."


def embedder(system: System) -> Finding:
    """Who embeds memories; raises ConfigurationError when the chosen one cannot."""
    return _judged(choose_embedder(system.settings).describe())


def summarizer(system: System) -> Finding:
    """Who summarizes conversations; raises ConfigurationError when the chosen one cannot."""
    return _judged(choose_summarizer(system.settings).describe())


def _judged(status: ProviderStatus) -> Finding:
    return ok(status.text) if status.ok else warn(status.text, _SETTINGS)
