"""Durable memory and money state for AI agents."""
