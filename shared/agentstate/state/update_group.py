"""Readers that share an agent's updates: each update is dealt with by one of them, in order, none left out.

The group's place is in the durable store. A member takes the next batch under a lease; when it dies, another takes the
same batch after the lease, and the dead one's late word is refused by the fence.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from agentstate.errors import Fenced, InvalidInput
from agentstate.ids import validate_name
from agentstate.state import update_log
from agentstate.state.update_log import Update
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.base import db_time, statement_time
from agentstate.store.tables.state import update_groups as groups
from agentstate.store.upsert import insert_new

LEASE_S = 30.0


@dataclass(frozen=True)
class Batch:
    """Updates that are this member's until the lease ends; acknowledge them when they are dealt with."""

    updates: tuple[Update, ...]
    fence: int

    @property
    def last_seq(self) -> int:
        """The number of the last one."""
        return self.updates[-1].seq


class UpdateGroup:
    """The readers of one name. Each update is handed to the group at least once, and once unless a member dies."""

    def __init__(self, store: Store, agent_id: str, name: str) -> None:
        self.name = validate_name(name, "group")
        self._store, self._agent_id = store, agent_id
        self._mine = (groups.c.agent_id == agent_id, groups.c.name == name)

    def take(self, limit: int = 100, *, lease_s: float = LEASE_S) -> Batch | None:
        """Lease the next updates to this member; None when there are none or another member has them.

        A new group begins with the oldest update that is kept.

        Raises:
            InvalidInput: the limit or the lease is not over 0.
            UpdatesLost: the group is further behind than updates are kept; `skip_to` goes on after them.
        """
        if limit < 1 or not lease_s > 0:
            raise InvalidInput(f"limit is {limit} and lease_s is {lease_s}; both must be over 0. Nothing was taken.")
        with self._store.transaction() as tx:
            self._ensure_row(tx)
            free = sa.or_(groups.c.lease_until.is_(None), groups.c.lease_until <= statement_time())
            row = tx.connection.execute(
                sa.select(groups.c.seq, groups.c.fence).where(*self._mine, free).with_for_update(skip_locked=True)
            ).one_or_none()
            found = [] if row is None else update_log.read_after(tx.connection, self._agent_id, row.seq, limit)
            if row is None or not found:
                return None
            leased = {"fence": row.fence + 1, "lease_until": db_time(lease_s)}
            tx.connection.execute(groups.update().where(*self._mine).values(leased))
        return Batch(tuple(found), row.fence + 1)

    def acknowledge(self, batch: Batch) -> None:
        """Mark the batch as done; raise Fenced when another member has it by now."""
        with self._store.transaction() as tx:
            current = (*self._mine, groups.c.fence == batch.fence)
            done = groups.update().where(*current).values(seq=batch.last_seq, lease_until=None)
            if tx.connection.execute(done).rowcount == 0:
                raise Fenced(
                    f"updates through {batch.last_seq:,} of {self._agent_id} went to another member of "
                    f"{self.name} after the lease ended. The group's place was not changed."
                )

    def release(self, batch: Batch) -> None:
        """Give the batch back: another member may take it at once."""
        with self._store.transaction() as tx:
            current = (*self._mine, groups.c.fence == batch.fence)
            tx.connection.execute(groups.update().where(*current).values(lease_until=None))

    def seq(self) -> int:
        """Return the number up to which the group has processed all updates."""
        with self._store.read_connection() as connection:
            return connection.execute(sa.select(groups.c.seq).where(*self._mine)).scalar_one_or_none() or 0

    def skip_to(self, seq: int) -> None:
        """Move the group to number `seq`, and fence members that hold a batch."""
        with self._store.transaction() as tx:
            self._ensure_row(tx)
            place = {"seq": seq, "fence": groups.c.fence + 1, "lease_until": None}
            tx.connection.execute(groups.update().where(*self._mine).values(place))

    def _ensure_row(self, tx: Transaction) -> None:
        oldest = update_log.read_head(tx.connection, self._agent_id).removed_through
        row = {"agent_id": self._agent_id, "name": self.name, "seq": oldest, "fence": 0}
        insert_new(tx, groups, [row])
