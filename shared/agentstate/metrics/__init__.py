"""Metrics for Prometheus, read from the durable store when they are asked for.

What the store knows is true for the whole fleet, whatever died or was started again. Only what is too frequent to be
written each time is counted by each process, which adds it to the store every half minute (`store.tallies`).
"""

from agentstate.metrics.exposition import make_registry, render_metrics, serve_metrics
from agentstate.metrics.measures import MEASURES, Measure

__all__ = ["MEASURES", "Measure", "make_registry", "render_metrics", "serve_metrics"]
