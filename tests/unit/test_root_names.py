"""The names that `agentstate` itself exports: what the first hour needs, each importable, and nothing else."""

from __future__ import annotations

import subprocess
import sys

import agentstate

NAMES = {
    "Agent", "Fleet", "connect", "AsyncAgent", "AsyncFleet", "connect_async", "Settings",
    "Money", "Bucket", "Line", "earn", "move", "spend", "Intent", "Operation", "call",
    "BLIND", "KEYED", "NATURAL", "VERIFIABLE", "Absent", "Applied", "Guarantee", "Unknown",
    "casino", "domains", "escrow", "faucet", "trading", "wallet",
    "AgentStateError", "EffectFailed", "EffectInDoubt", "EffectInProgress", "InsufficientFunds", "InvalidInput",
    "KeyReused", "LimitExceeded", "NotFound", "StoreUnavailable",
}  # fmt: skip


def test_the_exported_names_are_these() -> None:
    assert set(agentstate.__all__) == NAMES
    assert len(agentstate.__all__) == len(NAMES)


def test_each_name_is_there_and_shown() -> None:
    for name in NAMES:
        assert getattr(agentstate, name) is not None
    assert set(dir(agentstate)) >= NAMES


def test_importing_the_package_loads_no_driver() -> None:
    script = (
        "import sys, agentstate; "
        "print([name for name in ('sqlalchemy', 'redis', 'qdrant_client', 'celery', 'httpx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
