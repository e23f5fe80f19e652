"""Working memory: the prompt of a model, built from slots within a token budget, with an explanation.

Nothing here opens a connection: slots are given their content.
"""

from agentstate.memory.context.budget import ContextBudget
from agentstate.memory.context.plan import Fate, Plan, PlannedSlot

__all__ = ["ContextBudget", "Fate", "Plan", "PlannedSlot"]
