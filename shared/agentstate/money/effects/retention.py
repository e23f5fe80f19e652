"""Thinning effects that ended long ago to tombstones: what tells that their key was used, by what, and how it ended.

A tombstone keeps the key, the fingerprint of the parameters and of the outcome, and the state, for ever, so that a key
is never called again, however late its caller comes back. Parameters, result and notes go. An effect that is open, or
waits for a human, is never thinned; neither are its postings, which are the ledger's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from agentstate.money.effects.table import EffectState
from agentstate.state import codec
from agentstate.store.store import Transaction
from agentstate.store.tables.base import db_time, statement_time
from agentstate.store.tables.money import effects

_THIN = (
    sa.update(effects)
    .where(effects.c.id == sa.bindparam("effect"))
    .values(
        outcome=sa.bindparam("tombstone", type_=effects.c.outcome.type),
        params={},
        baseline=None,
        serial_key=None,
        note=None,
        expired_at=db_time(),
    )
)


def thin_effects(tx: Transaction, *, kept_s: float, limit: int) -> int:
    """Thin up to `limit` effects that ended over `kept_s` seconds ago; return how many were."""
    whole = effects.c.resolved_at.is_not(None) & effects.c.expired_at.is_(None)
    statement = (
        sa.select(effects.c.id, effects.c.state, effects.c.outcome)
        .where(whole, effects.c.resolved_at < statement_time(-kept_s))
        .order_by(effects.c.resolved_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = tx.connection.execute(statement).all()
    if found:
        thinned = [{"effect": row.id, "tombstone": _tombstone(row.state, row.outcome)} for row in found]
        tx.connection.execute(_THIN, thinned)
    return len(found)


def _tombstone(state: str, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of an outcome: whether it was a success, the code of a failure, and the fingerprint of the rest."""
    sha = hashlib.sha256(codec.dumps(outcome).encode()).hexdigest()
    left = {"v": outcome["v"], "ok": state == EffectState.SUCCEEDED, "sha": sha}
    return left if left["ok"] else left | {"code": outcome["code"]}
