"""`agentstate status` and `doctor`: true when all is up, and true when parts are down."""

from __future__ import annotations

import pytest

from agentstate.jobs import Jobs
from agentstate.jobs.jobs import submit_for_slot
from agentstate.jobs.spec import QUEUES
from agentstate.jobs.wake_ups import NullWakeUpSender
from agentstate.settings import Settings
from agentstate.store import Store
from tests.worlds.commands import Command

SOON = ("--timeout", "0.3")


def test_status_counts_what_is_there(agentstate: Command, settings: Settings) -> None:
    store = Store.open(settings.database_url)
    jobs = Jobs(store, NullWakeUpSender(), settings)
    jobs.submit("cache.refresh", {"service": "casino"}, agent_id="ag_1")
    submit_for_slot(store, jobs, "housekeeping.expire", 3_600)
    store.close()
    agentstate("remember", "ag_1", "Flat stakes beat martingale")
    answer = agentstate("status", "--json", *SOON)
    found = answer.json
    assert (answer.code, found["ok"]) == (0, True)
    assert {name for name, part in found["parts"].items() if part["up"]} == {"database", "redis", "broker", "qdrant"}
    assert set(found["queues"]) == set(QUEUES)
    assert found["queues"]["cache"]["ready"] == 1
    assert found["queues"]["cache"]["oldest_due_s"] >= 0
    assert found["memories"] == {"agents": 1, "stored": 1, "searchable": 0, "pending": 1, "dead": 0}
    assert list(found["schedules"]) == ["housekeeping.expire"]
    assert found["workers"] == []
    assert found["embedder"]["name"] == "lexical"
    assert found["index"]["engine"].startswith("edge")


def test_status_reads_well(agentstate: Command) -> None:
    shown = agentstate("status", *SOON).out
    assert "embedding" in shown
    assert "0 stored, 0 searchable, 0 pending, 0 dead" in shown
    assert "none answered" in shown


@pytest.mark.parametrize(
    ("change", "down", "unknown"),
    [
        ({"DATABASE_URL": "postgresql://a:b@127.0.0.1:1/x"}, "database", ("queues", "memories", "schedules")),
        ({"BROKER_URL": "redis://127.0.0.1:1/0"}, "broker", ("workers",)),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "redis", ()),
        ({"QDRANT_URL": "http://127.0.0.1:1"}, "qdrant", ("index",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_status_says_which_part_is_down_and_tells_the_rest(
    agentstate: Command, change: dict[str, str], down: str, unknown: tuple[str, ...]
) -> None:
    answer = agentstate("status", "--json", *SOON, **change)
    found = answer.json
    assert answer.code == 1
    assert [name for name, part in found["parts"].items() if not part["up"]] == [down]
    told = ("queues", "memories", "schedules", "index", "workers")
    assert tuple(name for name in told if found[name] is None) == unknown
    shown = agentstate("status", *SOON, **change).out
    assert f"{down} " in shown
    assert " down " in shown


def test_status_names_an_old_schema(agentstate: Command, empty_postgres_url: str) -> None:
    answer = agentstate("status", "--json", *SOON, DATABASE_URL=empty_postgres_url)
    assert answer.code == 1
    assert answer.json["parts"]["database"]["up"] is True
    assert "agentstate migrate" in answer.json["parts"]["database"]["problem"]
    assert answer.json["queues"] is None


def test_doctor_exits_with_1_only_on_a_failure(agentstate: Command) -> None:
    well = agentstate("doctor", "--skip", "workers", "--json")
    assert (well.code, well.json["ok"], well.json["counts"]["fail"]) == (0, True, 0)
    ill = agentstate("doctor", "--only", "database", "--only", "workers", "--timeout", "0.2", "--json")
    assert (ill.code, ill.json["counts"]) == (1, {"ok": 1, "warn": 0, "fail": 1, "skipped": 0})
    shown = agentstate("doctor", "--only", "workers", "--timeout", "0.2").out
    assert "no worker answers" in shown
    assert "workers: Start workers" in shown


def test_doctor_refuses_a_check_that_does_not_exist(agentstate: Command) -> None:
    answer = agentstate("doctor", "--only", "odd")
    assert answer.code == 1
    assert "there is no check odd" in answer.err


def test_doctor_shows_all_settings_without_secrets(agentstate: Command, settings: Settings) -> None:
    rows = agentstate("doctor", "--settings", "--json", OPENAI_API_KEY="pf_test_secret").json["settings"]
    by_name = {row["name"]: row for row in rows}
    assert by_name["AGENTSTATE_OPENAI_API_KEY"]["value"] == "********"
    assert by_name["AGENTSTATE_EMBEDDER"]["source"] == "environment"
    shown = agentstate("doctor", "--settings", OPENAI_API_KEY="pf_test_secret").out
    password = settings.database_url.split(":")[2].split("@")[0]
    assert "pf_test_secret" not in shown
    assert password not in shown
