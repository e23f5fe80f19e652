"""A machine that does with a ledger whatever may be done, in any order, and a dict beside it that knows what follows.

The dict is the books as a child would keep them: a balance by place, what each key stands for, which holds have ended.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeAlias
from uuid import UUID, uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from agentstate.errors import Conflict, InsufficientFunds, KeyReused, NotFound
from agentstate.money import Attestor, Money, Posted, TransactionLedger, earn, move, spend
from agentstate.money.ledger.postings import COUNTER_BUCKETS, Line, Posting, net_lines, reverse_lines
from agentstate.store.store import Store, Transaction

Place: TypeAlias = tuple[str, str]
Outcome: TypeAlias = str | type[Exception]

TICK = timedelta(microseconds=1)
SERVICES = ("casino", "trading")
PLACES = tuple(itertools.product(SERVICES, ("available", "in_flight", "escrow_locked", "external", "fees")))
KEYS = st.integers(0, 11).map("k{}".format)
AMOUNTS = st.integers(1, 60)
_runs = itertools.count(1)


class Undone(Exception):
    """Ends a transaction that is not to be kept."""


@dataclass
class Books:
    """What the ledger should hold."""

    balances: dict[Place, int] = field(default_factory=lambda: defaultdict(int))
    posted: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Posted] = field(default_factory=dict)
    holds: dict[str, UUID] = field(default_factory=dict)
    ended: set[UUID] = field(default_factory=set)
    entries: int = 0
    history: list[tuple[datetime, dict[Place, int]]] = field(default_factory=list)

    def expect(self, asked: Posting) -> Outcome:
        """What the ledger has to answer; the books change when it is to be posted."""
        key, lines, resolves = asked.key, asked.lines, asked.resolves
        given = (asked.kind, sorted((line.service, str(line.bucket), line.amount.minor) for line in lines), resolves)
        if key in self.posted:
            return "replayed" if self.posted[key] == given else KeyReused
        if resolves in self.ended:
            return Conflict
        after = dict(self.balances)
        for line in lines:
            place = (line.service, str(line.bucket))
            after[place] = after.get(place, 0) + line.amount.minor
        if any(minor < 0 for (_, bucket), minor in after.items() if bucket not in COUNTER_BUCKETS):
            return InsufficientFunds
        self.balances.update(after)
        self.posted[key] = given
        self.entries += len(lines)
        if resolves is not None:
            self.ended.add(resolves)
        return "posted"

    def note(self, key: str, result: Posted) -> None:
        """Keep what the ledger answered."""
        self.results[key] = result
        self.history.append((result.recorded_at, dict(self.balances)))
        if result.kind == "hold":
            self.holds[key] = result.id


class LedgerMachine(RuleBasedStateMachine):
    """The rules; `on` makes the machine for a store and a kind of ledger."""

    store: ClassVar[Store]
    kind: ClassVar[type[TransactionLedger]] = TransactionLedger

    @classmethod
    def on(cls, store: Store, kind: type[TransactionLedger] = TransactionLedger) -> type[LedgerMachine]:
        """The machine for ledgers of `kind` in `store`."""
        return type("Machine", (cls,), {"store": store, "kind": kind})

    def __init__(self) -> None:
        super().__init__()
        self.agent = f"ag_machine_{next(_runs)}"
        self.books = Books()
        self.tx: Transaction | None = None
        # Several callers: one that knows its accounts, others that come fresh.
        self.ledgers = [self.kind(self.store, self.agent) for _ in range(3)]
        start = Posting(key="start", lines=earn("casino", Money.from_minor(100)), kind="deposit")
        self.act(0, start, lambda ledger: ledger.deposit("start", "casino", Money.from_minor(100)))

    def act(self, who: int, asked: Posting, call: Callable[[TransactionLedger], Posted]) -> None:
        """Call, and hold the answer against the books."""
        key, expected = asked.key, self.books.expect(asked)
        if isinstance(expected, type):
            with pytest.raises(expected):
                call(self.ledgers[who])
            return
        result = call(self.ledgers[who])
        assert ("replayed" if result.replayed else "posted") == expected
        if result.replayed:
            assert (result.id, result.recorded_at) == (self.books.results[key].id, self.books.results[key].recorded_at)
        else:
            self.books.note(key, result)

    def post(self, who: int, key: str, lines: Sequence[Line], kind: str = "transfer") -> None:
        asked = Posting(key=key, lines=lines, kind=kind)
        self.act(who, asked, lambda ledger: ledger.post(key, lines, kind=kind, tx=self.tx))

    @rule(who=st.integers(0, 2), key=KEYS, places=st.permutations(PLACES), amount=AMOUNTS)
    def moves(self, who: int, key: str, places: Sequence[Place], amount: int) -> None:
        self.post(who, key, move(Money.from_minor(amount), places[0], places[1]))

    @rule(who=st.integers(0, 2), key=KEYS, service=st.sampled_from(SERVICES), amount=AMOUNTS)
    def reserves(self, who: int, key: str, service: str, amount: int) -> None:
        held = move(Money.from_minor(amount), (service, "available"), (service, "in_flight"))
        asked = Posting(key=key, lines=held, kind="hold")
        self.act(who, asked, lambda ledger: ledger.reserve(key, service, Money.from_minor(amount), tx=self.tx))

    @precondition(lambda self: self.books.holds)
    @rule(who=st.integers(0, 2), key=KEYS, data=st.data(), paid=st.integers(0, 40), won=st.integers(0, 40))
    def settles(self, who: int, key: str, data: st.DataObject, paid: int, won: int) -> None:
        hold_id, given = self._hold(data)
        service = given[0].service
        happened = [
            *(spend(service, Money.from_minor(paid)) if paid else ()),
            *(earn(service, Money.from_minor(won)) if won else ()),
        ]
        asked = Posting(key=key, lines=net_lines([*given, *happened]), kind="settle", resolves=hold_id)
        self.act(who, asked, lambda ledger: ledger.settle(key, hold_id, happened, tx=self.tx))

    @precondition(lambda self: self.books.holds)
    @rule(who=st.integers(0, 2), key=KEYS, data=st.data())
    def voids(self, who: int, key: str, data: st.DataObject) -> None:
        self.void(who, key, *self._hold(data))

    @precondition(lambda self: self.books.ended)
    @rule(who=st.integers(0, 2), data=st.data(), in_flight=st.booleans())
    def voids_what_has_ended(self, who: int, data: st.DataObject, in_flight: bool) -> None:
        hold_id, given = self._hold(data, among=self.books.ended)
        service = given[0].service
        if in_flight:
            # Enough is in flight, so nothing but the hold's end refuses it.
            self.post(who, str(uuid4()), move(Money.from_minor(60), (service, "external"), (service, "in_flight")))
        self.void(who, str(uuid4()), hold_id, given)

    def void(self, who: int, key: str, hold_id: UUID, given: Sequence[Line]) -> None:
        asked = Posting(key=key, lines=given, kind="void", resolves=hold_id)
        self.act(who, asked, lambda ledger: ledger.void(key, hold_id, tx=self.tx))

    @rule(who=st.integers(0, 2), key=KEYS)
    def settles_what_is_no_hold(self, who: int, key: str) -> None:
        with pytest.raises(NotFound):
            self.ledgers[who].settle(key, uuid4(), tx=self.tx)

    @rule(who=st.integers(0, 2), key=KEYS, data=st.data())
    def reverses(self, who: int, key: str, data: st.DataObject) -> None:
        wrong = self.books.results[data.draw(st.sampled_from(sorted(self.books.results)))]
        self.post(who, key, reverse_lines(wrong.lines), kind="reversal")

    @rule(who=st.integers(0, 2), data=st.data())
    def replays(self, who: int, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.books.results)))
        kind, _, resolves = self.books.posted[key]
        if resolves is None:
            self.post(who, key, self.books.results[key].lines, kind=kind)

    @rule(steps=st.lists(st.tuples(KEYS, st.permutations(PLACES), AMOUNTS), min_size=1, max_size=4), kept=st.booleans())
    def together(self, steps: Sequence[tuple[str, Sequence[Place], int]], kept: bool) -> None:
        """Several postings in one transaction, which is kept or not; one that is refused leaves the others."""
        before = deepcopy(self.books)
        with suppress(Undone):
            self._in_one(steps, kept=kept)
        self.tx = None
        if not kept:
            self.books = before

    def _in_one(self, steps: Sequence[tuple[str, Sequence[Place], int]], *, kept: bool) -> None:
        with self.store.transaction() as self.tx:
            for key, places, amount in steps:
                self.post(0, key, move(Money.from_minor(amount), places[0], places[1]))
            if not kept:
                raise Undone

    @rule(who=st.integers(0, 2), place=st.sampled_from(PLACES), data=st.data())
    def looks_back(self, who: int, place: Place, data: st.DataObject) -> None:
        moment, balances = data.draw(st.sampled_from(self.books.history))
        service, bucket = place
        assert self.ledgers[who].balance(service, bucket=bucket, as_of=moment).minor == balances.get(place, 0)
        first = self.books.history[0][0]
        assert not self.ledgers[who].balance(service, bucket=bucket, as_of=first - TICK)

    @rule(whole=st.booleans())
    def attests(self, whole: bool) -> None:
        assert Attestor(self.store).run(whole=whole).damages == ()

    def teardown(self) -> None:
        """At the end everything has to agree."""
        ledger = self.kind(self.store, self.agent)
        for place in PLACES:
            service, bucket = place
            expected = self.books.balances[place]
            assert ledger.balance(service, bucket=bucket).minor == expected
            for whole in (False, True):
                summed = ledger.balance_from_ledger(service=service, bucket=bucket, whole=whole)
                assert summed == Money.from_minor(expected).amount
        lines = ledger.statement(limit=1_000).lines
        assert len(lines) == self.books.entries
        for _, account in itertools.groupby(lines, key=lambda line: line.account_id):
            numbered = list(account)
            assert [line.seq for line in numbered] == list(range(1, len(numbered) + 1))
            times = [line.recorded_at for line in numbered]
            assert times == sorted(set(times))
        assert {found.key for found in ledger.recent(1_000)} == set(self.books.posted)
        self.attests(whole=True)

    def _hold(self, data: st.DataObject, among: Collection[UUID] | None = None) -> tuple[UUID, list[Line]]:
        known = {key: hold for key, hold in self.books.holds.items() if among is None or hold in among}
        key = data.draw(st.sampled_from(sorted(known)))
        return known[key], reverse_lines(self.books.results[key].lines)
