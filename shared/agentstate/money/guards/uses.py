"""Uses: what an agent's own code does under its rules without an effect.

A use is written, and counts, before the code runs. It goes on counting when the code fails, because nobody can tell
how far it came, unless the code itself says that nothing happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from agentstate.errors import InvalidInput
from agentstate.ids import new_id, validate_name
from agentstate.money.amounts import Money, require_positive
from agentstate.money.guards.gate import authorize_request
from agentstate.money.guards.rules import LONGEST_WINDOW_S, GuardRequest
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.base import db_time, statement_time
from agentstate.store.tables.guards import guard_uses

LONGEST_S = 86_400.0


class Use:
    """A use that was let in; call `release` when nothing happened after all."""

    def __init__(self, use_id: UUID) -> None:
        self.id = use_id
        self.released = False

    def release(self) -> None:
        """Let it count for nothing, once the block ends."""
        self.released = True


@contextmanager
def open_use(
    store: Store, agent_id: str, amount: Money | None, *, service: str, operation: str, longest_s: float
) -> Iterator[Use]:
    """Run a block under the agent's rules; it is in flight until it ends, or for `longest_s` if it never says.

    Raises:
        InvalidInput, LimitExceeded, Frozen: the block was not run, and nothing counts.
    """
    validate_name(service, "service")
    validate_name(operation, "operation")
    if amount is not None:
        require_positive(amount)
    if not 0 < longest_s <= LONGEST_S:
        raise InvalidInput(f"longest_s={longest_s} is refused: use up to {LONGEST_S:g} seconds.")
    row = {"id": new_id(), "agent_id": agent_id, "service": service, "operation": operation}
    use = Use(_begin(store, row, amount, longest_s))
    try:
        yield use
    finally:
        _end(store, use)


def delete_old_uses(tx: Transaction, *, limit: int) -> int:
    """Delete up to `limit` uses that ended before any window of a rule can begin; tell how many."""
    old = (
        sa.select(guard_uses.c.id)
        .where(
            guard_uses.c.began_at < statement_time(-LONGEST_WINDOW_S),
            guard_uses.c.expires_at < statement_time(-LONGEST_WINDOW_S),
        )
        .limit(limit)
    )
    return tx.connection.execute(sa.delete(guard_uses).where(guard_uses.c.id.in_(old))).rowcount


def _begin(store: Store, named: dict[str, Any], amount: Money | None, longest_s: float) -> UUID:
    asked = {"currency": amount.currency, "amount": amount.minor} if amount is not None else {}
    times = {"began_at": db_time(), "expires_at": db_time(longest_s)}
    written = sa.insert(guard_uses).values(**named, **asked, **times).returning(guard_uses.c.began_at)
    with store.transaction() as tx:
        authorize_request(tx, GuardRequest(**named, amount=amount, at=tx.connection.execute(written).scalar_one()))
    return UUID(str(named["id"]))


def _end(store: Store, use: Use) -> None:
    mine = guard_uses.c.id == use.id
    ending = sa.delete(guard_uses) if use.released else sa.update(guard_uses).values(ended_at=db_time())
    with store.transaction() as tx:
        tx.connection.execute(ending.where(mine))
