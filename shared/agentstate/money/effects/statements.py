"""The two commits of an effect, each as one Postgres statement, with the money that belongs to it.

The first writes the intent and takes its hold, unless the key is in use or a guard has to be asked; the second writes
the outcome under the fence and books it. Each is the whole of its transaction, so an effect costs two round trips. When
a statement finds that it cannot do all of it, it has done nothing: the same is then done step by step, which finds out
why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from agentstate.ids import new_id
from agentstate.money.effects.table import EffectState, owner_name
from agentstate.money.guards.freezes import NO_GUARD_BINDS, no_guard_parameters
from agentstate.money.ledger.posting_statement import posting_ctes, posting_parameters
from agentstate.money.ledger.postings import Posting
from agentstate.money.ledger.writer import fingerprint_posting
from agentstate.state import codec
from agentstate.store.store import Store

_FREE = f"""
    NOT EXISTS (SELECT FROM effects WHERE agent_id = %(agent_id)s AND key = %(key)s) AND {NO_GUARD_BINDS}"""

_INTEND = """
        INSERT INTO effects (
            id, agent_id, key, service, operation, params, params_sha, remote_key, guarantee, state, deadline_ms,
            settle_ms, baseline, serial_key, hold_id, lease_owner, lease_until, next_verify_at, created_at, called_at
        )
        SELECT %(id)s::uuid, %(agent_id)s, %(key)s, %(service)s, %(operation)s, %(params)s::jsonb,
               %(params_sha)s::bytea, %(remote_key)s, %(guarantee)s, 'intent', %(deadline_ms)s::integer,
               %(settle_ms)s::integer, %(baseline)s::jsonb, %(serial_key)s, %(hold_id)s::uuid, %(lease_owner)s,
               now + %(lease_s)s::interval, now + %(lease_s)s::interval, now, now
        FROM ending WHERE possible ON CONFLICT DO NOTHING RETURNING id"""

# The states that cannot be ended are named, not those that can: a planner that finds the latter takes the index of open
# effects, and walks through all that have left it.
_END = """
        UPDATE effects SET state = %(state)s, outcome = %(outcome)s::jsonb, resolved_at = now, lease_owner = NULL,
               lease_until = NULL, next_verify_at = NULL, note = NULL
        FROM ending
        WHERE possible AND id = %(id)s::uuid AND fence = %(fence)s::bigint
              AND state NOT IN ('ready', 'manual', 'succeeded', 'failed')
        RETURNING id"""

_NO_MONEY = "ending AS MATERIALIZED (SELECT {possible} AS possible, clock_timestamp() AS now), decided AS ({decision})"
_INTENT = "WITH {} SELECT now FROM ending, decided"
# No look for the key first: the insert finds it out, and there is no account to be left untouched.
_INTENT_FREE = _INTENT.format(_NO_MONEY.format(possible=NO_GUARD_BINDS, decision=_INTEND))
_INTENT_HELD = _INTENT.format(posting_ctes(_INTEND, locking=f"WHERE {_FREE}"))
_OUTCOME = "WITH {} SELECT now FROM ending, decided"
_OUTCOME_FREE = _OUTCOME.format(_NO_MONEY.format(possible="true", decision=_END))
_OUTCOME_BOOKED = _OUTCOME.format(posting_ctes(_END))


def intend(store: Store, values: Mapping[str, Any], hold: Posting | None, *, lease_s: float) -> datetime | None:
    """Write an intent and its hold; return when, None when that could not be done and nothing was.

    Args:
        store: on Postgres.
        values: the columns of the effect that are not times, by name.
        hold: the posting that takes the money, when there is any.
        lease_s: for how many seconds the effect is the caller's.
    """
    row = {
        **values,
        "params": codec.dumps(values["params"]),
        "baseline": None if values["baseline"] is None else codec.dumps(values["baseline"]),
        "guarantee": str(values["guarantee"]),
        "deadline_ms": str(values["deadline_ms"]),
        "settle_ms": str(values["settle_ms"]),
        "lease_owner": owner_name(),
        "lease_s": f"{lease_s} seconds",
        **no_guard_parameters(values["agent_id"], values["service"]),
    }
    if hold is None:
        return _when(store, _INTENT_FREE, row)
    return _when(store, _INTENT_HELD, row | _posted(values["agent_id"], hold))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """An outcome, to be written under the fence that was claimed."""

    effect_id: UUID
    fence: int
    state: EffectState
    outcome: Mapping[str, Any]


def end(store: Store, agent_id: str, ending: Ending, booking: Posting | None) -> bool:
    """Write an outcome and book it; False when that could not be done and nothing was."""
    row = {
        "id": ending.effect_id,
        "fence": str(ending.fence),
        "state": str(ending.state),
        "outcome": codec.dumps(ending.outcome),
    }
    if booking is None:
        return _when(store, _OUTCOME_FREE, row) is not None
    return _when(store, _OUTCOME_BOOKED, row | _posted(agent_id, booking)) is not None


def _posted(agent_id: str, posting: Posting) -> dict[str, Any]:
    return posting_parameters(agent_id, posting, fingerprint_posting(posting), posting.id or new_id())


def _when(store: Store, statement: str, values: Mapping[str, Any]) -> datetime | None:
    row = store.commit_one(statement, values)
    return None if row is None else row[0].astimezone(UTC)
