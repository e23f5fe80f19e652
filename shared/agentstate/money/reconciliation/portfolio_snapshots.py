"""Portfolio snapshots: the money that each agent owned at one moment, by service and currency.

The amounts come from one read of the books, so money in flight is counted once; the balance that each service showed,
and when, is noted beside it. A leg that neither the books nor a service know about is unknown, and one that rests on an
old reading of a service is not known any more; then the total is not known either, and only its bounds are given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from agentstate.errors import AgentStateError, InvalidInput, NotFound
from agentstate.ids import validate_name
from agentstate.money.amounts import DEFAULT_CURRENCY, Money, is_registered
from agentstate.money.ledger.postings import OWNED_BUCKETS, AccountKey, Bucket, balance_service, services_of_balance
from agentstate.money.reconciliation.books_snapshot import open_snapshot, read_balances
from agentstate.money.reconciliation.enrolment import ServiceAccounts
from agentstate.money.reconciliation.observations import Observation, SeenReader
from agentstate.store.store import Store
from agentstate.store.tables.base import db_time
from agentstate.store.tables.money import portfolio_snapshots
from agentstate.store.upsert import insert_new

MAX_SLICE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRules:
    """Age up to which an observation is fresh (seconds), and the currency of totals."""

    currency: str = DEFAULT_CURRENCY
    fresh_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Slice:
    """Result of one slice; `next_after` is the agent after which the next one begins, None at the end of the fleet."""

    taken: int
    known: int
    next_after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A stored snapshot.

    `total` is in the currency of the snapshot rules, and None when a leg is unknown or rests on an old reading; `low`
    and `high` bound it then, None being no bound. Money in other currencies stands in the leg's `others`, by currency,
    with the same fields; `total_in` sums it.
    """

    agent_id: str
    slot: str
    taken_at: datetime
    legs: Mapping[str, Mapping[str, Any]]
    total: Money | None
    low: Money | None
    high: Money | None

    def total_in(self, currency: str) -> Money | None:
        """Return the total in any currency; None when a leg that has some does not know its amount.

        Example:
            fleet.snapshots.get("ag_7").total_in("BTC")
        """
        if self.low is not None and self.low.currency == currency:
            return self.total
        parts = [leg["others"][currency] for leg in self.legs.values() if currency in leg["others"]]
        if not all(_is_current(part) for part in parts):
            return None
        return sum((Money(part["amount"], currency) for part in parts), Money.zero(currency))


class SnapshotTaker:
    """Takes and reads portfolio snapshots; `fleet.snapshots`."""

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
        if not 1 <= len(slot) <= 64 or not slot.isprintable():  # noqa: PLR2004 the column's width
            raise InvalidInput(f"the slot {slot[:80]!r} is refused: use 1 to 64 printable characters.")
        if not agents:
            return 0
        services = self._fleet.list_services(agents)
        seen: dict[str, Mapping[str, Observation]] = {}
        for agent in agents:
            shown_by = sorted({balance_service(service) for service in services[agent]})
            try:
                seen[agent] = self._reader.read_last_seen(agent, shown_by)
            except AgentStateError:
                # The cache is down: every leg then says that nothing was seen.
                seen[agent] = {}
        with open_snapshot(self._store) as connection:
            taken_at: datetime = connection.execute(sa.select(db_time())).scalar_one()
            books = read_balances(connection, agents)
        currency, rows = self._rules.currency, []
        for agent in agents:
            names = sorted(
                {balance_service(name) for name in (*services[agent], *(key.service for key in books[agent]))}
            )
            legs = {
                name: build_leg(name, books[agent], seen[agent].get(name), taken_at=taken_at, rules=self._rules)
                for name in names
            }
            known = [Money(leg["amount"], currency).minor for leg in legs.values() if _is_current(leg)]
            total, is_whole = sum(known), len(known) == len(legs)
            row = {"agent_id": agent, "slot": slot, "taken_at": taken_at, "legs": legs, "currency": currency}
            # An unknown leg is not below zero, and has no upper bound.
            bounds = {"low": total, "total": total if is_whole else None, "high": total if is_whole else None}
            rows.append(row | bounds)
        with self._store.transaction() as tx:
            return insert_new(tx, portfolio_snapshots, rows)

    def find(self, agent_id: str) -> Snapshot | None:
        """Return the agent's newest snapshot, None when there is none.

        Example:
            snapshot = fleet.snapshots.find("ag_7")
        """
        found = self.list(agent_id, limit=1)
        return found[0] if found else None

    def get(self, agent_id: str) -> Snapshot:
        """Return the agent's newest snapshot; raise NotFound when there is none.

        Example:
            print(fleet.snapshots.get("ag_7").total)
        """
        found = self.find(agent_id)
        if found is None:
            raise NotFound(f"there is no snapshot of {agent_id} yet; enrolled agents get one at the next slot.")
        return found

    def list(self, agent_id: str, *, limit: int = 100) -> Sequence[Snapshot]:
        """Return the agent's newest snapshots, newest first.

        Example:
            for snapshot in fleet.snapshots.list("ag_7", limit=10):
                print(snapshot.taken_at, snapshot.total)
        """
        table = portfolio_snapshots.c
        mine = table.agent_id == validate_name(agent_id)
        statement = sa.select(portfolio_snapshots).where(mine).order_by(table.taken_at.desc()).limit(limit)
        with self._store.read_connection() as connection:
            rows = connection.execute(statement).all()
        snapshots = []
        for row in rows:
            amounts = {
                name: None if (minor := getattr(row, name)) is None else Money.from_minor(minor, row.currency)
                for name in ("total", "low", "high")
            }
            snapshots.append(
                Snapshot(agent_id=row.agent_id, slot=row.slot, taken_at=row.taken_at, legs=row.legs, **amounts)
            )
        return snapshots


