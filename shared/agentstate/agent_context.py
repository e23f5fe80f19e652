"""A context of one agent, with the slots that agents usually want: each verb reads the present state and fills one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from agentstate.clock import utc_now
from agentstate.memory.context import renderers
from agentstate.memory.context.budget import DEFAULT_MAX_TOKENS, ContextBudget
from agentstate.memory.context.headings import format_heading
from agentstate.providers.tokens import counter_for

if TYPE_CHECKING:
    from agentstate.agent import Agent

PORTFOLIO_FRESH_S: Final = 300.0
CONVERSATION: Final = "conversation"
SUMMARY: Final = "conversation_summary"
_MOST_EFFECTS: Final = 50


class AgentContext(ContextBudget):
    """Working memory of one agent. Options that a verb does not name are those of `ContextBudget.set`."""

    def __init__(self, agent: Agent, max_tokens: int = DEFAULT_MAX_TOKENS, *, model: str | None = None) -> None:
        super().__init__(
            model, max_tokens, counter=counter_for(model, agent.fleet.runtime.settings.token_counter), clock=utc_now
        )
        self._agent = agent

    def portfolio(self, *, priority: int = 9, fresh_for_s: float | None = PORTFOLIO_FRESH_S, **options: Any) -> Self:
        """The money at the services with the age of each reading; one older than `fresh_for_s` counts as unknown."""
        found = self._agent.services.portfolio()
        as_of = renderers.find_newest_reading(found)
        limit = fresh_for_s if as_of is not None else None
        entries = renderers.render_portfolio(found, fresh_for_s)
        return self.set("portfolio", entries, priority, as_of=as_of, fresh_for_s=limit, **options)

    def rules(self, *, priority: int = 10, **options: Any) -> Self:
        """The limits and freezes in force, whole."""
        return self.set("rules", self._agent.guards.rules().describe(), priority, **({"whole": True} | options))

    def effects(self, *, priority: int = 8, **options: Any) -> Self:
        """Effects whose outcome is not known yet, and differences at the services that nobody has explained."""
        from agentstate.money.effects.table import ENDED_STATES, EffectState
        from agentstate.money.reconciliation.breaks import Breaks

        not_ended = [state for state in EffectState if state not in ENDED_STATES]
        effects = self._agent.effects
        listed = [effect for state in not_ended for effect in effects.list(state=state, limit=_MOST_EFFECTS)]
        breaks = Breaks(self._agent.fleet.runtime.store).find(agent_id=self._agent.id)
        entries = renderers.render_effects(listed, breaks)
        return self.set("effects", entries, priority, **options)

    def episodes(self, limit: int = 20, event_type: str | None = None, *, priority: int = 6, **options: Any) -> Self:
        """The newest `limit` episodes, newest first, of one type when named."""
        found = self._agent.episodes.get_recent(limit, event_type)
        return self.set("episodes", renderers.render_episodes(found), priority, **options)

    def memories(self, query: str, limit: int = 5, *, priority: int = 5, **options: Any) -> Self:
        """The memories that answer `query`, best first."""
        return self.set(
            "memories", renderers.render_memories(self._agent.memory.recall(query, limit)), priority, **options
        )

    def conversation(self, session: str, max_tokens: int = 8_000, *, priority: int = 7, **options: Any) -> Self:
        """A conversation, in two slots: its summary, whole, and the newest turns, which stay when they are cut.

        Together they have `max_tokens` at most. Of equal priority, the summary is placed before the turns are.
        """
        headings = sum(self._sizes.line_cost(format_heading(name)) for name in (SUMMARY, CONVERSATION))
        found = self._agent.conversation(session).transcript(max(1, max_tokens - headings))
        self.set(SUMMARY, found.summary, priority, whole=True)
        left = max(1, max_tokens - self._sizes.slot_cost(self._slots[SUMMARY]))
        return self.set(CONVERSATION, found.turns, priority, max_tokens=left, **({"keep": "end"} | options))
