"""Checks of the providers: who embeds and who summarizes, and whether it is who should."""

from __future__ import annotations

from agentstate.doctor.finding import Finding, ok_finding, warn_finding
from agentstate.doctor.system import System
from agentstate.providers import ProviderStatus, choose_embedder, choose_summarizer

_SETTINGS = "`agentstate doctor --settings` lists what decides about it."


def check_embedder(system: System) -> Finding:
    """Who embeds memories; raises ConfigurationError when the chosen one cannot."""
    return _assess_status(choose_embedder(system.settings).describe())


def check_summarizer(system: System) -> Finding:
    """Who summarizes conversations; raises ConfigurationError when the chosen one cannot."""
    return _assess_status(choose_summarizer(system.settings).describe())


def _assess_status(status: ProviderStatus) -> Finding:
    return ok_finding(status.text) if status.ok else warn_finding(status.text, _SETTINGS)
