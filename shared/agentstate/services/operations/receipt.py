"""Receipts: what an operation did."""

from __future__ import annotations

from typing import TypeAlias

Receipt: TypeAlias = dict[str, str | int | bool | None]
"""Fit for JSON. Always has `operation`, `reference` (the service's id), and in micro-USDC `debited` (left the agent's
balance at the service), `credited` (came onto it) and `fee` (contained in the two)."""
