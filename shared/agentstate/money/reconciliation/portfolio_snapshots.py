"""Portfolio snapshots: what each agent owned at one moment, by service.

The idea: the amounts come from one cut of the books, so money in flight is counted once; what each service showed, and
when, is noted beside it. A leg that neither the books nor any service tell about is unknown, and one that rests on what
a service showed too long ago is not known any more; then the total is not either, and only its bounds are given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from agentstate.errors import AgentStateError, InvalidInput
from agentstate.ids import validate_name
from agentstate.money.amounts import DEFAULT_CURRENCY, Money
from agentstate.money.ledger.postings import OWNED_BUCKETS, AccountKey, Bucket
from agentstate.money.ledger.shared_balances import balance_service, services_of_balance
from agentstate.money.reconciliation.books_snapshot import open_snapshot, read_balances
from agentstate.money.reconciliation.enrolment import ServiceAccounts
from agentstate.money.reconciliation.observations import Observation, SeenReader
from agentstate.store.store import Store
from agentstate.store.tables.base import db_time
from agentstate.store.tables.portfolio import portfolio_snapshots
from agentstate.store.upsert import insert_new

MAX_SLICE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRules:
    """How old an observation may be to count as fresh (seconds), and in which currency totals are."""

    currency: str = DEFAULT_CURRENCY
    fresh_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice did; `next_after` is where the next one begins, None when the fleet is through."""

    taken: int
    known: int
    next_after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A stored snapshot. `total` is None when a leg is unknown, or rests on what a service showed too long ago.

    `low` and `high` bound it then, None being no bound.
    """

    agent_id: str
    slot: str
    taken_at: datetime
    legs: Mapping[str, Mapping[str, Any]]
    total: Money | None
    low: Money | None
    high: Money | None


class SnapshotTaker:
    """Takes and reads portfolio snapshots."""

    def __init__(self, store: Store, reader: SeenReader, rules: SnapshotRules | None = None) -> None:
        self._store = store
        self._reader = reader
        self._rules = rules or SnapshotRules()
        self._fleet = ServiceAccounts(store)

    def take_slice(self, slot: str, *, after: str = "", limit: int = 200) -> Slice:
        """Snapshot the next `limit` (at most 500) enrolled agents behind `after` for `slot`.

        A slot has one snapshot of an agent however often it is taken, so a slice that was cut off is simply taken
        again.
        """
        agents = self._fleet.list_agents(after=after, limit=min(limit, MAX_SLICE))
        taken = self.take_agents(slot, agents)
        return Slice(taken, len(agents) - taken, agents[-1] if len(agents) == min(limit, MAX_SLICE) else None)

    def take_agents(self, slot: str, agents: Sequence[str]) -> int:
        """Snapshot these agents for `slot`; return how many had none yet."""
        _checked_slot(slot)
        if not agents:
            return 0
        services = self._fleet.list_services(agents)
        seen = {agent: self._seen(agent, services[agent]) for agent in agents}
        with open_snapshot(self._store) as connection:
            taken_at: datetime = connection.execute(sa.select(db_time())).scalar_one()
            books = read_balances(connection, agents)
        with self._store.transaction() as tx:
            rows = [
                self._row(slot, agent, taken_at, self._legs(books[agent], services[agent], seen[agent], taken_at))
                for agent in agents
            ]
            return insert_new(tx, portfolio_snapshots, rows)

    def latest(self, agent_id: str) -> Snapshot | None:
        """The agent's newest snapshot, None when there is none."""
        found = self.history(agent_id, limit=1)
        return found[0] if found else None

    def history(self, agent_id: str, *, limit: int = 100) -> list[Snapshot]:
        """The agent's newest snapshots, newest first."""
        table = portfolio_snapshots.c
        mine = table.agent_id == validate_name(agent_id)
        statement = sa.select(portfolio_snapshots).where(mine).order_by(table.taken_at.desc()).limit(limit)
        with self._store.read_connection() as connection:
            return [_snapshot(row) for row in connection.execute(statement)]

    def _seen(self, agent_id: str, services: Sequence[str]) -> Mapping[str, Observation]:
        try:
            return self._reader.read_last_seen(agent_id, sorted({balance_service(service) for service in services}))
        except AgentStateError:
            # The cache is down: nothing was seen, which each leg then says.
            return {}

    def _legs(
        self,
        books: Mapping[AccountKey, int],
        services: Sequence[str],
        seen: Mapping[str, Observation],
        taken_at: datetime,
    ) -> dict[str, dict[str, Any]]:
        roots = {balance_service(service) for service in services} | {balance_service(key.service) for key in books}
        return {
            root: build_leg(root, books, seen.get(root), taken_at=taken_at, rules=self._rules) for root in sorted(roots)
        }

    def _row(self, slot: str, agent_id: str, taken_at: datetime, legs: dict[str, dict[str, Any]]) -> dict[str, Any]:
        known = [Money(part["amount"], self._rules.currency).minor for part in legs.values() if _exact(part)]
        whole = len(known) == len(legs)
        total = sum(known)
        return {
            "agent_id": agent_id,
            "slot": slot,
            "taken_at": taken_at,
            "legs": legs,
            "currency": self._rules.currency,
            "total": total if whole else None,
            # What is not known is not below zero, and has no upper bound.
            "low": total,
            "high": total if whole else None,
        }


