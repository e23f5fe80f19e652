"""What KEDA asks Postgres: each query runs, as the user that the how-to makes, and counts what waits and what runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from agentstate.jobs import Jobs
from agentstate.jobs.kinds import KINDS
from agentstate.jobs.wake_ups import NullWakeUpSender
from agentstate.settings import Settings
from agentstate.store import Store

ROOT = Path(__file__).parents[2]
QUERIES = {
    item["metadata"]["labels"]["agentstate.io/queue"]: item["spec"]["triggers"][0]["metadata"]["query"]
    for item in yaml.safe_load_all((ROOT / "deploy/k8s/components/keda/scaled-objects.yaml").read_text("utf-8"))
}


@pytest.fixture
def connection(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as opened:
        yield opened


@pytest.fixture
def as_keda(connection: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """The same connection with the rights that the how-to gives KEDA, and no others."""
    text = (ROOT / "docs/how-to/run-on-kubernetes.md").read_text("utf-8")
    grant = re.search(r"(?m)^GRANT .* TO keda;", text)
    assert grant is not None
    connection.execute("CREATE ROLE keda")
    try:
        connection.execute(grant[0].encode())
        connection.execute("SET ROLE keda")
        yield connection
    finally:
        connection.execute("RESET ROLE")
        connection.execute("DROP OWNED BY keda")
        connection.execute("DROP ROLE keda")


@pytest.mark.parametrize("queue", QUERIES)
def test_the_query_of_an_idle_queue_gives_one_number_zero(queue: str, as_keda: psycopg.Connection[Any]) -> None:
    assert as_keda.execute(QUERIES[queue].encode()).fetchall() == [(0,)]


def test_a_job_counts_from_when_it_is_due_until_it_has_ended(
    connection: psycopg.Connection[Any], settings: Settings
) -> None:
    def count(queue: str) -> int:
        row = connection.execute(QUERIES[queue].encode()).fetchone()
        assert row is not None
        return int(row[0])

    store = Store.open(settings.database_url)
    jobs = Jobs(store, NullWakeUpSender(), settings)
    job_id = jobs.submit("cache.refresh", {"service": "casino"}, agent_id="ag_1")
    jobs.submit("cache.refresh", {"service": "wallet"}, agent_id="ag_1", due_in=600)
    assert count("cache") == 1
    assert count("effects") == 0
    connection.execute(
        "UPDATE jobs SET status = 'running', lease_until = now() + interval '1 minute' WHERE id = %s", [job_id]
    )
    assert count("cache") == 1
    connection.execute(
        "UPDATE jobs SET status = 'done', lease_until = NULL, finished_at = now() WHERE id = %s", [job_id]
    )
    assert count("cache") == 0
    assert KINDS["cache.refresh"].queue == "cache"
    store.close()
