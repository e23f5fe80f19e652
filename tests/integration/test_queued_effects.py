"""Effects that an agent queues: a worker does each once, and the job tells what became of it."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from agentstate.agent import Agent, Fleet
from agentstate.errors import InvalidInput, KeyReused
from agentstate.jobs import JobRunner, Outcome
from agentstate.jobs.kinds import KINDS
from agentstate.money import Money
from agentstate.money.effects.table import EffectState
from agentstate.runtime import Runtime
from agentstate.services.operations import casino
from agentstate.store.tables import jobs as table
from agentstate.store.tables.base import db_time
from agentstate.store.tables.money import effects

KIND = "effects.perform"


@pytest.fixture
def settings_changes(settings_at_sandbox: dict[str, Any]) -> dict[str, Any]:
    return settings_at_sandbox


@pytest.fixture
def queued(runtime: Runtime, rich: str) -> Agent:
    """An agent whose books know its 100 dollars at the casino."""
    agent = Fleet(runtime).agent(rich)
    agent.ledger.deposit("start", "casino", Money(100))
    return agent


@pytest.fixture
def perform(monkeypatch: pytest.MonkeyPatch, settings_env: dict[str, str]) -> Any:
    for name, value in settings_env.items():
        monkeypatch.setenv(name, value)
    import tasks.effects

    return tasks.effects.execute_submitted


def run(runtime: Runtime, job_id: UUID, perform: Any) -> Outcome:
    with runtime.store.transaction() as tx:
        tx.connection.execute(sa.update(table).where(table.c.id == job_id).values(due_at=db_time(-1)))
    return JobRunner(runtime.store).run_job(job_id, KINDS[KIND], partial(perform, runtime))


def test_a_queued_bet_is_made_once_and_its_job_has_the_receipt(
    queued: Agent, runtime: Runtime, sandbox: Any, perform: Any
) -> None:
    first = queued.effects.submit("bet:1", casino.bet(amount=Decimal("2.50"), side="heads"))
    assert queued.effects.submit("bet:1", casino.bet(amount=Decimal("2.50"), side="heads")) == first
    assert run(runtime, first, perform) is Outcome.DONE
    assert run(runtime, first, perform) is Outcome.NOTHING
    told = queued.jobs.get(first).result
    assert told["state"] == "succeeded"
    bet = casino.bet(amount=Decimal("2.50"), side="heads")
    assert bet.load_receipt(told["receipt"]) == queued.effects.execute_once("bet:1", bet)
    assert list(sandbox.client.count_effects(queued.id, "casino.bet").values()) == [1]
    assert queued.ledger.balance("casino").minor == sandbox.client.read_balance(queued.id)


def test_a_bet_that_comes_by_the_broker_has_its_amount_as_text(
    queued: Agent, runtime: Runtime, sandbox: Any, perform: Any
) -> None:
    payload = {"key": "bet:1", "operation": "casino.bet", "params": {"amount": "2.50", "side": "heads"}}
    assert run(runtime, queued.jobs.submit(KIND, payload), perform) is Outcome.DONE
    assert list(sandbox.client.count_effects(queued.id, "casino.bet").values()) == [1]


def test_a_queued_bet_whose_answer_was_lost_waits_and_is_found(
    queued: Agent, runtime: Runtime, sandbox: Any, perform: Any
) -> None:
    sandbox.client.set_faults({"fault": "commit_then_drop", "times": 1})
    job_id = queued.effects.submit("bet:1", casino.bet(amount=Decimal(3), side="heads"))
    assert run(runtime, job_id, perform) is Outcome.RETRY
    waiting = queued.jobs.get(job_id)
    assert (waiting.status, waiting.attempts) == ("ready", 0)
    assert run(runtime, job_id, perform) is Outcome.DONE
    assert queued.jobs.get(job_id).result["state"] == "succeeded"
    assert list(sandbox.client.count_effects(queued.id, "casino.bet").values()) == [1]


def test_a_bet_that_is_refused_is_done_and_says_so(queued: Agent, runtime: Runtime, perform: Any) -> None:
    job_id = queued.effects.submit("bet:1", casino.bet(amount=Decimal(90), side="heads"))
    assert run(runtime, job_id, perform) is Outcome.DONE
    told = queued.jobs.get(job_id).result
    assert told["state"] == "failed"
    assert "kelly" in told["message"]


def test_what_a_human_has_to_find_out_ends_the_job_and_stays_open(
    queued: Agent, runtime: Runtime, perform: Any
) -> None:
    job_id = queued.effects.submit("bet:1", casino.bet(amount=Decimal(1), side="heads"))
    assert run(runtime, job_id, perform) is Outcome.DONE
    with runtime.store.transaction() as tx:
        values = {"state": EffectState.MANUAL, "outcome": None, "resolved_at": None}
        tx.connection.execute(sa.update(effects).where(effects.c.key == "bet:1").values(values))
    again = queued.jobs.submit(KIND, {"key": "bet:1", "operation": "casino.bet", "params": _params(Decimal(1))})
    assert run(runtime, again, perform) is Outcome.DONE
    assert queued.jobs.get(again).result["state"] == "manual"


def test_an_unknown_operation_ends_as_a_dead_job_with_its_reason(queued: Agent, runtime: Runtime, perform: Any) -> None:
    job_id = queued.jobs.submit(KIND, {"key": "x", "operation": "casino.steal"})
    assert run(runtime, job_id, perform) is Outcome.ENDED
    job = queued.jobs.get(job_id)
    assert job.status == "dead"
    assert "casino.steal" in str(job.error)


def test_wrong_parameters_are_refused_before_anything_is_stored(queued: Agent) -> None:
    with pytest.raises(InvalidInput, match="side"):
        queued.effects.submit("bet:1", casino.bet(amount=Decimal(1), side="edge"))
    queued.effects.submit("bet:1", casino.bet(amount=Decimal(1), side="heads"))
    with pytest.raises(KeyReused):
        queued.effects.submit("bet:1", casino.bet(amount=Decimal(2), side="heads"))
    assert len(queued.jobs.list(kind=KIND)) == 1


def _params(amount: Decimal) -> dict[str, Any]:
    return {"amount": amount, "side": "heads"}
