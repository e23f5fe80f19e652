"""Counting afterwards: what the remote did against what was told and booked, by plain queries of the tables.

None of our own readers is used, so that a mistake of theirs cannot hide one of the writers'.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from agentstate.store.store import Store
from agentstate.store.tables import jobs
from agentstate.store.tables.money import accounts, breaks, effect_evidence, effects, entries, ledger_transactions
from tests.chaos.money.scene import FOLLOW_UP, STAKE, START, WON


@dataclass(frozen=True, kw_only=True)
class Found:
    """One agent at the end."""

    wanted: int
    """Bets that it wanted."""
    applied: int
    """Bets that the remote took."""
    requests: int
    """Requests for bets that reached the remote."""
    succeeded: int
    """Effects that are recorded as having happened."""
    books: str
    """What is wrong with the books, "" when they are as the remote's."""
    evidence: Counter[str]
    """Kinds of evidence, and of breaks with `break:` before them, counted."""

    @property
    def doubled(self) -> int:
        """Bets too many."""
        return max(0, self.applied - self.wanted)

    @property
    def lost(self) -> int:
        """Bets that were not made, or of which no success is recorded."""
        return self.wanted - min(self.wanted, self.applied, self.succeeded)


def audit(
    store: Store, truth: Mapping[str, Any], agents: Mapping[str, int], *, swept: AbstractSet[str] | None
) -> dict[str, Found]:
    """Every agent with what is found.

    Args:
        store: the store.
        truth: what the remote says.
        agents: how many bets each wanted.
        swept: agents whose bets the sweep may have settled; it knows nothing of the caller's own follow-up. None:
            there is no follow-up.
    """
    with store.read_connection() as connection:
        read = _Read(connection, list(agents))
    found = {}
    for agent, wanted in agents.items():
        applied = len(truth["bets"].get(agent, ()))
        found[agent] = Found(
            wanted=wanted,
            applied=applied,
            requests=truth["requests"].get(agent, 0),
            succeeded=read.succeeded[agent],
            books=read.wrong(agent, applied) or read.wrong_follow_up(agent, swept),
            evidence=read.evidence[agent],
        )
    return found


class _Read:
    """All rows of some agents, as far as they are needed."""

    def __init__(self, connection: sa.Connection, agents: list[str]) -> None:
        self._connection, self._agents = connection, agents
        self.succeeded = Counter(agent for agent, state in self._pairs(effects, "state") if state == "succeeded")
        self._jobs = Counter(agent for agent, kind in self._pairs(jobs, "kind") if kind == FOLLOW_UP)
        self.evidence: dict[str, Counter[str]] = defaultdict(Counter)
        for agent, kind in [*self._pairs(breaks, "kind", "break:"), *self._kinds_of_evidence()]:
            self.evidence[agent][kind] += 1
        self._balances: dict[str, dict[str, int]] = defaultdict(dict)
        self._broken: Counter[str] = Counter()
        self._read_accounts()
        self._read_transactions()

    def wrong(self, agent: str, applied: int) -> str:
        """What the books lack against `applied` bets at the remote."""
        gain = applied * (WON.minor - STAKE.minor)
        wanted = {"available": START.minor + gain, "in_flight": 0, "external": -START.minor - gain}
        has = {bucket: self._balances[agent].get(bucket, 0) for bucket in wanted}
        wrong = [f"{bucket} {has[bucket]} != {wanted[bucket]}" for bucket in wanted if has[bucket] != wanted[bucket]]
        if self._broken[agent]:
            wrong.append("an account is not the sum of its entries, or a transaction does not sum to zero")
        return ", ".join(wrong)

    def wrong_follow_up(self, agent: str, swept: AbstractSet[str] | None) -> str:
        """Whether the jobs that follow outcomes are as many as the outcomes."""
        followed, most = self._jobs[agent], 0 if swept is None else self.succeeded[agent]
        least = most if swept is None or agent not in swept else 0
        return "" if least <= followed <= most else f"{followed} follow-up jobs for {most} outcomes"

    def _pairs(self, table: sa.Table, column: str, prefix: str = "") -> Iterable[tuple[str, str]]:
        query = sa.select(table.c.agent_id, table.c[column]).where(table.c.agent_id.in_(self._agents))
        return [(agent, prefix + value) for agent, value in self._connection.execute(query)]

    def _kinds_of_evidence(self) -> Iterable[tuple[str, str]]:
        query = (
            sa.select(effects.c.agent_id, effect_evidence.c.kind)
            .join(effects, effects.c.id == effect_evidence.c.effect_id)
            .where(effects.c.agent_id.in_(self._agents))
        )
        return [(agent, kind) for agent, kind in self._connection.execute(query)]

    def _read_accounts(self) -> None:
        total = sa.func.coalesce(sa.func.sum(entries.c.amount), 0)
        query = (
            sa.select(accounts.c.agent_id, accounts.c.bucket, accounts.c.balance, accounts.c.version, total,
                      sa.func.count(entries.c.seq), sa.func.coalesce(sa.func.max(entries.c.seq), 0))
            .select_from(accounts.outerjoin(entries, entries.c.account_id == accounts.c.id))
            .where(accounts.c.agent_id.in_(self._agents))
            .group_by(accounts.c.id)
        )  # fmt: skip
        for agent, bucket, balance, version, summed, count, newest in self._connection.execute(query):
            self._balances[agent][bucket] = balance
            self._broken[agent] += int(balance != int(summed)) + int(not version == count == newest)

    def _read_transactions(self) -> None:
        query = (
            sa.select(ledger_transactions.c.agent_id)
            .join(entries, entries.c.txn_id == ledger_transactions.c.id)
            .where(ledger_transactions.c.agent_id.in_(self._agents))
            .group_by(ledger_transactions.c.id, ledger_transactions.c.agent_id)
            .having(sa.func.sum(entries.c.amount) != 0)
        )
        for (agent,) in self._connection.execute(query):
            self._broken[agent] += 1
