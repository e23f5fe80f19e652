"""Checks of embedding and summarizing: the providers in use, memories that failed to embed, and open circuits."""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.doctor.finding import Finding, ok_finding, warn_finding
from agentstate.doctor.system import System
from agentstate.providers import ProviderStatus, choose_embedder, choose_summarizer
from agentstate.store.tables import memories as table
from agentstate.store.tables import provider_circuits
from agentstate.store.tables.base import statement_time

_SETTINGS = "`agentstate doctor --settings` lists the settings that select it."


def check_memories(system: System) -> Finding:
    """Check that memories become searchable: none failed for good, and no embedding provider is paused."""
    circuit = provider_circuits.c
    with system.connect_store() as connection:
        dead = connection.execute(sa.select(sa.func.count()).where(table.c.state == "dead")).scalar_one()
        resting = connection.execute(
            sa.select(circuit.space, circuit.open_until, circuit.error).where(circuit.open_until > statement_time())
        ).first()
    if resting is not None:
        space, until, error = resting
        return warn_finding(
            f"the embedding provider of {space} is paused until {until:%H:%M:%S} UTC: {error}",
            "New memories are found by keywords meanwhile. Correct the key, quota or address if that is the cause.",
        )
    if dead:
        return warn_finding(
            f"{dead:,} memories failed to embed and are not in the index",
            "`agentstate index dead` shows why, `agentstate index revive` tries again. They are found by keywords.",
        )
    return ok_finding("none failed to embed, and the embedding provider may be called")


def check_embedder(system: System) -> Finding:
    """Check the embedder in use; raises ConfigurationError when the configured one cannot be used."""
    return _assess_status(choose_embedder(system.settings).describe())


def check_summarizer(system: System) -> Finding:
    """Check the summarizer in use; raises ConfigurationError when the configured one cannot be used."""
    return _assess_status(choose_summarizer(system.settings).describe())


def _assess_status(status: ProviderStatus) -> Finding:
    return ok_finding(status.text) if status.ok else warn_finding(status.text, _SETTINGS)
