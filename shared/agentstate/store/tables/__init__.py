"""The schema: one module per subject, all in one `metadata`.

Importing this package makes `metadata` whole, which the migrations and their test rely on.
"""

from agentstate.store.tables.base import metadata
from agentstate.store.tables.conversation import conversations, summaries, turns
from agentstate.store.tables.jobs import jobs
from agentstate.store.tables.memory import embeddings, memories

__all__ = ["conversations", "embeddings", "jobs", "memories", "metadata", "summaries", "turns"]
