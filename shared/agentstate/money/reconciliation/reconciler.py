"""Reconciliation: is what a service shows what our books say?

The idea: read the books, then the service, then the books again. Whatever was open or booked around that time may or
may not show yet; a difference that some of it adds up to is timing, not a break. What nothing explains is a break: at
once when nothing was open, else when the same is there the second time, and no effect is freshly in doubt: nobody knows
its price or prize. A service that does not answer is stale, never zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations
from typing import Any, Literal, TypeAlias

from agentstate.errors import AgentStateError
from agentstate.ids import validate_name
from agentstate.money.amounts import DEFAULT_CURRENCY, Money
from agentstate.money.effects.table import EffectState
from agentstate.money.ledger.shared_balances import balance_service, services_of_balance
from agentstate.money.reconciliation import cursors as recon_rows
from agentstate.money.reconciliation.books_snapshot import (
    BooksSnapshot,
    OpenEffect,
    open_snapshot,
    read_books,
    sum_moves_since,
)
from agentstate.money.reconciliation.breaks import Breaks, Sighting
from agentstate.money.reconciliation.cursors import Cursor
from agentstate.money.reconciliation.observations import LIVE, BalanceReader, Observation
from agentstate.store.store import Store

Status: TypeAlias = Literal["matched", "timing", "break", "stale"]

_MOST_SUBSETS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconRules:
    """When to compare and how exactly; seconds and minor units."""

    currency: str = DEFAULT_CURRENCY
    every_s: float = 60.0
    recheck_s: float = 10.0
    """After a difference that timing may explain."""
    lag_s: float = 2.0
    """How long what was booked may take to show."""
    lease_s: float = 45.0
    strikes: int = 2
    progress_s: float = 5.0
    """How long a call may be under way before it counts as in doubt."""
    doubt_s: float = 120.0
    """How long an effect in doubt may explain any difference: longer than leases and settle times last."""
    tolerances: Mapping[str, int] = field(default_factory=lambda: {"domains": 5_000})
    """Half of what a service rounds to, by service; 0 for the others. Domains shows whole cents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one comparison found. `expected` is what the books say is free; `observed` is None when stale."""

    agent_id: str
    service: str
    status: Status
    expected: Money
    observed: Money | None
    difference: Money | None
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandwich:
    """One comparison before it is judged: the books before, the service or why it did not tell, the books after."""

    before: BooksSnapshot
    after: BooksSnapshot
    observation: Observation | None
    trouble: str
    moved: Mapping[str, int]

    @property
    def open_effects(self) -> list[OpenEffect]:
        """What was open before or after the service was read."""
        return [*self.before.open_effects, *self.after.open_effects]

    @property
    def uncertain(self) -> dict[str, int]:
        """What each thing that may or may not show yet would add to what the service shows."""
        open_ids = {f"effect:{effect.id}" for effect in self.after.open_effects}
        booked = {name: -amount for name, amount in self.moved.items() if name not in open_ids and amount}
        unknown = {f"effect:{effect.id}": effect.held for effect in self.after.open_effects}
        return booked | unknown


class Reconciler:
    """Compares accounts with their services."""

    def __init__(self, store: Store, reader: BalanceReader, rules: ReconRules | None = None) -> None:
        self._store = store
        self._reader = reader
        self._rules = rules or ReconRules()
        self._breaks = Breaks(store)

    def reconcile(self, agent_id: str, service: str) -> Finding:
        """Compare one agent's books with one service now; services that share a balance are compared as one.

        Writes the run, opens or closes its break, and sets when the account is due again, in one transaction. When
        another run of the same account began later, its result stands and this one is only returned.
        """
        root = balance_service(validate_name(service, "service"))
        with self._store.transaction() as tx:
            cursor = recon_rows.claim_one(tx, validate_name(agent_id), root, lease_s=self._rules.lease_s)
        return self._run(cursor)

    def reconcile_due(self, limit: int = 20) -> list[Finding]:
        """Compare up to `limit` accounts that are due and that no other process is at."""
        with self._store.transaction() as tx:
            claimed = recon_rows.claim_due(tx, limit, lease_s=self._rules.lease_s)
        return [self._run(cursor) for cursor in claimed]

    def _run(self, cursor: Cursor) -> Finding:
        sandwich = self._look(cursor)
        finding, strikes = self._judge(cursor, sandwich)
        self._record(cursor, finding, strikes, sandwich.before.taken_at)
        return finding

    def _look(self, cursor: Cursor) -> Sandwich:
        scope = (cursor.agent_id, services_of_balance(cursor.service), self._rules.currency)
        with open_snapshot(self._store) as connection:
            before = read_books(connection, *scope)
        observation, trouble = self._read(cursor)
        with open_snapshot(self._store) as connection:
            after = read_books(connection, *scope)
            moved = sum_moves_since(connection, *scope, snapshot=before, lag_s=self._rules.lag_s)
        return Sandwich(before=before, after=after, observation=observation, trouble=trouble, moved=moved)

    def _read(self, cursor: Cursor) -> tuple[Observation | None, str]:
        try:
            seen = self._reader.read_balance(cursor.agent_id, cursor.service)
        except AgentStateError as error:
            return None, str(error)
        if seen.quality != LIVE:
            return None, f"the service answered, but its answer is {seen.quality}"
        if self._rules.currency not in seen.balances:
            return None, f"the service shows no balance in {self._rules.currency}"
        return seen, ""

    def _judge(self, cursor: Cursor, sandwich: Sandwich) -> tuple[Finding, int]:
        currency = self._rules.currency
        expected = Money.from_minor(sandwich.after.booked, currency)
        observed = sandwich.observation.balance_in(currency) if sandwich.observation else None
        if observed is None:
            evidence = {"reason": sandwich.trouble}
            return self._finding(cursor, "stale", expected, None, evidence), cursor.strikes
        difference, uncertain = observed.minor - expected.minor, sandwich.uncertain
        tolerance = self._rules.tolerances.get(cursor.service, 0)
        evidence = _evidence(sandwich, uncertain)
        if abs(difference) <= tolerance:
            return self._finding(cursor, "matched", expected, observed, evidence), 0
        if is_explained(difference, list(uncertain.values()), tolerance):
            return self._finding(cursor, "timing", expected, observed, evidence), 0
        if any(self._in_doubt(effect, sandwich.after.taken_at) for effect in sandwich.open_effects):
            return self._finding(cursor, "timing", expected, observed, evidence), cursor.strikes
        strikes = cursor.strikes + 1 if self._same_as_before(cursor, difference) else 1
        broken = not _anything_open(sandwich, uncertain) or strikes >= self._rules.strikes
        status: Status = "break" if broken else "timing"
        return self._finding(cursor, status, expected, observed, evidence | {"strikes": strikes}), strikes

    def _in_doubt(self, effect: OpenEffect, at: datetime) -> bool:
        """Whether the effect may have moved the balance by an amount that nobody knows as yet."""
        age_s = (at - effect.called_at).total_seconds()
        cut_off = effect.state == EffectState.INTENT and age_s > self._rules.progress_s
        return (cut_off or effect.state == EffectState.IN_DOUBT) and age_s < self._rules.doubt_s

    def _same_as_before(self, cursor: Cursor, difference: int) -> bool:
        """Whether the last run found this very difference: what passes by differs from time to time."""
        if cursor.strikes == 0:
            return False
        with self._store.read_connection() as connection:
            return recon_rows.last_difference(connection, cursor.agent_id, cursor.service) == difference

    def _finding(
        self, cursor: Cursor, status: Status, expected: Money, observed: Money | None, evidence: dict[str, Any]
    ) -> Finding:
        return Finding(
            agent_id=cursor.agent_id,
            service=cursor.service,
            status=status,
            expected=expected,
            observed=observed,
            difference=None if observed is None else observed - expected,
            evidence=evidence,
        )

    def _record(self, cursor: Cursor, finding: Finding, strikes: int, started_at: datetime) -> None:
        due_in = self._rules.recheck_s if finding.status == "timing" else self._rules.every_s
        with self._store.transaction() as tx:
            if not recon_rows.release_cursor(tx, cursor, status=finding.status, strikes=strikes, due_in=due_in):
                return
            recon_rows.insert_run(tx, _run_row(finding), started_at=started_at)
            sighting = _sighting(finding)
            if finding.status == "break":
                self._breaks.report(sighting, tx=tx)
            elif finding.status == "matched":
                self._breaks.explain(sighting.fingerprint, "the service and the books agree again", tx=tx)


def is_explained(difference: int, uncertain: Sequence[int], tolerance: int = 0) -> bool:
    """Whether some of `uncertain` adds up to `difference`, within `tolerance`; all in minor units.

    Beyond 12 values the exact test is too long; then anything between the least and the largest sum will do.
    """
    values = [value for value in uncertain if value]
    if len(values) > _MOST_SUBSETS:
        lowest, highest = sum(min(value, 0) for value in values), sum(max(value, 0) for value in values)
        return lowest - tolerance <= difference <= highest + tolerance
    sums = (sum(chosen) for size in range(1, len(values) + 1) for chosen in combinations(values, size))
    return any(abs(difference - total) <= tolerance for total in sums)


def _anything_open(sandwich: Sandwich, uncertain: Mapping[str, int]) -> bool:
    return bool(uncertain or sandwich.before.open_effects)


def _evidence(sandwich: Sandwich, uncertain: Mapping[str, int]) -> dict[str, Any]:
    seen = sandwich.observation
    return {
        "booked_before": sandwich.before.booked,
        "booked_after": sandwich.after.booked,
        "before_at": sandwich.before.taken_at,
        "after_at": sandwich.after.taken_at,
        "uncertain": dict(sorted(uncertain.items())[:100]),
        "shown": dict(seen.balances) if seen else {},
        "shown_at": seen.as_of if seen else None,
    }


def _sighting(finding: Finding) -> Sighting:
    return Sighting(
        agent_id=finding.agent_id,
        service=finding.service,
        kind="balance",
        subject=finding.expected.currency,
        amount=finding.difference,
        evidence=finding.evidence,
    )


def _run_row(finding: Finding) -> dict[str, Any]:
    return {
        "agent_id": finding.agent_id,
        "service": finding.service,
        "currency": finding.expected.currency,
        "status": finding.status,
        "expected": finding.expected.minor,
        "observed": finding.observed.minor if finding.observed is not None else None,
        "difference": finding.difference.minor if finding.difference is not None else None,
        "evidence": finding.evidence,
    }
