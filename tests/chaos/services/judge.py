"""The judgement: our books and effects against the truth, intent by intent."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import sqlalchemy as sa

from agentstate.money.effects.table import EffectState
from agentstate.money.ledger.postings import balance_service
from agentstate.money.reconciliation.observations import BalanceReader, Observation
from agentstate.money.reconciliation.reconciler import Reconciler, ReconRules
from agentstate.services.observing import GatewayReader
from agentstate.store.store import Store
from agentstate.store.tables.money import accounts, effects, entries, ledger_transactions
from deploy.local.sandbox.faults import KINDS
from deploy.local.stack.results import Row, at_least, equal_to
from tests.chaos.services.setting import SERVICES, Group

DOUBLED = frozenset({"double_effect"})
HALVED = frozenset({"crash_between_steps", "lost_update"})
SERVICES_FAULT = DOUBLED | HALVED
"""Faults by which the service itself does something twice or half; no caller can prevent that, only tell it."""

UNASKED = frozenset({"deposit_credited", "deposit_bonus", "referral_commission", "escrow_refund"})
"""What comes without any call of ours."""

MANY = 5_000
"""Operations among which every kind of fault strikes; in fewer the rarest may not."""

Place: TypeAlias = tuple[str, str]
"""An agent and a service with a balance."""


@dataclass(kw_only=True)
class Findings:
    """What was found, before it is judged."""

    intents: Counter[str] = field(default_factory=Counter)
    by_service: Counter[str] = field(default_factory=Counter)
    most_effects: dict[str, int] = field(default_factory=dict)
    doubled: list[str] = field(default_factory=list)
    doubled_by_service: int = 0
    was_in_doubt: int = 0
    still_open: int = 0
    contradicted: list[str] = field(default_factory=list)
    unknown_keys: list[str] = field(default_factory=list)
    differences: dict[Place, int] = field(default_factory=dict)
    unexplained: list[str] = field(default_factory=list)
    told: set[Place] = field(default_factory=set)
    injected: Counter[str] = field(default_factory=Counter)


class Books:
    """What our own database holds at the end."""

    def __init__(self, store: Store) -> None:
        with store.read_connection() as connection:
            self.effects = [dict(row._mapping) for row in connection.execute(sa.select(effects))]
            self.moved = self._moved(connection)
            self.balances = self._balances(connection)

    def told(self, key: str) -> str:
        """An effect in a line."""
        for effect in self.effects:
            if effect["remote_key"] == key:
                return (
                    f"{effect['operation']} of {effect['agent_id']} {effect['state']}: {str(effect['outcome'])[:300]}"
                )
        return "no effect"

    def _moved(self, connection: sa.Connection) -> dict[tuple[str, str, str], int]:
        """By agent, service and remote key, what an effect moved on what is free."""
        tables = entries.join(accounts, accounts.c.id == entries.c.account_id)
        tables = tables.join(ledger_transactions, ledger_transactions.c.id == entries.c.txn_id)
        tables = tables.join(effects, effects.c.id == ledger_transactions.c.effect_id)
        names = (accounts.c.agent_id, accounts.c.service, effects.c.remote_key)
        free = accounts.c.bucket.in_(("available", "suspense"))
        statement = sa.select(*names, sa.func.sum(entries.c.amount)).select_from(tables).where(free).group_by(*names)
        return {
            (agent, balance_service(service), key): int(total)
            for agent, service, key, total in connection.execute(statement)
        }

    def _balances(self, connection: sa.Connection) -> dict[Place, int]:
        free = accounts.c.bucket.in_(("available", "suspense"))
        statement = sa.select(accounts.c.agent_id, accounts.c.service, accounts.c.balance).where(free)
        sums: dict[Place, int] = defaultdict(int)
        for agent, service, balance in connection.execute(statement):
            sums[agent, balance_service(service)] += balance
        return dict(sums)


class Truth:
    """What the sandbox says, in our agents' names."""

    def __init__(self, told: Mapping[str, Any], groups: Sequence[Group]) -> None:
        self.names = {
            (service, group.account(agent, service)): agent
            for group in groups
            for agent in group.agents
            for service in SERVICES
        }
        self.effects: Counter[str] = Counter()
        for row in told["effects"]:
            self.effects[row["request_key"]] += row["count"]
        self.faults: dict[str, set[str]] = defaultdict(set)
        for row in told["injected"]:
            self.faults[row["request_key"]].add(row["fault"])
        self.rows = list(told["ledger"])
        self.balances = self._balances(told["agents"])

    def place(self, row: Mapping[str, Any]) -> Place | None:
        """The agent and service of a ledger row; None when it is nobody's of ours."""
        service = row["account"].partition(":")[0]
        agent = self.names.get((service, row["agent_id"]))
        return None if agent is None else (agent, service)

    def _balances(self, agents: Mapping[str, Any]) -> dict[Place, int]:
        found: dict[Place, int] = defaultdict(int)
        for account, told in agents.items():
            for name, amount in told["accounts"].items():
                place = self.place({"account": name, "agent_id": account})
                if place is not None:
                    found[place] += amount["micros"]
        return dict(found)


