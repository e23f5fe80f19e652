"""A context of one agent, with the slots that agents usually want: each verb reads the present state and fills one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, Self

from agentstate.clock import utc_now
from agentstate.memory.context import renderers
from agentstate.memory.context.budget import DEFAULT_MAX_TOKENS, ContextBudget
from agentstate.memory.context.headings import format_heading
from agentstate.memory.context.truncation import Keep
from agentstate.providers.tokens import TokenCounter

if TYPE_CHECKING:
    from agentstate.memory.conversation.history import ConversationHistory
    from agentstate.memory.episodes.store import EpisodicStore
    from agentstate.memory.facts.service import AgentMemory
    from agentstate.money.effects.engine import AgentEffects
    from agentstate.money.guards import Guards
    from agentstate.money.reconciliation.breaks import Breaks
    from agentstate.services.agent_services import AgentServices

PORTFOLIO_FRESH_S: Final = 300.0
CONVERSATION: Final = "conversation"
SUMMARY: Final = "conversation_summary"
_MOST_EFFECTS: Final = 50


class AgentParts(Protocol):
    """The parts of an agent that a context reads; `agentstate.Agent` has them."""

    id: str

    @property
    def services(self) -> AgentServices:
        """Its state at the services."""

    @property
    def guards(self) -> Guards:
        """Its limits and freezes."""

    @property
    def effects(self) -> AgentEffects:
        """Its effects."""

    @property
    def episodes(self) -> EpisodicStore:
        """Its episodes."""

    @property
    def memory(self) -> AgentMemory:
        """Its memories."""

    def conversation(self, session: str) -> ConversationHistory:
        """Return one of its conversations."""


class AgentContext(ContextBudget):
    """Working memory of one agent.

    The options that all verbs share are those of `ContextBudget.set`: `priority`, `min_tokens` and `max_tokens` of the
    slot, `keep` (the end that stays when it is cut) and `whole` (whole or not at all).

    Args:
        parts: the agent's parts.
        breaks: differences at the services, of all agents.
        max_tokens: tokens of the built text at most.
        model: the model that will read it, by name; None counts for the family with the most tokens.
        counter: counts tokens.
    """

    def __init__(
        self,
        parts: AgentParts,
        breaks: Breaks,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        *,
        model: str | None = None,
        counter: TokenCounter | None = None,
    ) -> None:
        super().__init__(model, max_tokens, counter=counter, clock=utc_now)
        self._parts = parts
        self._breaks = breaks

    def portfolio(
        self,
        *,
        priority: int = 9,
        fresh_for_s: float | None = PORTFOLIO_FRESH_S,
        min_tokens: int = 0,
        max_tokens: int | None = None,
        keep: Keep = "start",
        whole: bool = False,
    ) -> Self:
        """Add the money at the services with the age of each reading; one older than `fresh_for_s` is unknown."""
        found = self._parts.services.portfolio()
        as_of = renderers.find_newest_reading(found)
        return self.set(
            "portfolio", renderers.render_portfolio(found, fresh_for_s), priority, min_tokens=min_tokens,
            max_tokens=max_tokens, as_of=as_of, fresh_for_s=fresh_for_s if as_of is not None else None, keep=keep,
            whole=whole,
        )  # fmt: skip

    def rules(
        self,
        *,
        priority: int = 10,
        min_tokens: int = 0,
        max_tokens: int | None = None,
        keep: Keep = "start",
        whole: bool = True,
    ) -> Self:
        """Add the limits and freezes in force, whole."""
        text = self._parts.guards.rules().describe()
        return self.set(
            "rules", text, priority, min_tokens=min_tokens, max_tokens=max_tokens, keep=keep, whole=whole
        )  # fmt: skip

    def effects(
        self,
        *,
        priority: int = 8,
        min_tokens: int = 0,
        max_tokens: int | None = None,
        keep: Keep = "start",
        whole: bool = False,
    ) -> Self:
        """Add the effects with an unknown outcome, and the open differences at the services."""
        from agentstate.money.effects.table import ENDED_STATES, EffectState

        effects = self._parts.effects
        listed = [
            effect
            for state in EffectState
            if state not in ENDED_STATES
            for effect in effects.list(state=state, limit=_MOST_EFFECTS)
        ]
        entries = renderers.render_effects(listed, self._breaks.find(agent_id=self._parts.id))
        return self.set(
            "effects", entries, priority, min_tokens=min_tokens, max_tokens=max_tokens, keep=keep, whole=whole
        )  # fmt: skip

    def episodes(
        self,
        limit: int = 20,
        event_type: str | None = None,
        *,
        priority: int = 6,
        min_tokens: int = 0,
        max_tokens: int | None = None,
        keep: Keep = "start",
        whole: bool = False,
    ) -> Self:
        """Add the newest `limit` episodes, newest first, of one type when named."""
        entries = renderers.render_episodes(self._parts.episodes.get_recent(limit, event_type))
        return self.set(
            "episodes", entries, priority, min_tokens=min_tokens, max_tokens=max_tokens, keep=keep, whole=whole
        )  # fmt: skip

    def memories(
        self,
        query: str,
        limit: int = 5,
        *,
        priority: int = 5,
        min_tokens: int = 0,
        max_tokens: int | None = None,
        keep: Keep = "start",
        whole: bool = False,
    ) -> Self:
        """Add the memories that answer `query`, best first."""
        entries = renderers.render_memories(self._parts.memory.recall(query, limit))
        return self.set(
            "memories", entries, priority, min_tokens=min_tokens, max_tokens=max_tokens, keep=keep, whole=whole
        )  # fmt: skip

    def conversation(
        self,
        session: str,
        max_tokens: int = 8_000,
        *,
        priority: int = 7,
        min_tokens: int = 0,
        keep: Keep = "end",
        whole: bool = False,
    ) -> Self:
        """Add a conversation in two slots: its summary, whole, and the newest turns, which stay when they are cut.

        Together they have `max_tokens` at most. Of equal priority, the summary is placed before the turns are.
        """
        headings = sum(self._sizes.line_cost(format_heading(name)) for name in (SUMMARY, CONVERSATION))
        found = self._parts.conversation(session).transcript(max(1, max_tokens - headings))
        self.set(SUMMARY, found.summary, priority, whole=True)
        left = max(1, max_tokens - self._sizes.slot_cost(self._slots[SUMMARY]))
        return self.set(
            CONVERSATION, found.turns, priority, min_tokens=min(min_tokens, left), max_tokens=left, keep=keep,
            whole=whole,
        )  # fmt: skip
