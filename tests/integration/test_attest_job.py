"""The attestation as a job: it ends as done with its root, and what it found is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from agentstate.money import Attestor, Money, TransactionLedger
from agentstate.runtime import Runtime
from agentstate.settings import Settings
from agentstate.store.tables.money import accounts
from tests.stubs.job_handlers import run_job, task_module

KIND = "housekeeping.attest"


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    opened = Runtime(settings)
    TransactionLedger(opened.store, "ag_1").deposit("start", "casino", Money(100))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def handler() -> Any:
    return task_module("housekeeping").attest_ledger


def attested(runtime: Runtime, handler: Any) -> dict[str, Any]:
    return run_job(runtime, runtime.jobs.submit(KIND), handler)


def test_the_root_is_the_result(runtime: Runtime, handler: Any) -> None:
    result = attested(runtime, handler)
    [stored] = Attestor(runtime.store).history()
    assert result == {"number": 1, "root": stored.root.hex(), "accounts": 2, "damages": 0}


def test_damage_is_told_in_the_log(runtime: Runtime, handler: Any, caplog: pytest.LogCaptureFixture) -> None:
    with runtime.store.transaction() as tx:
        tx.connection.execute(sa.update(accounts).where(accounts.c.bucket == "available").values(balance=7))
    with caplog.at_level(logging.ERROR):
        assert attested(runtime, handler)["damages"] >= 1
    assert "the account says a balance of 7" in caplog.text
