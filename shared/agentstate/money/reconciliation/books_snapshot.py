"""Snapshots of the books: the balances of agents at one moment, with the effects that are open at that moment.

All reads of one snapshot see the same state of the database, so money that moves between accounts meanwhile is seen
once, wherever it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.money.effects.table import ENDED_STATES
from agentstate.money.ledger.postings import AccountKey, Bucket
from agentstate.store.store import Store
from agentstate.store.tables.base import db_time
from agentstate.store.tables.minor_units import minor_sum
from agentstate.store.tables.money import accounts, effects, entries, ledger_transactions

BOOKED_BUCKETS = (Bucket.AVAILABLE, Bucket.SUSPENSE)
"""Buckets whose sum is the free money that a service should show."""


@dataclass(frozen=True, slots=True)
class OpenEffect:
    """An effect with an open outcome.

    `held` is the amount that the service may show beyond the books, in minor units: the hold, or the money that another
    agent's effect brings. 0 when nothing is held.
    """

    id: UUID
    state: str
    held: int
    called_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BooksSnapshot:
    """An agent's free money at one balance by the books, and the open effects that may change it."""

    taken_at: datetime
    booked: int
    versions: Mapping[UUID, int]
    open_effects: Sequence[OpenEffect]


@contextmanager
def open_snapshot(store: Store) -> Iterator[Connection]:
    """Yield a connection on which all reads see the same moment."""
    with store.read_connection() as connection:
        store.database.begin_snapshot(connection)
        yield connection


def read_books(connection: Connection, agent_id: str, services: Sequence[str], currency: str) -> BooksSnapshot:
    """Return the books of one balance; `connection` is one of `open_snapshot`."""
    rows = connection.execute(
        sa.select(accounts.c.id, accounts.c.balance, accounts.c.version).where(
            *_booked_at(agent_id, services, currency)
        )
    ).all()
    return BooksSnapshot(
        taken_at=connection.execute(sa.select(db_time())).scalar_one(),
        booked=sum(row.balance for row in rows),
        versions={row.id: row.version for row in rows},
        open_effects=read_open_effects(connection, agent_id, services, currency),
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
    """Return the change of the booked balance by each transaction or effect booked since `snapshot`, in minor units.

    Those of the last `lag_s` seconds before it are included. Keyed by effect or transaction; an effect counts with all
    that it ever booked, so that a hold taken before the snapshot and given back after it are one.
    """
    booked = _booked_at(agent_id, services, currency)
    later = [entries.c.recorded_at > snapshot.taken_at - timedelta(seconds=lag_s)]
    # By number too: a transaction that committed after the snapshot may have taken its time before it.
    later += [(entries.c.account_id == account) & (entries.c.seq > seq) for account, seq in snapshot.versions.items()]
    recent = (
        sa.select(entries.c.txn_id, entries.c.amount, ledger_transactions.c.effect_id)
        .join(accounts, accounts.c.id == entries.c.account_id)
        .join(ledger_transactions, ledger_transactions.c.id == entries.c.txn_id)
        .where(*booked, sa.or_(*later))
    )
    moved: dict[str, int] = defaultdict(int)
    effect_ids = set()
    for row in connection.execute(recent):
        if row.effect_id is None:
            moved[f"txn:{row.txn_id}"] += row.amount
        else:
            effect_ids.add(row.effect_id)
    if effect_ids:
        whole = (
            sa.select(ledger_transactions.c.effect_id, minor_sum(entries.c.amount).label("amount"))
            .join(entries, entries.c.txn_id == ledger_transactions.c.id)
            .join(accounts, accounts.c.id == entries.c.account_id)
            .where(ledger_transactions.c.effect_id.in_(effect_ids), *booked)
            .group_by(ledger_transactions.c.effect_id)
        )
        moved |= {f"effect:{row.effect_id}": int(row.amount) for row in connection.execute(whole)}
    return dict(moved)


def read_balances(connection: Connection, agents: Sequence[str]) -> dict[str, dict[AccountKey, int]]:
    """Return all balances of `agents` in minor units, by agent and account; one statement, so one moment."""
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
    """Return the money that an agent has in flight, in minor units, by service."""
    with store.read_connection() as connection:
        balances = read_balances(connection, [agent_id])[agent_id]
    held = {
        key.service: minor
        for key, minor in balances.items()
        if (key.bucket, key.currency) == (Bucket.IN_FLIGHT, currency)
    }
    return {service: minor for service, minor in held.items() if minor}


def _booked_at(agent_id: str, services: Sequence[str], currency: str) -> list[sa.ColumnElement[bool]]:
    return [
        accounts.c.agent_id == agent_id,
        accounts.c.service.in_(services),
        accounts.c.currency == currency,
        accounts.c.bucket.in_(BOOKED_BUCKETS),
    ]


def read_open_effects(
    connection: Connection, agent_id: str, services: Sequence[str], currency: str
) -> list[OpenEffect]:
    """Return the agent's open effects at `services`, and those of others that bring money to it."""
    held = (
        sa.select(minor_sum(entries.c.amount))
        .join(accounts)
        .where(
            entries.c.txn_id == effects.c.hold_id,
            accounts.c.bucket == Bucket.IN_FLIGHT,
            accounts.c.currency == currency,
        )
        .scalar_subquery()
    )
    # A payment of another agent noted in its baseline, before the call, how much it brings.
    brought = effects.c.baseline["credits"][agent_id].as_string()
    is_open = effects.c.state.not_in(ENDED_STATES) & effects.c.service.in_(services)
    found: list[OpenEffect] = []
    for amount, condition in (
        (held, effects.c.agent_id == agent_id),
        (brought, (effects.c.agent_id != agent_id) & brought.is_not(None)),
    ):
        statement = sa.select(effects.c.id, effects.c.state, effects.c.called_at, amount.label("held"))
        rows = connection.execute(statement.where(is_open, condition))
        found += [OpenEffect(row.id, row.state, int(row.held or 0), row.called_at) for row in rows]
    return found
