"""Breaks: differences between our books and the outside that nobody has explained yet.

One open break for each fingerprint, however often it is seen; it ends by an explanation, never by adjusting the books
to whatever the outside shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from agentstate.errors import Conflict, InvalidInput, NotFound
from agentstate.ids import derive_id, new_id
from agentstate.money.amounts import Money
from agentstate.money.effects.outcomes import to_plain
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.base import db_time
from agentstate.store.tables.money import breaks
from agentstate.store.upsert import insert_new

MAX_SAID = 500
EFFECT_MANUAL = "effect_manual"
"""The kind of break that a manual effect opens: its amount is what the effect holds, and is counted as that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A difference that was seen now."""

    agent_id: str
    service: str
    kind: str
    subject: str
    """What it is about: an effect's id, or `balance:USDC`."""
    amount: Money | None = None
    effect_id: UUID | None = None
    evidence: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """What makes two sightings the same break."""
        return str(derive_id("break", self.kind, self.agent_id, self.service, self.subject))


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A break as it is stored; `amount` is None where it is not about an amount.

    `resolution` tells how it ended, or who has taken it up.
    """

    id: UUID
    agent_id: str
    service: str
    kind: str
    state: str
    amount: Money | None
    effect_id: UUID | None
    evidence: Mapping[str, Any]
    resolution: str | None
    sightings: int
    opened_at: datetime
    seen_at: datetime
    resolved_at: datetime | None


class Breaks:
    """All breaks of the fleet."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def report(self, sighting: Sighting, *, tx: Transaction | None = None) -> UUID:
        """Open a break for `sighting`, or note that the open one was seen again; return its id."""
        row = _row(sighting)
        with self._store.transaction(tx) as opened:
            if insert_new(opened, breaks, [row]):
                return UUID(str(row["id"]))
            return self._seen_again(opened, sighting, row)

    def explain(self, fingerprint: str, resolution: str, *, tx: Transaction | None = None) -> bool:
        """Close the open break with `fingerprint` by itself, saying why; False when there is none."""
        closed = {"state": "auto_resolved", "resolution": resolution, "resolved_at": db_time()}
        mine = (breaks.c.fingerprint == fingerprint) & breaks.c.resolved_at.is_(None)
        with self._store.transaction(tx) as opened:
            return opened.connection.execute(sa.update(breaks).where(mine).values(closed)).rowcount == 1

    def find(
        self, *, agent_id: str | None = None, service: str | None = None, only_open: bool = True, limit: int = 100
    ) -> list[Break]:
        """The newest breaks that match."""
        given = {breaks.c.agent_id: agent_id, breaks.c.service: service}
        conditions = [column == value for column, value in given.items() if value is not None]
        if only_open:
            conditions.append(breaks.c.resolved_at.is_(None))
        statement = sa.select(breaks).where(*conditions).order_by(breaks.c.opened_at.desc()).limit(limit)
        with self._store.read_connection() as connection:
            return [_break(row) for row in connection.execute(statement)]

    def get(self, break_id: UUID, *, tx: Transaction | None = None) -> Break:
        """One break; raises NotFound."""
        statement = sa.select(breaks).where(breaks.c.id == break_id)
        with self._store.read_connection() if tx is None else nullcontext(tx.connection) as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            raise NotFound(f"there is no break {break_id}; `agentstate breaks list` shows those that are open.")
        return _break(row)

    def acknowledge(self, break_id: UUID, *, who: str, note: str = "") -> Break:
        """Say that somebody looks into an open break; it stays open, and goes on counting.

        Raises:
            NotFound: there is no such break. Conflict: it has ended. InvalidInput: nobody is named.
        """
        said = f"taken up by {_said(who, 'who')}" + (f": {_said(note, 'note')}" if note else "")
        return self._change(break_id, {"state": "assigned", "resolution": said})

    def resolve(self, break_id: UUID, *, who: str, reason: str) -> Break:
        """End an open break by what a human found out. The books are not touched: what was missing is posted before.

        Raises:
            NotFound: there is no such break. Conflict: it has ended, or is about an effect that has to be ended first.
            InvalidInput: nobody is named, or no reason.
        """
        said = f"resolved by {_said(who, 'who')}: {_said(reason, 'reason')}"
        return self._change(break_id, {"state": "resolved", "resolution": said, "resolved_at": db_time()})

    def _change(self, break_id: UUID, changes: dict[str, Any]) -> Break:
        mine = (breaks.c.id == break_id) & breaks.c.resolved_at.is_(None)
        ending = "resolved_at" in changes
        with self._store.transaction() as tx:
            found = self.get(break_id, tx=tx)
            if ending and found.kind == EFFECT_MANUAL and found.resolved_at is None:
                raise Conflict(
                    f"the break {break_id} is about the effect {found.effect_id}, which holds money: say what became "
                    f"of that by `agentstate effects resolve {found.effect_id}`, and the break ends with it."
                )
            if tx.connection.execute(sa.update(breaks).where(mine).values(changes)).rowcount == 0:
                raise Conflict(f"the break {break_id} has ended already: {found.resolution}. Nothing was changed.")
            return self.get(break_id, tx=tx)

    def _seen_again(self, tx: Transaction, sighting: Sighting, row: dict[str, Any]) -> UUID:
        changes = {"amount": row["amount"], "evidence": row["evidence"], "seen_at": db_time()}
        statement = (
            sa.update(breaks)
            .where(breaks.c.fingerprint == sighting.fingerprint, breaks.c.resolved_at.is_(None))
            .values(**changes, sightings=breaks.c.sightings + 1)
            .returning(breaks.c.id)
        )
        found = tx.connection.execute(statement).scalar_one_or_none()
        # Closed by another process just now: what is seen now is a new break.
        return found or self.report(sighting, tx=tx)


def _said(text: str, what: str) -> str:
    if not text.strip() or len(text) > MAX_SAID:
        raise InvalidInput(f"say {what} in 1 to {MAX_SAID} characters. Nothing was changed.")
    return text.strip()


def _row(sighting: Sighting) -> dict[str, Any]:
    return {
        "id": new_id(),
        "agent_id": sighting.agent_id,
        "service": sighting.service,
        "fingerprint": sighting.fingerprint,
        "kind": sighting.kind,
        "currency": sighting.amount.currency if sighting.amount is not None else None,
        "amount": sighting.amount.minor if sighting.amount is not None else None,
        "effect_id": sighting.effect_id,
        "evidence": to_plain(sighting.evidence),
        "opened_at": db_time(),
        "seen_at": db_time(),
    }


def _break(row: sa.Row[Any]) -> Break:
    return Break(
        id=row.id,
        agent_id=row.agent_id,
        service=row.service,
        kind=row.kind,
        state=row.state,
        amount=None if row.amount is None else Money.from_minor(row.amount, row.currency),
        effect_id=row.effect_id,
        evidence=row.evidence,
        resolution=row.resolution,
        sightings=row.sightings,
        opened_at=row.opened_at,
        seen_at=row.seen_at,
        resolved_at=row.resolved_at,
    )
