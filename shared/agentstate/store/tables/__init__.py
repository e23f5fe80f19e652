"""The schema: one module per subject, all in one `metadata`.

Importing this package makes `metadata` whole, which the migrations and their test rely on.
"""

from agentstate.store.tables.base import metadata
from agentstate.store.tables.jobs import jobs

__all__ = ["jobs", "metadata"]
