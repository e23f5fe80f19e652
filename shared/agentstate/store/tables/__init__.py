"""The schema: one module per subject, all in one `metadata`.

Importing this package makes `metadata` whole, which the migrations and their test rely on.
"""

from agentstate.store.tables.base import metadata
from agentstate.store.tables.conversation import conversations, summaries, summary_calls, turns
from agentstate.store.tables.episodes import episode_lessons, episode_tombstones, episodes
from agentstate.store.tables.guards import freezes, guard_rules, guard_uses
from agentstate.store.tables.jobs import counters, jobs
from agentstate.store.tables.memory import (
    embedding_batch_items,
    embedding_batches,
    forgotten_memories,
    index_builds,
    memories,
    memory_namespaces,
    memory_shares,
    memory_vectors,
    provider_circuits,
)
from agentstate.store.tables.money import (
    account_snapshots,
    accounts,
    attestations,
    breaks,
    currencies,
    effect_evidence,
    effects,
    entries,
    ledger_transactions,
    portfolio_snapshots,
    recon_cursors,
    recon_runs,
    service_accounts,
)
from agentstate.store.tables.state import (
    agent_state_versions,
    agent_states,
    profile_fields,
    update_groups,
    update_heads,
    updates,
)

__all__ = [
    "account_snapshots",
    "accounts",
    "agent_state_versions",
    "agent_states",
    "attestations",
    "breaks",
    "conversations",
    "counters",
    "currencies",
    "effect_evidence",
    "effects",
    "embedding_batch_items",
    "embedding_batches",
    "entries",
    "episode_lessons",
    "episode_tombstones",
    "episodes",
    "forgotten_memories",
    "freezes",
    "guard_rules",
    "guard_uses",
    "index_builds",
    "jobs",
    "ledger_transactions",
    "memories",
    "memory_namespaces",
    "memory_shares",
    "memory_vectors",
    "metadata",
    "portfolio_snapshots",
    "profile_fields",
    "provider_circuits",
    "recon_cursors",
    "recon_runs",
    "service_accounts",
    "summaries",
    "summary_calls",
    "turns",
    "update_groups",
    "update_heads",
    "updates",
]
