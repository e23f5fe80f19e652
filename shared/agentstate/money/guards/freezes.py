"""Freezes: the switch that stops an agent's money moves at a service until it is lifted.

A freeze stops operations that have not begun. Accepted ones are still verified and booked, because not knowing is
worse; for operations that are verified by repeating them with the same key, that includes the repetition.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.errors import Frozen, InvalidInput
from agentstate.ids import new_id, validate_name
from agentstate.money.guards.rules import EVERY, LONGEST_WINDOW_S
from agentstate.money.ledger.postings import balance_service
from agentstate.store.store import Transaction
from agentstate.store.tables.base import db_time, statement_time
from agentstate.store.tables.guards import freezes, guard_rules
from agentstate.store.upsert import insert_new

MAX_REASON = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A freeze that is in force."""

    agent_id: str
    service: str
    reason: str
    frozen_by: str
    frozen_at: datetime

    def describe(self) -> str:
        """Return the freeze as one sentence, for people and prompts."""
        where = "every service" if self.service == EVERY else self.service
        where += " for every agent" if self.agent_id == EVERY else ""
        when = f"{self.frozen_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"{where}: FROZEN since {when} by {self.frozen_by}: {self.reason}."


def insert_freeze(tx: Transaction, agent_id: str, service: str, *, reason: str, who: str) -> bool:
    """Freeze an agent at a service; False when it is frozen already, which stays as it was."""
    if service != EVERY:
        validate_name(service, "service")
    if not reason.strip() or len(reason) > MAX_REASON:
        raise InvalidInput(f"a freeze needs a reason of 1 to {MAX_REASON} characters. Nothing was frozen.")
    row = {"id": new_id(), "agent_id": agent_id, "service": service, "reason": reason.strip(), "frozen_by": who}
    return insert_new(tx, freezes, [row | {"frozen_at": db_time()}]) == 1


def lift_freeze(tx: Transaction, agent_id: str, service: str, *, who: str) -> bool:
    """Lift the freeze of an agent at a service; False when there is none."""
    mine = (freezes.c.agent_id == agent_id) & (freezes.c.service == service) & freezes.c.lifted_at.is_(None)
    lifted = {"lifted_by": who, "lifted_at": db_time()}
    return tx.connection.execute(sa.update(freezes).where(mine).values(lifted)).rowcount == 1


def delete_old_freezes(tx: Transaction, *, limit: int) -> int:
    """Delete up to `limit` freezes that were lifted over a year ago; return how many. Those in force stay."""
    if tx.database.is_server:
        # The application's role may delete no freeze itself.
        return int(tx.connection.execute(sa.select(sa.func.agentstate_delete_old_freezes(limit))).scalar_one())
    old = sa.select(freezes.c.id).where(freezes.c.lifted_at < statement_time(-LONGEST_WINDOW_S)).limit(limit)
    return tx.connection.execute(sa.delete(freezes).where(freezes.c.id.in_(old))).rowcount


def read_freezes(connection: Connection, agent_id: str) -> list[Freeze]:
    """Return the freezes that are in force for an agent, those of the whole fleet among them."""
    mine = freezes.c.agent_id.in_([agent_id, EVERY]) & freezes.c.lifted_at.is_(None)
    found = connection.execute(sa.select(freezes).where(mine).order_by(freezes.c.agent_id, freezes.c.service))
    return [_load_freeze(row) for row in found]


def require_not_frozen(tx: Transaction, agent_id: str, service: str) -> bool:
    """Raise Frozen when a freeze stops `service`; else return whether any rules bind the agent.

    A freeze of the service whose balance pays stops the services that it pays for too. One statement for both
    questions, as this runs before every effect.
    """
    bound = [agent_id, EVERY]
    ruled = sa.exists().where(guard_rules.c.agent_id.in_(bound)).label("ruled")
    stops = (
        freezes.c.agent_id.in_(bound)
        & freezes.c.service.in_([service, balance_service(service), EVERY])
        & freezes.c.lifted_at.is_(None)
    )
    one_row = sa.select(sa.literal(1).label("one")).subquery()
    statement = sa.select(ruled, freezes).select_from(one_row.outerjoin(freezes, stops)).limit(1)
    row = tx.connection.execute(statement).one()
    if row.id is not None:
        raise Frozen(
            f"money moves of {agent_id} at {service} are stopped. {_load_freeze(row).describe()} Nothing was called "
            f"and nothing was posted; `agentstate guards unfreeze {shlex.quote(row.agent_id)} '{row.service}'` "
            "lifts it."
        )
    return bool(row.ruled)


def _load_freeze(row: sa.Row[Any]) -> Freeze:
    return Freeze(**{name: getattr(row, name) for name in Freeze.__dataclass_fields__})