def build_leg(
    root: str,
    books: Mapping[AccountKey, int],
    seen: Observation | None,
    *,
    taken_at: datetime,
    rules: SnapshotRules,
) -> dict[str, Any]:
    """One leg: what the books say is owned at a balance, beside what the service showed.

    `status` is `fresh` or `stale` by the age of what was seen, `booked` when only the books tell, `unknown` when
    nothing does; `amount` is None then. `beyond` is what the service adds to the free money, such as open positions:
    it is in the amount when it was seen, as of then when that is stale. `difference` is what the service showed beyond
    what the books say is free.
    """
    members = services_of_balance(root)
    own = {key: minor for key, minor in books.items() if key.service in members and key.currency == rules.currency}
    parts = {
        bucket: sum(minor for key, minor in own.items() if key.bucket == bucket) for bucket in sorted(OWNED_BUCKETS)
    }
    shown = seen.balance_in(rules.currency) if seen else None
    free = Money.from_minor(parts[Bucket.AVAILABLE] + parts[Bucket.SUSPENSE], rules.currency)
    beyond = seen.worth_beyond(rules.currency) if seen else None
    owned = Money.from_minor(sum(parts.values()), rules.currency) if own else shown
    if owned is not None and beyond is not None:
        owned += beyond
    return {
        "status": _status(seen if shown is not None else None, booked=bool(own), at=taken_at, fresh_s=rules.fresh_s),
        "amount": None if owned is None else owned.amount,
        "parts": {bucket: Money.from_minor(minor, rules.currency).amount for bucket, minor in parts.items()}
        if own
        else {},
        "beyond": None if beyond is None else beyond.amount,
        "observed": None if shown is None else shown.amount,
        "as_of": seen.as_of if seen else None,
        "quality": seen.quality if seen else None,
        "difference": None if shown is None or not own else (shown - free).amount,
        "others": _others(books, members, rules.currency),
    }


def _others(books: Mapping[AccountKey, int], members: Sequence[str], currency: str) -> dict[str, Any]:
    """What is owned in other currencies, which no total can include."""
    owned: dict[str, int] = defaultdict(int)
    for key, minor in books.items():
        if key.service in members and key.currency != currency and key.bucket in OWNED_BUCKETS:
            owned[key.currency] += minor
    return {code: Money.from_minor(minor, code).amount for code, minor in owned.items() if minor}


def _status(seen: Observation | None, *, booked: bool, at: datetime, fresh_s: float) -> str:
    if seen is None:
        return "booked" if booked else "unknown"
    return "fresh" if (at - seen.as_of).total_seconds() <= fresh_s else "stale"


def _exact(part: Mapping[str, Any]) -> bool:
    """Whether the amount holds at the time of the snapshot: the books tell it, or the service did a short while ago."""
    if part["amount"] is None:
        return False
    booked = bool(part["parts"]) and not part["beyond"]
    return booked or part["status"] != "stale"


def _checked_slot(slot: str) -> str:
    if not 1 <= len(slot) <= 64 or not slot.isprintable():  # noqa: PLR2004 the column's width
        raise InvalidInput(f"the slot {slot[:80]!r} is refused: use 1 to 64 printable characters.")
    return slot


def _snapshot(row: sa.Row[Any]) -> Snapshot:
    amounts = {
        name: None if (minor := getattr(row, name)) is None else Money.from_minor(minor, row.currency)
        for name in ("total", "low", "high")
    }
    return Snapshot(agent_id=row.agent_id, slot=row.slot, taken_at=row.taken_at, legs=row.legs, **amounts)
