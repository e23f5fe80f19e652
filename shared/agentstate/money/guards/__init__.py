"""Guards, the agent's procedural memory: limits that hold before anything happens, in every process.

`Guards` keeps an agent's durable rules and freezes, `max_bet_guard` guards one function of one's own.
"""

from agentstate.money.guards.decorators import max_bet_guard
from agentstate.money.guards.freezes import Freeze
from agentstate.money.guards.guards import Guards, Rules
from agentstate.money.guards.rules import Rule, RuleKind
from agentstate.money.guards.uses import Use

__all__ = ["Freeze", "Guards", "Rule", "RuleKind", "Rules", "Use", "max_bet_guard"]
