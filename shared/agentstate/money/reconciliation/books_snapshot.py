"""Consistent cuts: the books of agents at one moment, with all that is open at that moment.

Everything of one cut is read from one snapshot of the database, so money that moves between accounts while it is read
is seen once, wherever it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.money.effects.table import ENDED_STATES
from agentstate.money.ledger.postings import AccountKey, Bucket
from agentstate.store.store import Store
from agentstate.store.tables.base import db_time
from agentstate.store.tables.money import accounts, effects, entries, ledger_transactions

BOOKED_BUCKETS = (Bucket.AVAILABLE, Bucket.SUSPENSE)
"""What the books say a service shows as free."""


@dataclass(frozen=True, slots=True)
class OpenEffect:
    """An effect whose outcome is not known.

    `held` is what the service shows beyond the books, in minor units: what it may cost, which is held, or what another
    agent's effect brings. 0 when nothing is held.
    """

    id: UUID
    state: str
    held: int
    called_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BooksSnapshot:
    """What the books say an agent has free at one balance, and what may change that."""

    taken_at: datetime
    booked: int
    versions: Mapping[UUID, int]
    open_effects: Sequence[OpenEffect]


@contextmanager
def open_snapshot(store: Store) -> Iterator[Connection]:
    """A connection whose reads all see the same moment."""
    with store.read_connection() as connection:
        store.database.begin_snapshot(connection)
        yield connection


def read_books(connection: Connection, agent_id: str, services: Sequence[str], currency: str) -> BooksSnapshot:
    """The cut of one balance; `connection` is `consistent`."""
    rows = connection.execute(
        sa.select(accounts.c.id, accounts.c.balance, accounts.c.version).where(*_booked(agent_id, services, currency))
    ).all()
    return BooksSnapshot(
        taken_at=connection.execute(sa.select(db_time())).scalar_one(),
        booked=sum(row.balance for row in rows),
        versions={row.id: row.version for row in rows},
        open_effects=_open_effects(connection, agent_id, services, currency),
    )


def sum_moves_since(
    connection: Connection,
    agent_id: str,
    services: Sequence[str],
    currency: str,
    *,
    snapshot: BooksSnapshot,
    lag_s: float,
) -> dict[str, int]:
    """What each transaction or effect booked after `cut`, or up to `lag_s` before it, did to the booked balance.

    Keyed by effect or transaction; an effect counts with all that it ever booked, so that a hold taken before the cut
    and given back after it are one.
    """
    found = connection.execute(_recent(agent_id, services, currency, snapshot, lag_s)).all()
    whole = _of_effects(connection, agent_id, services, currency, {row.effect_id for row in found if row.effect_id})
    moved: dict[str, int] = defaultdict(int)
    for row in found:
        if row.effect_id is None:
            moved[f"txn:{row.txn_id}"] += row.amount
    return dict(moved) | {f"effect:{effect_id}": amount for effect_id, amount in whole.items()}


def read_balances(connection: Connection, agents: Sequence[str]) -> dict[str, dict[AccountKey, int]]:
    """All balances of `agents`, by agent: one statement, so one moment."""
    found: dict[str, dict[AccountKey, int]] = {agent: {} for agent in agents}
    statement = sa.select(accounts).where(accounts.c.agent_id.in_(agents), accounts.c.version > 0)
    for row in connection.execute(statement):
        found[row.agent_id][AccountKey(row.service, row.bucket, row.currency)] = row.balance
    return found


def read_currencies(connection: Connection, agent_id: str, services: Sequence[str]) -> list[str]:
    """Return the currencies in which the agent's books at `services` have booked or open money."""
    statement = (
        sa.select(accounts.c.currency)
        .distinct()
        .where(
            accounts.c.agent_id == agent_id,
            accounts.c.service.in_(services),
            accounts.c.bucket.in_((*BOOKED_BUCKETS, Bucket.IN_FLIGHT)),
            accounts.c.version > 0,
        )
    )
    return list(connection.execute(statement).scalars())


