"""Checks of search: Qdrant and its size, the providers in use, memories that failed to embed, and open circuits."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import sqlalchemy as sa
from packaging.version import Version

from agentstate.doctor.finding import Finding, fail_finding, ok_finding, warn_finding
from agentstate.doctor.system import System
from agentstate.errors import AgentStateError
from agentstate.providers import ProviderStatus, choose_embedder, choose_summarizer
from agentstate.store.tables import memories as table
from agentstate.store.tables import provider_circuits
from agentstate.store.tables.base import statement_time

OLDEST = Version("1.20")
"""Keyword search with scores came with Qdrant 1.20."""
ENGINE_CEILING = 100_000
"""Points up to which the one-machine engine answers in a few milliseconds (measured with 384 numbers a vector)."""

_PROVIDER_REMEDY = "`agentstate doctor --settings` lists the settings that select it."
_UP = "Start Qdrant, and check AGENTSTATE_QDRANT_URL and AGENTSTATE_QDRANT_API_KEY. `make up` starts the engine."


def check_qdrant(system: System) -> Finding:
    """Check that Qdrant answers, accepts our key, and can hold the number of points."""
    try:
        about, points = system.query_qdrant("/"), points_by_collection(system)
    except AgentStateError as error:
        return fail_finding(error.message, f"{_UP} Memories are kept and will be indexed later.")
    return assess_qdrant(about, sum(points.values()))


def points_by_collection(system: System) -> dict[str, int]:
    """Return the number of points of each collection; raise IndexUnavailable."""
    names = [item["name"] for item in system.query_qdrant("/collections")["result"]["collections"]]
    return {
        name: int(system.query_qdrant(f"/collections/{name}")["result"]["points_count"] or 0) for name in sorted(names)
    }


def engine_of(about: dict[str, Any]) -> str | None:
    """Return the version of the one-machine engine; None for a server."""
    return about.get("engine")


def assess_qdrant(about: dict[str, Any], points: int) -> Finding:
    """Return the finding about a server's version and its number of points."""
    version, engine = str(about.get("version", "0")), engine_of(about)
    if Version(version) < OLDEST:
        return fail_finding(f"Qdrant {version}", "Use Qdrant 1.20 or newer: keyword search needs it.")
    if engine is not None:
        found = f"one-machine engine ({engine}), {points:,} of about {ENGINE_CEILING:,} points"
        if points > ENGINE_CEILING:
            remedy = (
                "Move to a Qdrant server: set AGENTSTATE_QDRANT_URL; workers fill its index from the durable store."
            )
            return warn_finding(found, remedy)
        return ok_finding(found)
    found, server, client = (
        f"Qdrant {version}, {points:,} points",
        Version(version),
        Version(metadata.version("qdrant-client")),
    )
    if server.major != client.major or abs(server.minor - client.minor) > 1:
        return warn_finding(found, f"qdrant-client here is {client}; keep both within one minor version.")
    return ok_finding(found)


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
    return ok_finding(status.text) if status.ok else warn_finding(status.text, _PROVIDER_REMEDY)
