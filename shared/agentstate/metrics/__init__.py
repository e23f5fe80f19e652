"""Metrics for Prometheus, read from the durable store when they are asked for.

No process counts anything: what the store knows is true for the whole fleet, whatever died or was started again.
"""

from agentstate.metrics.exposition import exposition, registry, serve
from agentstate.metrics.measures import MEASURES, Measure

__all__ = ["MEASURES", "Measure", "exposition", "registry", "serve"]
