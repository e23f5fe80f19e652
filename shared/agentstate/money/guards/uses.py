"""Uses: code of an agent's own that runs under its rules without an effect.

A use is written, and counts, before the code runs. It goes on counting when the code fails, because nobody can tell how
far it came, unless the code itself releases it.
"""

from __future__ import annotations

from asyncio import CancelledError, ensure_future, shield, to_thread
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from agentstate.errors import InvalidInput
from agentstate.ids import new_id, validate_name
from agentstate.money.amounts import Money, require_positive
from agentstate.money.guards.authorize import authorize_request
from agentstate.money.guards.rules import LONGEST_WINDOW_S, GuardRequest
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.base import db_time, statement_time
from agentstate.store.tables.guards import guard_uses

LONGEST_S = 86_400.0


class Use:
    """A use that was authorized; call `release` when nothing happened after all."""

    def __init__(self, use_id: UUID) -> None:
        self.id = use_id
        self.is_released = False

    def release(self) -> None:
        """Let the use count for nothing, once its block ends."""
        self.is_released = True


@contextmanager
def open_use(
    store: Store, agent_id: str, amount: Money | None, *, service: str, operation: str, longest_s: float
) -> Iterator[Use]:
    """Run a block under the agent's rules; the use is in flight until it ends, at most for `longest_s` seconds.

    Raises:
        InvalidInput, LimitExceeded, Frozen: the block was not run, and nothing counts.
    """
    use = _begin_use(store, agent_id, amount, service=service, operation=operation, longest_s=longest_s)
    try:
        yield use
    finally:
        _end_use(store, use)


@asynccontextmanager
async def open_use_async(
    store: Store, agent_id: str, amount: Money | None, *, service: str, operation: str, longest_s: float
) -> AsyncIterator[Use]:
    """Do as `open_use` for `async with`: the store is asked in a thread, so the event loop goes on."""
    begin = partial(_begin_use, store, agent_id, amount, service=service, operation=operation, longest_s=longest_s)
    beginning = ensure_future(to_thread(begin))
    try:
        use = await shield(beginning)
    except CancelledError:
        # The thread goes on; nothing has happened yet, so what it writes must not count.
        use = await beginning
        use.release()
        await to_thread(_end_use, store, use)
        raise
    try:
        yield use
    finally:
        await shield(to_thread(_end_use, store, use))


def delete_old_uses(tx: Transaction, *, limit: int) -> int:
    """Delete up to `limit` uses that ended before any window of a rule can begin; return how many."""
    old = (
        sa.select(guard_uses.c.id)
        .where(
            guard_uses.c.began_at < statement_time(-LONGEST_WINDOW_S),
            guard_uses.c.expires_at < statement_time(-LONGEST_WINDOW_S),
        )
        .limit(limit)
    )
    return tx.connection.execute(sa.delete(guard_uses).where(guard_uses.c.id.in_(old))).rowcount


def _begin_use(
    store: Store, agent_id: str, amount: Money | None, *, service: str, operation: str, longest_s: float
) -> Use:
    validate_name(service, "service")
    validate_name(operation, "operation")
    if amount is not None:
        require_positive(amount)
    if not 0 < longest_s <= LONGEST_S:
        raise InvalidInput(f"longest_s={longest_s} is refused: use up to {LONGEST_S:g} seconds.")
    row: dict[str, Any] = {"id": new_id(), "agent_id": agent_id, "service": service, "operation": operation}
    asked = {"currency": amount.currency, "amount": amount.minor} if amount is not None else {}
    times = {"began_at": db_time(), "expires_at": db_time(longest_s)}
    written = sa.insert(guard_uses).values(**row, **asked, **times).returning(guard_uses.c.began_at)
    with store.transaction() as tx:
        began_at = tx.connection.execute(written).scalar_one()
        authorize_request(tx, GuardRequest(**row, amount=amount, at=began_at))
    return Use(row["id"])


def _end_use(store: Store, use: Use) -> None:
    ending = sa.delete(guard_uses) if use.is_released else sa.update(guard_uses).values(ended_at=db_time())
    with store.transaction() as tx:
        tx.connection.execute(ending.where(guard_uses.c.id == use.id))
