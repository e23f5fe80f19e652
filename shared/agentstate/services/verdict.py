"""What a verification finds: the operation was applied, was certainly not applied, or it cannot be told yet."""

from __future__ import annotations

from typing import TypeAlias

from agentstate.money.verdicts import Absent, Applied, Unknown, Verdict

__all__ = ["Absent", "Applied", "Receipt", "Unknown", "Verdict"]

Receipt: TypeAlias = dict[str, str | int | bool | None]
"""What an operation did, fit for JSON. Always has `operation`, `reference` (the service's id), and in micro-USDC
`debited` (left the agent's balance at the service), `credited` (came onto it) and `fee` (contained in the two)."""