def read_in_flight(store: Store, agent_id: str, currency: str) -> dict[str, int]:
    """What is held for calls of an agent whose outcome is not known yet, in minor units, by service."""
    with store.read_connection() as connection:
        balances = read_balances(connection, [agent_id])[agent_id]
    held = {
        key.service: minor
        for key, minor in balances.items()
        if (key.bucket, key.currency) == (Bucket.IN_FLIGHT, currency)
    }
    return {service: minor for service, minor in held.items() if minor}


def _booked(agent_id: str, services: Sequence[str], currency: str) -> list[sa.ColumnElement[bool]]:
    return [
        accounts.c.agent_id == agent_id,
        accounts.c.service.in_(services),
        accounts.c.currency == currency,
        accounts.c.bucket.in_(BOOKED_BUCKETS),
    ]


def _open_effects(connection: Connection, agent_id: str, services: Sequence[str], currency: str) -> list[OpenEffect]:
    held = (
        sa.select(sa.func.sum(entries.c.amount))
        .join(accounts)
        .where(
            entries.c.txn_id == effects.c.hold_id,
            accounts.c.bucket == Bucket.IN_FLIGHT,
            accounts.c.currency == currency,
        )
        .scalar_subquery()
    )
    statement = sa.select(effects.c.id, effects.c.state, effects.c.called_at, held.label("held")).where(
        effects.c.agent_id == agent_id, effects.c.service.in_(services), effects.c.state.not_in(ENDED_STATES)
    )
    own = [OpenEffect(row.id, row.state, int(row.held or 0), row.called_at) for row in connection.execute(statement)]
    return [*own, *_open_credits(connection, agent_id, services)]


def _open_credits(connection: Connection, agent_id: str, services: Sequence[str]) -> list[OpenEffect]:
    """Open effects of others that bring money to `agent_id`, which their baseline told before the call."""
    brought = effects.c.baseline["credits"][agent_id]
    statement = sa.select(
        effects.c.id, effects.c.state, effects.c.called_at, brought.as_integer().label("brought")
    ).where(
        effects.c.state.not_in(ENDED_STATES),
        effects.c.service.in_(services),
        effects.c.agent_id != agent_id,
        brought.as_integer().is_not(None),
    )
    return [OpenEffect(row.id, row.state, row.brought, row.called_at) for row in connection.execute(statement)]


def _recent(agent_id: str, services: Sequence[str], currency: str, cut: BooksSnapshot, lag_s: float) -> sa.Select[Any]:
    later = [entries.c.recorded_at > cut.taken_at - timedelta(seconds=lag_s)]
    # By number too: a transaction that committed after the cut may have taken its time before it.
    later += [(entries.c.account_id == account) & (entries.c.seq > seq) for account, seq in cut.versions.items()]
    return (
        sa.select(entries.c.txn_id, entries.c.amount, ledger_transactions.c.effect_id)
        .join(accounts, accounts.c.id == entries.c.account_id)
        .join(ledger_transactions, ledger_transactions.c.id == entries.c.txn_id)
        .where(*_booked(agent_id, services, currency), sa.or_(*later))
    )


def _of_effects(
    connection: Connection, agent_id: str, services: Sequence[str], currency: str, ids: set[UUID]
) -> dict[UUID, int]:
    statement = (
        sa.select(ledger_transactions.c.effect_id, sa.func.sum(entries.c.amount).label("amount"))
        .join(entries, entries.c.txn_id == ledger_transactions.c.id)
        .join(accounts, accounts.c.id == entries.c.account_id)
        .where(ledger_transactions.c.effect_id.in_(ids), *_booked(agent_id, services, currency))
        .group_by(ledger_transactions.c.effect_id)
    )
    return {row.effect_id: int(row.amount) for row in connection.execute(statement)} if ids else {}
