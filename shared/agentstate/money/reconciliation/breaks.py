"""Breaks: unexplained differences between our books and the services.

There is one open break for each fingerprint, however often it is seen; it ends with an explanation, never by adjusting
the books to the balance that a service shows.
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
from agentstate.state import codec
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.base import db_time
from agentstate.store.tables.money import breaks
from agentstate.store.upsert import insert_new

MAX_SAID = 500
EFFECT_MANUAL = "effect_manual"
"""The kind of break that a manual effect opens: its amount is what the effect holds, and is counted as that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A difference that was found now."""

    agent_id: str
    service: str
    kind: str
    subject: str
    """Subject of the difference: an effect's id, or a currency."""
    amount: Money | None = None
    effect_id: UUID | None = None
    evidence: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """Equal for sightings of the same break."""
        return str(derive_id("break", self.kind, self.agent_id, self.service, self.subject))


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A break as it is stored; `amount` is None where it is not about an amount.

    `resolution` is its explanation, or the name of the person who looks into it.
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
    """Breaks of one agent, `agent.breaks`, or of the whole fleet, `fleet.breaks`.

    Args:
        store: the durable store.
        agent_id: the agent whose breaks it is bound to; None for the fleet.
    """

    def __init__(self, store: Store, agent_id: str | None = None) -> None:
        self.agent_id = agent_id
        self._store = store

    def find(
        self, *, agent_id: str | None = None, service: str | None = None, only_open: bool = True, limit: int = 100
    ) -> list[Break]:
        """Return the breaks that match, newest first.

        Args:
            agent_id: only breaks of this agent; unset: of all that this object is bound to.
            service: only breaks at this service.
            only_open: leave out breaks that have ended.
            limit: maximum number of breaks.

        Example:
            for found in agent.breaks.find(service="casino"):
                print(found.kind, found.amount, found.sightings)
        """
        given = {breaks.c.agent_id: agent_id, breaks.c.service: service}
        conditions = [column == value for column, value in given.items() if value is not None]
        if self.agent_id is not None:
            conditions.append(breaks.c.agent_id == self.agent_id)
        if only_open:
            conditions.append(breaks.c.resolved_at.is_(None))
        statement = sa.select(breaks).where(*conditions).order_by(breaks.c.opened_at.desc()).limit(limit)
        with self._store.read_connection() as connection:
            return [_load_break(row) for row in connection.execute(statement)]

    def get(self, break_id: UUID, *, tx: Transaction | None = None) -> Break:
        """Return one break; raise NotFound, also for another agent's.

        Example:
            agent.breaks.get(break_id).evidence
        """
        statement = sa.select(breaks).where(breaks.c.id == break_id)
        with self._store.read_connection() if tx is None else nullcontext(tx.connection) as connection:
            row = connection.execute(statement).one_or_none()
        if row is None or self.agent_id not in {None, row.agent_id}:
            raise NotFound(f"there is no break {break_id}; `agentstate breaks list` shows those that are open.")
        return _load_break(row)

    def acknowledge(self, break_id: UUID, *, who: str, note: str = "") -> Break:
        """Record that a person looks into an open break; it stays open, and goes on counting.

        Raises:
            NotFound: there is no such break. Conflict: it has ended. InvalidInput: `who` is empty.

        Example:
            agent.breaks.acknowledge(break_id, who="ops", note="asked the casino")
        """
        said = f"taken up by {_require_text(who, 'who')}" + (f": {_require_text(note, 'note')}" if note else "")
        return self._change(break_id, {"state": "assigned", "resolution": said})

    def resolve(self, break_id: UUID, *, who: str, reason: str) -> Break:
        """End an open break with an explanation. The books are not touched: post the missing transaction before.

        Raises:
            NotFound: there is no such break. Conflict: it has ended, or is about an effect that has to be ended first.
            InvalidInput: `who` or `reason` is empty.

        Example:
            agent.breaks.resolve(break_id, who="ops", reason="a manual payout, posted as payout:31")
        """
        said = f"resolved by {_require_text(who, 'who')}: {_require_text(reason, 'reason')}"
        return self._change(break_id, {"state": "resolved", "resolution": said, "resolved_at": db_time()})

    def report(self, sighting: Sighting, *, tx: Transaction | None = None) -> UUID:
        """Open a break for `sighting`, or count it on the open one; return the break's id.

        Example:
            sighting = Sighting(agent_id="ag_7", service="casino", kind="payout", subject="payout:31", evidence={})
            fleet.breaks.report(sighting)
        """
        row = {
            "id": new_id(),
            "agent_id": sighting.agent_id,
            "service": sighting.service,
            "fingerprint": sighting.fingerprint,
            "kind": sighting.kind,
            "currency": sighting.amount.currency if sighting.amount is not None else None,
            "amount": sighting.amount.minor if sighting.amount is not None else None,
            "effect_id": sighting.effect_id,
            "evidence": codec.to_plain(sighting.evidence),
            "opened_at": db_time(),
            "seen_at": db_time(),
        }
        again = (
            sa.update(breaks)
            .where(breaks.c.fingerprint == sighting.fingerprint, breaks.c.resolved_at.is_(None))
            .values(amount=row["amount"], evidence=row["evidence"], seen_at=db_time(), sightings=breaks.c.sightings + 1)
            .returning(breaks.c.id)
        )
        with self._store.transaction(tx) as opened:
            while not insert_new(opened, breaks, [row]):
                found: UUID | None = opened.connection.execute(again).scalar_one_or_none()
                # None: another process has closed the open one just now, so this sighting is a new break.
                if found is not None:
                    return found
        return UUID(str(row["id"]))

    def explain(self, fingerprint: str, resolution: str, *, tx: Transaction | None = None) -> bool:
        """Close the open break with `fingerprint` automatically; return False when there is none.

        Example:
            fleet.breaks.explain(sighting.fingerprint, "the payout arrived late")
        """
        closed = {"state": "auto_resolved", "resolution": resolution, "resolved_at": db_time()}
        mine = (breaks.c.fingerprint == fingerprint) & breaks.c.resolved_at.is_(None)
        with self._store.transaction(tx) as opened:
            return opened.connection.execute(sa.update(breaks).where(mine).values(closed)).rowcount == 1

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


def _require_text(text: str, what: str) -> str:
    if not text.strip() or len(text) > MAX_SAID:
        raise InvalidInput(f"say {what} in 1 to {MAX_SAID} characters. Nothing was changed.")
    return text.strip()


def _load_break(row: sa.Row[Any]) -> Break:
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
