"""Reconciliation: does a service show the balance that our books say?

The books are read, then the service, then the books again. Operations that were open or booked around that time may or
may not show yet; a difference that some of them add up to is timing, not a break. A difference that nothing explains is
a break: at once when nothing was open, else when it is found a second time, and no effect is freshly in doubt, whose
price or prize is not known. A service that does not answer is stale, never zero.

Every registered currency is compared that the books or the service have at the account; each has findings of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import combinations
from typing import Any, Literal, TypeAlias

from agentstate.errors import AgentStateError
from agentstate.ids import validate_name
from agentstate.money.amounts import DEFAULT_CURRENCY, Money, is_registered
from agentstate.money.effects.table import EffectState
from agentstate.money.ledger.postings import balance_service, services_of_balance
from agentstate.money.reconciliation import cursors as recon_rows
from agentstate.money.reconciliation.books_snapshot import (
    BooksSnapshot,
    OpenEffect,
    open_snapshot,
    read_books,
    read_currencies,
    sum_moves_since,
)
from agentstate.money.reconciliation.breaks import Breaks, Sighting
from agentstate.money.reconciliation.cursors import Cursor
from agentstate.money.reconciliation.observations import LIVE, BalanceReader, Observation
from agentstate.store.store import Store

Status: TypeAlias = Literal["matched", "timing", "break", "stale"]

_MOST_SUBSETS = 12
_WORST_FIRST: tuple[Status, ...] = ("break", "timing", "stale", "matched")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconRules:
    """When to compare and how exactly; seconds and minor units."""

    currency: str = DEFAULT_CURRENCY
    """Compared always; others only where the books or the service have any."""
    every_s: float = 60.0
    recheck_s: float = 10.0
    """After a difference that timing may explain."""
    lag_s: float = 2.0
    """Time that a booked operation may take to show at the service."""
    lease_s: float = 45.0
    strikes: int = 2
    progress_s: float = 5.0
    """How long a call may be under way before it counts as in doubt."""
    doubt_s: float = 120.0
    """How long an effect in doubt may explain any difference: longer than leases and settle times last."""
    tolerances: Mapping[str, int] = field(default_factory=lambda: {"domains": 5_000})
    """Half of the unit that a service rounds to, by service; 0 for the others. Domains shows whole cents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Result of one comparison in one currency, and those in `others`.

    `expected` is the free money by the books; `observed` is None when stale.
    """

    agent_id: str
    service: str
    status: Status
    expected: Money
    observed: Money | None
    difference: Money | None
    evidence: Mapping[str, Any]
    others: tuple[Finding, ...] = ()
    """Findings in the account's other currencies, no worse than this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The books before, the balance that the service showed (or why it did not), and the books after."""

    currency: str
    before: BooksSnapshot
    after: BooksSnapshot
    observation: Observation | None
    trouble: str
    moved: Mapping[str, int]

    @property
    def observed(self) -> Money | None:
        """The balance that the service showed, None when it is unknown."""
        return self.observation.balance_in(self.currency) if self.observation else None

    @property
    def open_effects(self) -> list[OpenEffect]:
        """Effects that were open before or after the service was read."""
        return [*self.before.open_effects, *self.after.open_effects]

    @property
    def uncertain(self) -> dict[str, int]:
        """Amounts that may or may not show at the service yet, by effect or transaction."""
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
        comparisons = self._compare(cursor)
        judged = [self._judge(cursor, comparison) for comparison in comparisons]
        self._record(cursor, judged, comparisons[0].before.taken_at)
        findings = sorted((finding for finding, _ in judged), key=lambda finding: _WORST_FIRST.index(finding.status))
        return replace(findings[0], others=tuple(findings[1:]))

    def _compare(self, cursor: Cursor) -> list[Comparison]:
        """Read the books, the service, and the books again, in each currency that either has."""
        agent_id, services = cursor.agent_id, services_of_balance(cursor.service)
        with open_snapshot(self._store) as connection:
            currencies = {self._rules.currency, *read_currencies(connection, agent_id, services)}
            before = {code: read_books(connection, agent_id, services, code) for code in currencies}
        observation: Observation | None = None
        trouble = ""
        try:
            answer = self._reader.read_balance(agent_id, cursor.service)
        except AgentStateError as error:
            trouble = str(error)
        else:
            if answer.quality == LIVE:
                observation = answer
            else:
                trouble = f"the service answered, but its answer is {answer.quality}"
        with open_snapshot(self._store) as connection:
            shown = {code for code, amount in observation.balances.items() if amount} if observation else set()
            currencies |= {code for code in shown if is_registered(code)}
            comparisons = []
            for code in sorted(currencies, key=lambda code: (code != self._rules.currency, code)):
                after = read_books(connection, agent_id, services, code)
                first = before.get(code, after)
                lag_s = self._rules.lag_s
                seen = observation if observation and code in observation.balances else None
                comparison = Comparison(
                    currency=code,
                    before=first,
                    after=after,
                    observation=seen,
                    trouble="" if seen else trouble or f"the service shows no balance in {code}",
                    moved=sum_moves_since(connection, agent_id, services, code, snapshot=first, lag_s=lag_s),
                )
                # A currency that the agent no longer has, and that the service does not show, is no open question.
                if code == self._rules.currency or seen or after.booked or comparison.uncertain:
                    comparisons.append(comparison)
        return comparisons

    def _judge(self, cursor: Cursor, comparison: Comparison) -> tuple[Finding, int]:
        """Return the finding, and how often in a row its difference has been found."""
        expected = Money.from_minor(comparison.after.booked, comparison.currency)
        observed, uncertain = comparison.observed, comparison.uncertain

        def conclude(status: Status, strikes: int, evidence: Mapping[str, Any]) -> tuple[Finding, int]:
            finding = Finding(
                agent_id=cursor.agent_id,
                service=cursor.service,
                status=status,
                expected=expected,
                observed=observed,
                difference=None if observed is None else observed - expected,
                evidence={**evidence, "strikes": strikes},
            )
            return finding, strikes

        if observed is None:
            return conclude("stale", 0, {"reason": comparison.trouble})
        difference = observed.minor - expected.minor
        # Tolerances are in minor units of the main currency; services round no other.
        tolerance = self._rules.tolerances.get(cursor.service, 0) if comparison.currency == self._rules.currency else 0
        seen = comparison.observation
        evidence = {
            "booked_before": comparison.before.booked,
            "booked_after": comparison.after.booked,
            "before_at": comparison.before.taken_at,
            "after_at": comparison.after.taken_at,
            "uncertain": dict(sorted(uncertain.items())[:100]),
            "shown": dict(seen.balances) if seen else {},
            "shown_at": seen.as_of if seen else None,
        }
        if abs(difference) <= tolerance:
            return conclude("matched", 0, evidence)
        if is_explained(difference, list(uncertain.values()), tolerance):
            return conclude("timing", 0, evidence)
        with self._store.read_connection() as connection:
            last = recon_rows.read_last_run(connection, cursor.agent_id, cursor.service, comparison.currency)
        if any(self._in_doubt(effect, comparison.after.taken_at) for effect in comparison.open_effects):
            return conclude("timing", last.strikes, evidence)
        # Transient differences vary from run to run, so only the very same one counts again.
        strikes = last.strikes + 1 if last.strikes and last.difference == difference else 1
        nothing_open = not uncertain and not comparison.before.open_effects
        return conclude("break" if nothing_open or strikes >= self._rules.strikes else "timing", strikes, evidence)

    def _in_doubt(self, effect: OpenEffect, at: datetime) -> bool:
        """True if the effect may have moved the balance by an amount that is not known yet."""
        age_s = (at - effect.called_at).total_seconds()
        cut_off = effect.state == EffectState.INTENT and age_s > self._rules.progress_s
        return (cut_off or effect.state == EffectState.IN_DOUBT) and age_s < self._rules.doubt_s

    def _record(self, cursor: Cursor, judged: Sequence[tuple[Finding, int]], started_at: datetime) -> None:
        worst = min((finding.status for finding, _ in judged), key=_WORST_FIRST.index)
        due_in = (
            self._rules.recheck_s if any(finding.status == "timing" for finding, _ in judged) else self._rules.every_s
        )
        strikes = max(strikes for _, strikes in judged)
        with self._store.transaction() as tx:
            if not recon_rows.release_cursor(tx, cursor, status=worst, strikes=strikes, due_in=due_in):
                return
            for finding, _ in judged:
                row = {
                    "agent_id": finding.agent_id,
                    "service": finding.service,
                    "currency": finding.expected.currency,
                    "status": finding.status,
                    "expected": finding.expected.minor,
                    "observed": finding.observed.minor if finding.observed is not None else None,
                    "difference": finding.difference.minor if finding.difference is not None else None,
                    "evidence": finding.evidence,
                }
                recon_rows.insert_run(tx, row, started_at=started_at)
                sighting = Sighting(
                    agent_id=finding.agent_id,
                    service=finding.service,
                    kind="balance",
                    subject=finding.expected.currency,
                    amount=finding.difference,
                    evidence=finding.evidence,
                )
                if finding.status == "break":
                    self._breaks.report(sighting, tx=tx)
                elif finding.status == "matched":
                    self._breaks.explain(sighting.fingerprint, "the service and the books agree again", tx=tx)


def is_explained(difference: int, uncertain: Sequence[int], tolerance: int = 0) -> bool:
    """True if some of `uncertain` adds up to `difference`, within `tolerance`; all in minor units.

    Beyond 12 values the exact test is too long; then anything between the least and the largest sum will do.
    """
    values = [value for value in uncertain if value]
    if len(values) > _MOST_SUBSETS:
        lowest, highest = sum(min(value, 0) for value in values), sum(max(value, 0) for value in values)
        return lowest - tolerance <= difference <= highest + tolerance
    sums = (sum(chosen) for size in range(1, len(values) + 1) for chosen in combinations(values, size))
    return any(abs(difference - total) <= tolerance for total in sums)