def build_leg(
    service: str,
    books: Mapping[AccountKey, int],
    seen: Observation | None,
    *,
    taken_at: datetime,
    rules: SnapshotRules,
) -> dict[str, Any]:
    """Return one leg: the money owned at the balance that `service` shows, and the last observation there.

    Fields of the leg, and of each of its `others` by currency (any registered currency that the books or the service
    have there); amounts are Decimal in whole units:
        status: `fresh`, `stale`, `booked` (nothing was seen, the books tell) or `unknown`.
        amount: money owned, None when unknown: the books' when they have any, else the balance that the service
            showed; in both cases with `beyond`.
        parts: the books' amounts by bucket.
        beyond: money owned beyond the free balance, such as open positions, as of `as_of`.
        observed, as_of, quality: the balance that the service showed, when, and how good the answer was.
        difference: the shown balance less the free money of the books.
    """
    services = services_of_balance(service)
    own: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(sorted(OWNED_BUCKETS), 0))
    for key, minor in books.items():
        if key.service in services:
            own[key.currency]
            if key.bucket in OWNED_BUCKETS:
                own[key.currency][key.bucket] += minor
    shown = {code for code, amount in seen.balances.items() if amount and is_registered(code)} if seen else set()
    others = sorted({code for code, parts in own.items() if any(parts.values())} | shown - {rules.currency})
    fresh_s = rules.fresh_s
    return {
        **_build_amounts(rules.currency, own.get(rules.currency), seen, taken_at=taken_at, fresh_s=fresh_s),
        "others": {
            code: _build_amounts(code, own.get(code), seen, taken_at=taken_at, fresh_s=fresh_s)
            for code in others
            if code != rules.currency
        },
    }


def _build_amounts(
    currency: str, booked: Mapping[str, int] | None, seen: Observation | None, *, taken_at: datetime, fresh_s: float
) -> dict[str, Any]:
    """Return the fields of a leg in one currency; `booked` are the minor units by bucket, None without accounts."""
    shown = seen.balance_in(currency) if seen else None
    beyond = seen.worth_beyond(currency) if seen else None
    owned, difference = shown, None
    if booked is not None:
        owned = Money.from_minor(sum(booked.values()), currency)
        free = Money.from_minor(booked[Bucket.AVAILABLE] + booked[Bucket.SUSPENSE], currency)
        difference = None if shown is None else shown - free
    if owned is not None and beyond is not None:
        owned += beyond
    status = "unknown" if booked is None else "booked"
    if seen is not None and shown is not None:
        status = "fresh" if (taken_at - seen.as_of).total_seconds() <= fresh_s else "stale"
    return {
        "status": status,
        "amount": None if owned is None else owned.amount,
        "parts": {bucket: Money.from_minor(minor, currency).amount for bucket, minor in (booked or {}).items()},
        "beyond": None if beyond is None else beyond.amount,
        "observed": None if shown is None else shown.amount,
        "as_of": seen.as_of if seen else None,
        "quality": seen.quality if seen else None,
        "difference": None if difference is None else difference.amount,
    }


def _is_current(part: Mapping[str, Any]) -> bool:
    """True if the amount holds at the time of the snapshot: by the books, or by a recent reading of the service."""
    if part["amount"] is None:
        return False
    is_booked = bool(part["parts"]) and not part["beyond"]
    return is_booked or part["status"] != "stale"
