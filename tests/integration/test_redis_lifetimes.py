"""What lies on Redis: every key of ours ends by itself, and a broker that could throw queues away is not served."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis

from agentstate.agent import Fleet
from agentstate.errors import ConfigurationError
from agentstate.runtime import Runtime
from agentstate.services.operations import casino
from agentstate.settings import Settings
from deploy.local.demo.audits import list_our_keys
from deploy.local.stack.table import python_path
from tests.stubs.redis_server import redis_server
from workers.readiness import require_usable_broker

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings_changes(settings_at_sandbox: dict[str, Any]) -> dict[str, Any]:
    return settings_at_sandbox


def live(runtime: Runtime, agent_id: str) -> None:
    """Use every part of an agent that leaves something on Redis."""
    agent = Fleet(runtime).agent(agent_id)
    agent.effects.execute_once("register", casino.register())
    agent.effects.execute_once("deposit", casino.deposit(amount=Decimal(100)))
    agent.effects.execute_once("bet", casino.bet(amount=Decimal(1), side="heads"))
    for number in range(40):
        agent.episodes.record("bet", {"n": number})
    agent.episodes.update_outcome(agent.episodes.get_recent(1)[0], {"won": True})
    agent.services.portfolio()
    agent.profile.set_field("mood", "calm")
    agent.profile.increment_session()
    agent.profile.snapshot()
    agent.updates.publish_update("mood", "calm")
    agent.memory.remember("Flat stakes beat doubling up.", kind="lesson")
    runtime.traffic.limiter.record_limit("POST /api/v1/casino/bet", 1.0)
    agent.episodes.get_recent()
    agent.episodes.record("bet", {"n": 99})


@pytest.mark.guide_defect(146)
def test_every_key_of_ours_ends_by_itself(runtime: Runtime, rich: str) -> None:
    live(runtime, f"{rich}_life")
    keys = list_our_keys(runtime)
    parts = {key.name.split(":")[2] for key in keys if key.name.startswith("as:{")}
    assert {"episodes", "state", "sent", "halt"} <= parts
    assert [key.name for key in keys if key.ttl_s < 0] == []
    assert [key.name for key in keys if not key.name.startswith("as:")] == []


def test_a_key_without_an_end_is_found(runtime: Runtime) -> None:
    runtime.redis.set("as:{ag_1}:forgotten", 1)
    assert [key.name for key in list_our_keys(runtime) if key.ttl_s < 0] == ["as:{ag_1}:forgotten"]


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
def test_a_broker_that_evicts_queues_is_refused(settings: Settings, tmp_path: Path, policy: str) -> None:
    with redis_server(tmp_path, "--maxmemory-policy", policy) as url:
        with pytest.raises(ConfigurationError, match=policy):
            require_usable_broker(settings.model_copy(update={"broker_url": url}))
        with redis.Redis.from_url(url) as client:
            client.config_set("maxmemory-policy", "volatile-ttl")
        require_usable_broker(settings.model_copy(update={"broker_url": url}))


def test_a_broker_that_does_not_answer_yet_is_no_reason_to_refuse(settings: Settings) -> None:
    require_usable_broker(settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"}))


@pytest.mark.parametrize("command", [["worker", "--queues", "cache"], ["beat"]])
def test_workers_and_beat_do_not_start_on_such_a_broker(
    settings_env: dict[str, str], tmp_path: Path, command: list[str]
) -> None:
    with redis_server(tmp_path, "--maxmemory-policy", "allkeys-lfu") as url:
        env = os.environ | settings_env | {"AGENTSTATE_BROKER_URL": url, "PYTHONPATH": python_path(None)}
        started = subprocess.run(
            [sys.executable, "-m", "workers", *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
    assert started.returncode == 1
    assert "allkeys-lfu" in started.stderr
    assert "Nothing was started" in started.stderr
