"""Working memory: what a model sees now, put together from slots under a budget of tokens, and explained.

Nothing here opens a connection: slots are given their content.
"""

from agentstate.memory.context.budget import ContextBudget
from agentstate.memory.context.plan import Fate, Plan, PlannedSlot

__all__ = ["ContextBudget", "Fate", "Plan", "PlannedSlot"]
