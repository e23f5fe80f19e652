"""Durable memory and money state for AI agents: remember, account, and act once.

`Agent` is the front door, `AsyncAgent` the same for asyncio, `connect` opens a fleet of agents by `Settings`; every
error has the root `AgentStateError`. The names are loaded on first use, so that importing one part does not cost all.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from agentstate.first_use import load_parts

if TYPE_CHECKING:
    from agentstate.agent import Agent, Fleet, connect
    from agentstate.async_agent import AsyncAgent, AsyncFleet, connect_async
    from agentstate.errors import (
        AgentStateError,
        EffectFailed,
        EffectInDoubt,
        EffectInProgress,
        InsufficientFunds,
        InvalidInput,
        KeyReused,
        LimitExceeded,
        NotFound,
        StoreUnavailable,
    )
    from agentstate.money.amounts import Money
    from agentstate.money.effects.operation import Intent, Operation, call
    from agentstate.money.effects.verdicts import BLIND, KEYED, NATURAL, VERIFIABLE, Absent, Applied, Guarantee, Unknown
    from agentstate.money.ledger.postings import Bucket, Line, earn, move, spend
    from agentstate.services.operations import casino, domains, escrow, faucet, trading, wallet
    from agentstate.settings import Settings

__all__ = [  # noqa: RUF022 grouped by what they are for
    # The front door
    "Agent",
    "Fleet",
    "connect",
    "AsyncAgent",
    "AsyncFleet",
    "connect_async",
    "Settings",
    # Money and effects
    "Money",
    "Bucket",
    "Line",
    "earn",
    "move",
    "spend",
    "Intent",
    "Operation",
    "call",
    "BLIND",
    "KEYED",
    "NATURAL",
    "VERIFIABLE",
    "Absent",
    "Applied",
    "Guarantee",
    "Unknown",
    # The operations of the services
    "casino",
    "domains",
    "escrow",
    "faucet",
    "trading",
    "wallet",
    # Errors
    "AgentStateError",
    "EffectFailed",
    "EffectInDoubt",
    "EffectInProgress",
    "InsufficientFunds",
    "InvalidInput",
    "KeyReused",
    "LimitExceeded",
    "NotFound",
    "StoreUnavailable",
]

_HOMES = {
    "Agent": "agentstate.agent",
    "Fleet": "agentstate.agent",
    "connect": "agentstate.agent",
    "AsyncAgent": "agentstate.async_agent",
    "AsyncFleet": "agentstate.async_agent",
    "connect_async": "agentstate.async_agent",
    "AgentStateError": "agentstate.errors",
    "EffectFailed": "agentstate.errors",
    "EffectInDoubt": "agentstate.errors",
    "EffectInProgress": "agentstate.errors",
    "InsufficientFunds": "agentstate.errors",
    "InvalidInput": "agentstate.errors",
    "KeyReused": "agentstate.errors",
    "LimitExceeded": "agentstate.errors",
    "NotFound": "agentstate.errors",
    "StoreUnavailable": "agentstate.errors",
    "Money": "agentstate.money.amounts",
    "Intent": "agentstate.money.effects.operation",
    "Operation": "agentstate.money.effects.operation",
    "call": "agentstate.money.effects.operation",
    "Absent": "agentstate.money.effects.verdicts",
    "Applied": "agentstate.money.effects.verdicts",
    "BLIND": "agentstate.money.effects.verdicts",
    "Guarantee": "agentstate.money.effects.verdicts",
    "KEYED": "agentstate.money.effects.verdicts",
    "NATURAL": "agentstate.money.effects.verdicts",
    "Unknown": "agentstate.money.effects.verdicts",
    "VERIFIABLE": "agentstate.money.effects.verdicts",
    "Bucket": "agentstate.money.ledger.postings",
    "Line": "agentstate.money.ledger.postings",
    "earn": "agentstate.money.ledger.postings",
    "move": "agentstate.money.ledger.postings",
    "spend": "agentstate.money.ledger.postings",
    "casino": "agentstate.services.operations",
    "domains": "agentstate.services.operations",
    "escrow": "agentstate.services.operations",
    "faucet": "agentstate.services.operations",
    "trading": "agentstate.services.operations",
    "wallet": "agentstate.services.operations",
    "Settings": "agentstate.settings",
}
_MODULES = frozenset({"casino", "domains", "escrow", "faucet", "trading", "wallet"})


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    load_parts()
    if name in _MODULES:
        return import_module(f"{_HOMES[name]}.{name}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