def find(store: Store, told: Mapping[str, Any], groups: Sequence[Group], began: set[str]) -> Findings:
    """Everything that is to be judged; `began` are the remote keys that were in doubt at some time."""
    books, truth, found = Books(store), Truth(told, groups), Findings()
    found.was_in_doubt = len(began)
    for effect in books.effects:
        _one(effect, truth, found)
    ours = {effect["remote_key"] for effect in books.effects}
    found.unknown_keys = [key for key in truth.effects if key and key not in ours and ":" not in key]
    _money(books, truth, found)
    return found


def _one(effect: Mapping[str, Any], truth: Truth, found: Findings) -> None:
    key, guarantee = effect["remote_key"], effect["guarantee"]
    count, faults = truth.effects[key], truth.faults[key]
    found.intents[guarantee] += 1
    found.by_service[effect["service"]] += 1
    if faults & DOUBLED:
        found.doubled_by_service += count > 1
    else:
        found.most_effects[guarantee] = max(found.most_effects.get(guarantee, 0), count)
        if count > 1:
            found.doubled.append(f"{effect['operation']} {key[:12]} happened {count} times")
    state = effect["state"]
    found.still_open += state not in {EffectState.SUCCEEDED, EffectState.FAILED}
    halved = faults & HALVED
    if (state == EffectState.SUCCEEDED and not count and not halved) or (state == EffectState.FAILED and count):
        what = f"{effect['operation']} {key[:12]} of {effect['agent_id']} is {state}"
        found.contradicted.append(f"{what}, the truth has {count} ({faults}): {str(effect['outcome'])[:300]}")


def _money(books: Books, truth: Truth, found: Findings) -> None:
    """Compare what each intent moved, on each account."""
    for place in {*books.balances, *truth.balances}:
        difference = truth.balances.get(place, 0) - books.balances.get(place, 0)
        if difference:
            found.differences[place] = difference
    true: dict[tuple[str, str, str], int] = defaultdict(int)
    for row in truth.rows:
        place = truth.place(row)
        if place is not None and row["request_key"] and not _unasked(row):
            true[(*place, row["request_key"])] += row["micros"]
    for where in {*true, *books.moved}:
        gap = true.get(where, 0) - books.moved.get(where, 0)
        if gap and not truth.faults[where[2]] & SERVICES_FAULT:
            found.unexplained.append(
                f"{where[0]} {where[1]}: {gap} micro-USDC by {books.told(where[2])}, {truth.faults[where[2]]}"
            )


def _unasked(row: Mapping[str, Any]) -> bool:
    return row["reason"].partition(":")[0] in UNASKED


class GroupReader(BalanceReader):
    """Reads each agent's balances in its own dialect."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._gateways = {group.name: group.gateway() for group in groups}
        readers = {name: GatewayReader(gateway) for name, gateway in self._gateways.items()}
        self._readers = {agent: readers[group.name] for group in groups for agent in group.agents}

    def read_balance(self, agent_id: str, service: str) -> Observation:
        """What the service shows."""
        return self._readers[agent_id].read_balance(agent_id, service)

    def close(self) -> None:
        """Give up the connections."""
        for gateway in self._gateways.values():
            gateway.close()


def reconcile(store: Store, groups: Sequence[Group], found: Findings) -> None:
    """Compare every account as the fleet's own reconciliation does; note where it tells of a break."""
    reader = GroupReader(groups)
    reconciler = Reconciler(store, reader, ReconRules(lag_s=0.0, strikes=1))
    for place in ((agent, service) for group in groups for agent in group.agents for service in SERVICES):
        if reconciler.reconcile(*place).status == "break":
            found.told.add(place)
    reader.close()


def rows(found: Findings, seconds: float) -> Iterator[Row]:
    """The judgement as rows."""
    total = sum(found.intents.values())
    yield Row("operations", total, "")
    yield Row("operations per second", round(total / max(seconds, 1), 1), "1/s")
    for service, count in sorted(found.by_service.items()):
        yield at_least(f"operations at {service}", count, 1)
    struck = "kinds of fault that struck"
    yield equal_to(struck, len(found.injected), len(KINDS)) if total >= MANY else Row(struck, len(found.injected))
    yield Row("faults that struck", sum(found.injected.values()))
    for guarantee, most in sorted(found.most_effects.items()):
        name = f"{guarantee}: effects of one intent at most, of {found.intents[guarantee]}"
        yield Row(name, most, "", "<= 1", "truth route", most <= 1)
    yield equal_to("intents that happened more than once", len(found.doubled), 0)
    yield equal_to("effects at the services that no intent of ours stands for", len(found.unknown_keys), 0)
    yield Row("intents that were openly in doubt", found.was_in_doubt)
    yield equal_to("intents still open at the end", found.still_open, 0)
    yield equal_to("intents that ended otherwise than the truth says", len(found.contradicted), 0)
    yield equal_to("intents whose money is not booked as it moved", len(found.unexplained), 0)
    yield Row("intents that a service itself did twice", found.doubled_by_service)
    silent = set(found.differences) - found.told - _within_rounding(found)
    yield Row("accounts that a service's own fault left different", len(found.differences))
    yield equal_to("of these not told by reconciliation", len(silent), 0)
    yield equal_to("accounts told that are not different", len(found.told - set(found.differences)), 0)


def _within_rounding(found: Findings) -> set[Place]:
    """Domains shows whole cents, so less than half a cent cannot be told."""
    return {place for place, gap in found.differences.items() if place[1] == "domains" and abs(gap) <= 5_000}
