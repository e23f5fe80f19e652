"""Whatever is done with a ledger, in whatever order: it agrees with a dict. And the machine that says so can fail."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from agentstate.errors import AgentStateError
from agentstate.ids import new_id
from agentstate.money import Money, Posted, TransactionLedger
from agentstate.money.ledger.ledger import VOID
from agentstate.money.ledger.postings import Posting, reverse_lines
from agentstate.money.ledger.statement import read_hold_lines
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.money import accounts
from tests.integration.money.ledger_machine import LedgerMachine

QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
SHORT = settings(max_examples=5, stateful_step_count=14, deadline=None, suppress_health_check=QUIET)
LONG = settings(SHORT, max_examples=40, stateful_step_count=50, derandomize=True, database=None)
# The same steps in every run: a planted bug is found always or never.
PLANTED = settings(
    SHORT,
    max_examples=200,
    stateful_step_count=20,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)

FOUND = (AssertionError, pytest.fail.Exception, AgentStateError)


@pytest.fixture
def in_memory(_sqlite_template: Path, fast_folder: Path) -> Iterator[str]:
    """A SQLite file that no disk slows down."""
    with TemporaryDirectory(dir=fast_folder) as folder:
        shutil.copy(_sqlite_template, Path(folder) / "machine.db")
        yield f"sqlite:///{folder}/machine.db"


@pytest.fixture(params=["postgres", "sqlite"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A database of its own: attesting is about all of it."""
    name = "postgres_url" if request.param == "postgres" else "in_memory"
    opened = Store.open(request.getfixturevalue(name))
    yield opened
    opened.close()


def test_a_ledger_does_what_a_dict_would(store: Store) -> None:
    run_state_machine_as_test(LedgerMachine.on(store), settings=SHORT)


@pytest.mark.long
def test_a_ledger_does_what_a_dict_would_for_long(store: Store) -> None:
    run_state_machine_as_test(LedgerMachine.on(store), settings=LONG)


class ForgetsKeys(TransactionLedger):
    """A retry is a new posting."""

    def _write(self, posting: Posting, tx: Transaction | None) -> Posted:
        written = super()._write(posting, tx)
        return super()._write(replace(posting, key=str(new_id())), tx) if written.replayed else written


class TakesAnyKey(TransactionLedger):
    """Another posting under a key counts as a retry of the first."""

    def _write(self, posting: Posting, tx: Transaction | None) -> Posted:
        with self._store.transaction(tx) as opened:
            known = self.find(posting.key) if tx is None else None
            return known or super()._write(posting, opened)


class KnowsNoFloor(TransactionLedger):
    """Whoever has nothing may spend."""

    def _write(self, posting: Posting, tx: Transaction | None) -> Posted:
        return super()._write(replace(posting, suspend_shortage=True), tx)


class GivesBackTwice(TransactionLedger):
    """A hold that has ended can be given back again."""

    def void(self, key: str, hold_id: UUID, *, tx: Transaction | None = None) -> Posted:
        with self._store.transaction(tx) as opened:
            given = reverse_lines(read_hold_lines(opened.connection, self.agent_id, hold_id))
            return self._write(Posting(key=key, lines=given, kind=VOID), opened)


class LooksTooEarly(TransactionLedger):
    """The entry of just that time is not counted."""

    def balance(
        self, service: str, currency: str = "USDC", *, as_of: datetime | None = None, bucket: str = "available"
    ) -> Money:
        earlier = None if as_of is None else as_of - timedelta(microseconds=1)
        return super().balance(service, currency, as_of=earlier, bucket=bucket)


class SumsOnlyTheTail(TransactionLedger):
    """What was attested is left out of the sum."""

    def balance_from_ledger(self, currency: str = "USDC", **options: Any) -> Decimal:
        found = super().balance_from_ledger(currency, **options)
        return found if options["whole"] else found - Money.from_minor(len(self.recent(1))).amount


class ChangesARow(TransactionLedger):
    """An account row is set by hand."""

    def reserve(self, key: str, service: str, amount: Money, *, tx: Transaction | None = None) -> Posted:
        held = super().reserve(key, service, amount, tx=tx)
        mine = (accounts.c.agent_id == self.agent_id) & (accounts.c.service == service)
        with self._store.transaction(tx) as opened:
            opened.connection.execute(sa.update(accounts).where(mine).values(balance=accounts.c.balance + 1))
        return held


class KeepsWhatWasUndone(TransactionLedger):
    """A posting of a transaction that was undone is written later all the same."""

    _late: Mapping[str, Posting]

    def _write(self, posting: Posting, tx: Transaction | None) -> Posted:
        late, self._late = getattr(self, "_late", {}), {}
        if tx is None:
            for missed in late.values():
                super()._write(missed, None)
        else:
            self._late = {posting.key: posting}
        return super()._write(posting, tx)


@pytest.mark.parametrize(
    "kind",
    [
        ForgetsKeys,
        TakesAnyKey,
        KnowsNoFloor,
        pytest.param(GivesBackTwice, marks=pytest.mark.long),
        LooksTooEarly,
        SumsOnlyTheTail,
        ChangesARow,
        KeepsWhatWasUndone,
    ],
)
def test_a_planted_bug_is_found(in_memory: str, kind: type[TransactionLedger]) -> None:
    with closing(Store.open(in_memory)) as store, pytest.raises(FOUND):
        run_state_machine_as_test(LedgerMachine.on(store, kind), settings=PLANTED)
