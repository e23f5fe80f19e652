"""The effects table: one function per change of state, each guarded by the fence.

A claim raises the fence by one, and whoever changes a row names the fence that it claimed, so a process that lost its
lease cannot change what another one has taken over.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.errors import NotFound
from agentstate.ids import new_id
from agentstate.money.effects.operation import Intent
from agentstate.state import codec
from agentstate.store.queries import load_queries
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.base import db_time, statement_time
from agentstate.store.tables.money import effect_evidence, effects
from agentstate.store.upsert import insert_returning


class EffectState(StrEnum):
    """State of an effect."""

    INTENT = "intent"
    """Written down; the call is being made, or was when its process ended."""
    READY = "ready"
    """Certainly not sent, or verified absent: may be called without looking."""
    IN_DOUBT = "in_doubt"
    """The call may or may not have happened; being looked up."""
    MANUAL = "manual"
    """Looking did not tell in time; a human has to. Its money stays held."""
    SUCCEEDED = "succeeded"
    """Happened; the result is stored. Final."""
    FAILED = "failed"
    """Certainly did not happen. Final."""


Params: TypeAlias = Mapping[str, Any]
"""Parameters of a call, by name."""

OPEN_STATES = (EffectState.INTENT, EffectState.READY, EffectState.IN_DOUBT)
ENDED_STATES = (EffectState.SUCCEEDED, EffectState.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """An effect as it stood at `read_at` on the database's clock."""

    id: UUID
    agent_id: str
    key: str
    service: str
    operation: str
    params: Params
    params_sha: bytes
    remote_key: str
    guarantee: str
    state: EffectState
    attempt: int
    fence: int
    lease_until: datetime | None
    deadline_ms: int
    settle_ms: int
    baseline: Any
    serial_key: str | None
    hold_id: UUID | None
    outcome: Mapping[str, Any] | None
    verify_attempts: int
    next_verify_at: datetime | None
    note: str | None
    created_at: datetime
    called_at: datetime
    resolved_at: datetime | None
    expired_at: datetime | None
    read_at: datetime

    @property
    def is_ended(self) -> bool:
        """True if the outcome is known for good."""
        return self.state in ENDED_STATES

    @property
    def is_leased(self) -> bool:
        """True if a process is working on it."""
        return self.lease_until is not None and self.lease_until > self.read_at

    @property
    def settles_at(self) -> datetime:
        """The time from which "absent" is conclusive."""
        return self.called_at + timedelta(milliseconds=self.deadline_ms + self.settle_ms)

    def to_intent(self) -> Intent:
        """Return the call as its operation is given it."""
        return Intent(
            agent_id=self.agent_id,
            key=self.key,
            remote_key=self.remote_key,
            params=self.params,
            attempt=self.attempt,
            called_at=self.called_at,
            baseline=self.baseline,
        )


_FIELDS = [name for name in Effect.__dataclass_fields__ if name != "read_at"]


def lease_owner_name() -> str:
    """Return the name of this process as the owner of leases."""
    return f"{socket.gethostname()[:100]}:{os.getpid()}"


def new_effect(values: Mapping[str, Any], now: datetime, *, lease_s: float) -> Effect:
    """Return the effect of an intent that was written `now` with these columns."""
    until = now + timedelta(seconds=lease_s)
    return Effect(
        **values,
        state=EffectState.INTENT,
        attempt=1,
        fence=1,
        lease_until=until,
        outcome=None,
        verify_attempts=0,
        next_verify_at=until,
        note=None,
        created_at=now,
        called_at=now,
        resolved_at=None,
        expired_at=None,
        read_at=now,
    )


def insert_effect(tx: Transaction, values: Mapping[str, Any], *, lease_s: float) -> Effect | None:
    """Write the intent with a lease of `lease_s` seconds; None when its key, or its serial key, is taken."""
    row = {
        **values,
        "state": EffectState.INTENT,
        "lease_owner": lease_owner_name(),
        "lease_until": db_time(lease_s),
        "next_verify_at": db_time(lease_s),
        "created_at": db_time(),
        "called_at": db_time(),
    }
    written = insert_returning(tx, effects, row, effects.c.created_at)
    return None if written is None else new_effect(values, written.created_at, lease_s=lease_s)


def find_by_key(connection: Connection, agent_id: str, key: str) -> Effect | None:
    """Return the effect of an agent under its key, None when there is none."""
    return _one(connection, (effects.c.agent_id == agent_id) & (effects.c.key == key))


