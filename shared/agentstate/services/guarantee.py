"""What a service lets us promise about an operation that was cut off: four classes, declared per operation."""

from __future__ import annotations

from agentstate.money.verdicts import Guarantee

__all__ = ["Guarantee"]
