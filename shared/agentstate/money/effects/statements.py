"""The commits of an effect, each as one Postgres statement with the money that belongs to it.

The first writes the intent and takes its hold, unless the key is in use or a guard has to be asked; the second writes
the outcome under the fence and books it. Each is the whole of its transaction, so an effect costs two round trips. A
statement that cannot do all of it has done nothing; the same is then done step by step, which finds out why.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from agentstate.ids import new_id
from agentstate.money.effects.table import QUERIES, Effect, lease_owner_name, new_effect
from agentstate.money.guards.freezes import no_guard_parameters
from agentstate.money.ledger.postings import Posting
from agentstate.money.ledger.writer import fingerprint_posting, posting_ctes, posting_parameters
from agentstate.state import codec
from agentstate.store.store import Store

_INSERT_HELD = (
    f"WITH {posting_ctes(QUERIES['intent_row'], precondition=QUERIES['may_hold'])} SELECT now FROM ending, decided"  # noqa: S608
)
_END_BOOKED = f"WITH {posting_ctes(QUERIES['outcome_row'])} SELECT now FROM ending, decided"  # noqa: S608


def insert_intent_fast(
    store: Store, values: Mapping[str, Any], hold: Posting | None, *, lease_s: float
) -> Effect | None:
    """Commit an intent and its hold, on Postgres; None when that could not be done and nothing was.

    Args:
        store: the durable store.
        values: the columns of the effect that are not times, by name.
        hold: the posting that takes the money, when there is any.
        lease_s: seconds for which the effect is the caller's.
    """
    if not store.database.has_single_statement_commit:
        return None
    row = {
        **values,
        "params": codec.dumps(values["params"]),
        "baseline": None if values["baseline"] is None else codec.dumps(values["baseline"]),
        "guarantee": str(values["guarantee"]),
        "deadline_ms": str(values["deadline_ms"]),
        "settle_ms": str(values["settle_ms"]),
        "lease_owner": lease_owner_name(),
        "lease_s": f"{lease_s} seconds",
        **no_guard_parameters(values["agent_id"], values["service"]),
    }
    if hold is None:
        written_at = _commit(store, QUERIES["insert_intent"], row)
    else:
        written_at = _commit(store, _INSERT_HELD, row | _posting_values(values["agent_id"], hold))
    return None if written_at is None else new_effect(values, written_at, lease_s=lease_s)


def end_effect_fast(store: Store, agent_id: str, row: Mapping[str, Any], booking: Posting | None) -> bool:
    """Commit an outcome and its booking, on Postgres; False when that could not be done and nothing was.

    Args:
        store: the durable store.
        agent_id: the agent whose books the booking is for.
        row: `id`, `fence`, `state` and `outcome` of the effect.
        booking: the settlement of its money, when any moved.
    """
    values = {**row, "fence": str(row["fence"]), "state": str(row["state"]), "outcome": codec.dumps(row["outcome"])}
    if booking is None:
        return _commit(store, QUERIES["end_effect"], values) is not None
    return _commit(store, _END_BOOKED, values | _posting_values(agent_id, booking)) is not None


def _posting_values(agent_id: str, posting: Posting) -> dict[str, Any]:
    txn_id: UUID = posting.id or new_id()
    return posting_parameters(agent_id, posting, fingerprint_posting(posting), txn_id)


def _commit(store: Store, statement: str, values: Mapping[str, Any]) -> datetime | None:
    row = store.commit_one(statement, values)
    return None if row is None else row[0].astimezone(UTC)