def find_by_id(connection: Connection, effect_id: UUID) -> Effect | None:
    """Return one effect by id, None when there is none."""
    return _one(connection, effects.c.id == effect_id)


def load_effect(connection: Connection, effect_id: UUID) -> Effect:
    """Return one effect by id; raises NotFound."""
    found = find_by_id(connection, effect_id)
    if found is None:
        raise NotFound(f"there is no effect {effect_id}.")
    return found


def find_blocking(connection: Connection, agent_id: str, serial_key: str) -> Effect | None:
    """Return the open effect with this serial key, which keeps others waiting."""
    mine = (effects.c.agent_id == agent_id) & (effects.c.serial_key == serial_key)
    return _one(connection, mine & effects.c.state.not_in(ENDED_STATES))


def list_effects(
    connection: Connection, *, agent_id: str | None = None, state: str | None = None, limit: int = 50
) -> list[Effect]:
    """Return the newest effects that match."""
    given = {effects.c.agent_id: agent_id, effects.c.state: state}
    statement = _selected().where(*(column == value for column, value in given.items() if value is not None))
    return [_effect(row) for row in connection.execute(statement.order_by(effects.c.created_at.desc()).limit(limit))]


def list_due(connection: Connection, limit: int) -> list[UUID]:
    """Return the ids of effects that are due and not leased, longest waiting first."""
    statement = (
        sa.select(effects.c.id)
        .where(effects.c.state.in_(OPEN_STATES), effects.c.next_verify_at <= statement_time(), without_lease())
        .order_by(effects.c.next_verify_at)
        .limit(limit)
    )
    return list(connection.execute(statement).scalars())


def take_over(tx: Transaction, seen: Effect, state: EffectState, *, lease_s: float, called: bool = False) -> int | None:
    """Claim an effect without a lease, as it was `seen`; return the new fence, None when another process was faster.

    With `called` a new attempt begins: the settle window starts anew.
    """
    changes: dict[str, Any] = {
        "state": state,
        "fence": effects.c.fence + 1,
        "lease_owner": lease_owner_name(),
        "lease_until": db_time(lease_s),
        "next_verify_at": db_time(lease_s),
    }
    if called:
        changes |= _new_attempt()
    statement = (
        sa.update(effects)
        .where(effects.c.id == seen.id, effects.c.fence == seen.fence, effects.c.state == seen.state, without_lease())
        .values(changes)
        .returning(effects.c.fence)
    )
    return tx.connection.execute(statement).scalar_one_or_none()


def begin_attempt(tx: Transaction, effect_id: UUID, fence: int, *, lease_s: float) -> bool:
    """Begin another attempt under a claim that is held already."""
    lease = {"lease_until": db_time(lease_s), "next_verify_at": db_time(lease_s)}
    return update_claimed(tx, effect_id, fence, lease | _new_attempt())


def end_effect(tx: Transaction, effect_id: UUID, fence: int, *, state: EffectState, outcome: Mapping[str, Any]) -> bool:
    """Write the final outcome; False when the fence is not the row's any more."""
    values = {
        "state": state,
        "outcome": outcome,
        "resolved_at": db_time(),
        "lease_owner": None,
        "lease_until": None,
        "next_verify_at": None,
        "note": None,
    }
    return update_claimed(tx, effect_id, fence, values)


def release_effect(
    tx: Transaction,
    effect_id: UUID,
    fence: int,
    *,
    state: EffectState,
    note: str,
    due_in: float | None,
    looked: bool = False,
) -> bool:
    """Give the lease back with the outcome still open; look again in `due_in` seconds (None: never)."""
    values = {
        "state": state,
        "note": note,
        "lease_owner": None,
        "lease_until": None,
        "next_verify_at": None if due_in is None else db_time(due_in),
        "verify_attempts": effects.c.verify_attempts + int(looked),
    }
    return update_claimed(tx, effect_id, fence, values)


def add_evidence(tx: Transaction, effect_id: UUID, kind: str, fence: int, detail: Any) -> None:
    """Keep evidence about an effect beside its row; never changed again."""
    row = {"id": new_id(), "effect_id": effect_id, "kind": kind, "fence": fence, "detail": detail}
    tx.connection.execute(sa.insert(effect_evidence).values(**row, recorded_at=db_time()))


