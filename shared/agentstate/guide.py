"""The guide's classes with the guide's names and call shapes, over the library's own code.

The guide is the article whose design this project implements; `docs/guide-defects.md` lists where its code fails. What
has the guide's name and shape already is handed on from here; the rest are a few lines over the library's verbs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agentstate.memory.context.budget import ContextBudget
from agentstate.memory.conversation import ConversationHistory
from agentstate.memory.episodes.store import EpisodicStore
from agentstate.memory.facts.service import MemoryService
from agentstate.memory.search.hits import Recall
from agentstate.money.effects.engine import AgentEffects
from agentstate.money.effects.operation import call
from agentstate.money.effects.table import Effect
from agentstate.money.guards import max_bet_guard
from agentstate.money.ledger.ledger import TransactionLedger
from agentstate.services.cache.state_cache import StateCache
from agentstate.state.agent_db import AgentDB
from agentstate.state.agent_state import AgentState
from agentstate.state.profile import AgentProfile
from agentstate.state.updates import StateSync

__all__ = [
    "AgentDB",
    "AgentProfile",
    "AgentState",
    "CheckpointManager",
    "ContextBudget",
    "ConversationHistory",
    "EpisodicStore",
    "HybridMemory",
    "SemanticMemory",
    "StateCache",
    "StateSync",
    "TransactionLedger",
    "max_bet_guard",
]


class SemanticMemory:
    """The guide's semantic memory; see `AgentMemory` for all options.

    Example:
        memory = SemanticMemory(fleet.runtime.memory)
        memory.store("ag_7", "Flat stakes beat doubling up.", {"week": 47})
        memory.recall("ag_7", "stakes", top_k=3)
    """

    def __init__(self, memory: MemoryService) -> None:
        self._memory = memory

    def store(self, agent_id: str, content: str, metadata: dict[str, Any] | None = None) -> str:
        """Store `content` as a fact of `agent_id`; return its id. Raises as `AgentMemory.remember`."""
        return str(self._memory.of(agent_id).remember(content, metadata=metadata).id)

    def recall(self, agent_id: str, query: str, top_k: int = 5) -> Recall:
        """Return the memories of `agent_id` that answer `query`, best first. Raises as `AgentMemory.recall`."""
        return self._memory.of(agent_id).recall(query, top_k)


class HybridMemory:
    """The guide's search by meaning and words together, which every recall is; see `AgentMemory.recall`."""

    def __init__(self, memory: MemoryService) -> None:
        self._memory = memory

    def search(self, agent_id: str, query: str, top_k: int = 5) -> Recall:
        """Return the memories of `agent_id` that answer `query`, best first. Raises as `AgentMemory.recall`."""
        return self._memory.of(agent_id).recall(query, top_k)


class CheckpointManager:
    """Executes operations of one agent at most once each; see `AgentEffects`.

    Unlike the guide's, the key is the caller's and not made from the parameters: two equal bets that are both meant
    have two keys, and a retry of one has the same. A result of None, {} or 0 counts as a result.

    Example:
        CheckpointManager(agent.effects).execute_once("bet:1", "bet", {"amount": "2.50"}, place_bet)
    """

    def __init__(self, effects: AgentEffects) -> None:
        self._effects = effects

    def execute_once(
        self,
        key: str,
        operation: str,
        params: Mapping[str, Any],
        fn: Callable[..., Any],
        *,
        service: str = "wallet",
        key_as: str | None = None,
        **options: Any,
    ) -> Any:
        """Call `fn(**params)` once for `key`; return its stored result when it was called before.

        Args:
            key: the caller's name for this very execution.
            operation: what is executed.
            params: keyword arguments of `fn`; JSON, Decimal or datetime values.
            fn: makes the call.
            service: where it happens.
            key_as: the keyword under which `fn` takes the key for the remote, when it takes one.
            **options: as `call` (guarantee, hold, verify, postings, ...).

        Raises:
            As `AgentEffects.execute_once`.
        """

        def send(remote_key: str) -> Any:
            return fn(**params, **({} if key_as is None else {key_as: remote_key}))

        return self._effects.execute_once(key, call(send, service=service, name=operation, params=params, **options))

    def already_executed(self, key: str) -> Effect | None:
        """Return the effect under `key` when it has ended, with its `outcome`; None before that."""
        effect = self._effects.find(key)
        return effect if effect is not None and effect.is_ended else None
