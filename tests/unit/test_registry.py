"""The registry of kinds is whole: every kind has a task, a queue, a payload and words, and every task a kind."""

from __future__ import annotations

import importlib

import pytest

from agentstate.jobs.broker import VISIBILITY_TIMEOUT_S, celery_settings
from agentstate.jobs.kinds import BULK, KINDS
from agentstate.jobs.leases import LEASE_MARGIN_S
from agentstate.jobs.spec import QUEUES
from agentstate.jobs.wake_ups import lane_queues
from agentstate.settings import Settings
from tests.stubs.job_handlers import task_module


@pytest.fixture(scope="module")
def application() -> object:
    return task_module("app").app


def test_every_kind_has_its_task_and_every_task_its_kind(application: object) -> None:
    from tasks.app import DECLARED, MODULES, app

    for module in MODULES:
        importlib.import_module(module)
    assert set(DECLARED) == {*KINDS, *BULK}
    ours = {name for name in app.tasks if name.startswith("agentstate.")}
    assert ours == {spec.task_name for spec in [*KINDS.values(), *BULK.values()]}


def test_every_queue_is_used_and_every_kind_goes_to_a_queue_that_exists() -> None:
    assert {spec.queue for spec in [*KINDS.values(), *BULK.values()]} == set(QUEUES)


def test_no_kind_outlives_the_brokers_patience() -> None:
    longest = max(spec.deadline_s for spec in [*KINDS.values(), *BULK.values()])
    assert longest + LEASE_MARGIN_S < VISIBILITY_TIMEOUT_S


def test_no_name_is_both_a_job_and_bulk_work() -> None:
    assert not set(KINDS) & set(BULK)


def test_celery_is_set_as_our_guarantees_need_it() -> None:
    found = celery_settings(Settings.load(database_url="sqlite:///unused.db", lanes=2))
    assert "result_backend" not in found
    assert found["accept_content"] == ["json"]
    assert found["task_acks_late"] is True
    assert [queue.name for queue in found["task_queues"]] == [n for q in QUEUES for n in lane_queues(q, 2)]
    assert {queue.exchange.name for queue in found["task_queues"]} == {""}