def list_evidence(connection: Connection, effect_id: UUID) -> list[dict[str, Any]]:
    """Return all evidence about an effect, oldest first."""
    statement = (
        sa.select(effect_evidence)
        .where(effect_evidence.c.effect_id == effect_id)
        .order_by(effect_evidence.c.recorded_at, effect_evidence.c.id)
    )
    return [dict(row._mapping) for row in connection.execute(statement)]  # noqa: SLF001 SQLAlchemy's public name


def thin_effects(tx: Transaction, *, kept_s: float, limit: int) -> int:
    """Thin up to `limit` effects that ended over `kept_s` seconds ago to tombstones; return their number.

    A tombstone keeps the key, the state, and the fingerprints of the parameters and the outcome for ever, so that a key
    is never called again, however late its caller comes back. Parameters, result and notes go. An effect that is open,
    or waits for a human, is never thinned; neither are its postings, which are the ledger's.
    """
    whole = effects.c.resolved_at.is_not(None) & effects.c.expired_at.is_(None)
    statement = (
        sa.select(effects.c.id, effects.c.state, effects.c.outcome)
        .where(whole, effects.c.resolved_at < statement_time(-kept_s))
        .order_by(effects.c.resolved_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    tombstones = []
    for row in tx.connection.execute(statement).all():
        sha = hashlib.sha256(codec.dumps(row.outcome).encode()).hexdigest()
        left = {"v": row.outcome["v"], "ok": row.state == EffectState.SUCCEEDED, "sha": sha}
        code = {} if left["ok"] else {"code": row.outcome["code"]}
        tombstones.append({"effect": row.id, "tombstone": left | code})
    if tombstones:
        emptied: dict[str, Any] = {
            "params": {},
            "baseline": None,
            "serial_key": None,
            "note": None,
            "expired_at": db_time(),
        }
        outcome = sa.bindparam("tombstone", type_=effects.c.outcome.type)
        update = sa.update(effects).where(effects.c.id == sa.bindparam("effect"))
        tx.connection.execute(update.values(outcome=outcome, **emptied), tombstones)
    return len(tombstones)


def _new_attempt() -> dict[str, Any]:
    return {"attempt": effects.c.attempt + 1, "called_at": db_time()}


def update_claimed(tx: Transaction, effect_id: UUID, fence: int, values: Mapping[Any, Any]) -> bool:
    """Change an effect that is being worked on under the fence `fence`; False when there is none."""
    mine = (effects.c.id == effect_id) & (effects.c.fence == fence)
    # Not "is one of the open states": the planner would walk the index of open effects, with all that have left it.
    working = effects.c.state.not_in((EffectState.READY, EffectState.MANUAL, *ENDED_STATES))
    return tx.connection.execute(sa.update(effects).where(mine, working).values(values)).rowcount == 1


def without_lease() -> sa.ColumnElement[bool]:
    """Return the condition that no process is working on an effect."""
    return sa.or_(effects.c.lease_until.is_(None), effects.c.lease_until <= statement_time())


def _selected() -> sa.Select[Any]:
    return sa.select(*(effects.c[name] for name in _FIELDS), db_time().label("read_at"))


def _one(connection: Connection, condition: sa.ColumnElement[bool]) -> Effect | None:
    row = connection.execute(_selected().where(condition)).one_or_none()
    return None if row is None else _effect(row)


def _effect(row: sa.Row[Any]) -> Effect:
    fields = dict(row._mapping)  # noqa: SLF001 SQLAlchemy's public name
    return Effect(**fields | {"state": EffectState(fields["state"])})


QUERIES = load_queries("agentstate.money.effects")
_ROW_FIELDS = tuple(Effect.__dataclass_fields__)
_TIMES = ("lease_until", "next_verify_at", "created_at", "called_at", "resolved_at", "expired_at", "read_at")
_JSON = ("params", "baseline", "outcome")


def find_effect_fast(store: Store, agent_id: str, key: str) -> Effect | None:
    """Return the effect under a key, on Postgres, in one round trip."""
    row = store.commit_one(QUERIES["find_effect"], {"agent_id": agent_id, "key": key})
    if row is None:
        return None
    fields = dict(zip(_ROW_FIELDS, row, strict=True))
    for name in _TIMES:
        if fields[name] is not None:
            fields[name] = fields[name].astimezone(UTC)
    for name in _JSON:
        if fields[name] is not None:
            fields[name] = codec.loads(fields[name])
    return Effect(**fields | {"state": EffectState(fields["state"])})
