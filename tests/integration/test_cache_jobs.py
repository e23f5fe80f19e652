"""What workers do for the cache: they read ahead what is in use, and drop what a settled effect has spoiled."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from agentstate.agent import Fleet
from agentstate.errors import EffectInDoubt
from agentstate.jobs import JobRunner, Outcome
from agentstate.jobs.kinds import KINDS
from agentstate.runtime import Runtime
from agentstate.services.cache.reading import Quality
from agentstate.services.operations import casino
from agentstate.store.tables import effects


@pytest.fixture
def settings_changes(settings_at_sandbox: dict[str, Any]) -> dict[str, Any]:
    return settings_at_sandbox


@pytest.fixture
def handlers(settings_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The handlers of the tasks, by module; they are given a runtime of the test's own."""
    for name, value in settings_env.items():
        monkeypatch.setenv(name, value)
    import tasks.effects

    return tasks.effects


def test_what_a_worker_settles_is_read_anew(runtime: Runtime, handlers: Any, sandbox: Any, rich: str) -> None:
    agent = Fleet(runtime).agent(f"{rich}_doubt")
    agent.effects.execute_once("register", casino.register())
    agent.effects.execute_once("deposit", casino.deposit(amount=Decimal(100)))
    sandbox.client.set_faults({"fault": "commit_then_drop", "operation": "bet", "agent_id": agent.id})
    with pytest.raises(EffectInDoubt):
        agent.effects.execute_once("bet", casino.bet(amount=Decimal(1), side="heads"))
    sandbox.client.set_faults()
    assert agent.services.read("casino").quality is Quality.LIVE
    with runtime.store.read_connection() as connection:
        effect_id: UUID = connection.execute(sa.select(effects.c.id).where(effects.c.key == "bet")).scalar_one()
    job_id = runtime.jobs.submit("effects.resolve", {"effect_id": str(effect_id)}, agent_id=agent.id)
    outcome = JobRunner(runtime.store).run_job(
        job_id, KINDS["effects.resolve"], lambda claim: handlers.resolve_effect(runtime, claim)
    )
    assert outcome is Outcome.DONE
    assert runtime.cache.peek(agent.id, "casino").quality is Quality.UNKNOWN
