"""Durable memory and money state for AI agents: remember, account, and act once.

`Agent` is the front door, `AsyncAgent` the same for asyncio, `connect` opens a fleet of agents by `Settings`; every
error has the root `AgentStateError`. The names are loaded on first use, so that importing one part does not cost all.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentstate.agent import Agent, Fleet, connect
    from agentstate.async_agent import AsyncAgent
    from agentstate.errors import AgentStateError
    from agentstate.money.amounts import Money
    from agentstate.settings import Settings

__all__ = ["Agent", "AgentStateError", "AsyncAgent", "Fleet", "Money", "Settings", "connect"]

_HOMES = {
    "Agent": "agentstate.agent",
    "AgentStateError": "agentstate.errors",
    "AsyncAgent": "agentstate.async_agent",
    "Money": "agentstate.money.amounts",
    "Fleet": "agentstate.agent",
    "connect": "agentstate.agent",
    "Settings": "agentstate.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
