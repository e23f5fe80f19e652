"""Adapters to frameworks; each needs its extra and is imported by its own name, such as `integrations.langgraph`."""
