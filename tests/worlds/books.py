"""One agent's books on both databases, and time that can be made to pass for a stored effect."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from agentstate.money import Money, TransactionLedger
from agentstate.store.store import Store
from agentstate.store.tables.base import db_time
from agentstate.store.tables.money import effects
from tests.stubs.remote import Remote

ROOT = Path(__file__).parents[2]
_numbers = itertools.count(1)


@pytest.fixture
def ledger(store: Store) -> TransactionLedger:
    """An agent with 100 USDC at the casino."""
    made = TransactionLedger(store, f"ag_money_{next(_numbers)}")
    made.deposit("start", "casino", Money(100))
    return made


def buckets(ledger: TransactionLedger, service: str = "casino") -> dict[str, str]:
    """What is not zero, by bucket, as plain numbers."""
    names = ("available", "in_flight", "escrow_locked", "suspense", "fees")
    balances = {name: ledger.balance(service, bucket=name) for name in names}
    return {name: f"{money.amount.normalize():f}" for name, money in balances.items() if money}


def let_time_pass(store: Store, agent_id: str, seconds: float = 120.0) -> None:
    """Make an agent's effects older: leases end, settle windows close, looks become due."""
    mine = effects.c.agent_id == agent_id
    with store.transaction() as tx:
        values = {"created_at": db_time(-seconds), "called_at": db_time(-seconds)}
        tx.connection.execute(sa.update(effects).where(mine).values(values))
        leased = mine & effects.c.lease_until.is_not(None)
        tx.connection.execute(sa.update(effects).where(leased).values(lease_until=db_time(-1.0)))
        waiting = mine & effects.c.next_verify_at.is_not(None)
        tx.connection.execute(sa.update(effects).where(waiting).values(next_verify_at=db_time(-1.0)))


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    with Remote() as running:
        yield running


def bettor(url: str, agent_id: str, remote: Remote, guarantee: str, phase: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(ROOT / "tests/integration/money/bettor.py"),
        url,
        agent_id,
        str(remote.port),
        guarantee,
        phase,
    ]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'shared'}{os.pathsep}{ROOT}"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
