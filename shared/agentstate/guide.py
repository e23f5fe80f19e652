"""The guide's classes with the guide's names and argument order, each a few lines over the library's own."""

from __future__ import annotations

from typing import Any

from agentstate.memory.facts.service import MemoryService
from agentstate.memory.search.hits import Recall


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
