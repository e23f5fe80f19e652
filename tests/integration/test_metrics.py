"""Metrics for Prometheus: read from the durable store, in the text format, printed and served."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from agentstate.errors import EffectInDoubt
from agentstate.jobs import Jobs
from agentstate.jobs.wake_ups import NullWakeUpSender
from agentstate.memory.conversation import ConversationHistory
from agentstate.metrics import MEASURES, make_registry, render_metrics
from agentstate.metrics.measures import STORE_UP
from agentstate.money import AgentEffects, Breaks, Effects, Money, TransactionLedger, call
from agentstate.money.reconciliation.breaks import Sighting
from agentstate.settings import Settings
from agentstate.store import Store
from agentstate.store.tables import jobs as table
from agentstate.store.tables import summary_calls
from agentstate.store.tables.base import db_time
from deploy.local.stack.table import python_path

ROOT = Path(__file__).parents[2]
Samples = dict[tuple[str, tuple[str, ...]], float]


def read(store: Store) -> Samples:
    text = render_metrics(make_registry(lambda: store))
    families = text_string_to_metric_families(text)
    labels = {measure.name: measure.labels for measure in (STORE_UP, *MEASURES)}
    samples = [each for family in families for each in family.samples]
    return {(each.name, tuple(each.labels[name] for name in labels[each.name])): each.value for each in samples}


def lost() -> None:
    raise TimeoutError("the answer is lost")


def live(store: Store, settings: Settings) -> None:
    """Leave something open of every kind."""
    jobs = Jobs(store, NullWakeUpSender(), settings)
    for number, status in enumerate(("ready", "done", "dead")):
        jobs.submit("summarization.draw_lessons", agent_id=f"ag_{number}")
        ended = {} if status == "ready" else {"finished_at": db_time(2.0)}
        with store.transaction() as tx:
            mine = table.c.agent_id == f"ag_{number}"
            tx.connection.execute(table.update().where(mine).values(status=status, **ended))
    effects = AgentEffects(Effects(store, secret=b"test"), "ag_1")
    TransactionLedger(store, "ag_1").deposit("gift", "casino", Money(100))
    effects.execute_once("bet:1", call(lambda _key: {"won": True}, service="casino", name="bet"))
    with pytest.raises(EffectInDoubt):
        effects.execute_once("bet:2", call(lambda _key: lost(), service="casino", name="bet"))
    seen = {"agent_id": "ag_1", "service": "casino", "kind": "balance", "subject": "balance:USDC"}
    Breaks(store).report(Sighting(**seen, amount=Money("2.50"), evidence={"observed": "97.50"}))  # type: ignore[arg-type]
    history = ConversationHistory(store, jobs, settings, "ag_1", "s1")
    history.add("user", "Shall we?")
    history.add("assistant", "We shall.")
    with store.transaction() as tx:
        paid = {"calls": 2, "input_tokens": 900, "output_tokens": 90, "cost_nano_usd": 135_000}
        row = {"id": uuid4(), "conversation_id": history.id, "agent_id": "ag_1", "source_sha": b"1" * 32, "summary": {}}
        asked = {"asked": "anthropic:claude-haiku-5-5", "prompt_version": 1}
        tx.connection.execute(summary_calls.insert().values(**row, **asked, **paid))


def test_what_the_store_knows_is_told(store: Store, settings: Settings) -> None:
    live(store, settings)
    found = read(store)
    kind = "summarization.draw_lessons"
    expected = {
        ("agentstate_store_up", ()): 1,
        ("agentstate_jobs_open", (kind, "ready")): 1,
        ("agentstate_jobs_dead", (kind,)): 1,
        ("agentstate_jobs_ended_last_hour", (kind, "done")): 1,
        ("agentstate_effects_open", ("casino", "manual")): 1,
        ("agentstate_effects_ended_last_hour", ("casino", "bet", "succeeded")): 1,
        ("agentstate_breaks_open", ("casino", "balance")): 1,
        ("agentstate_memories_dead", ()): 0,
        ("agentstate_turns_unsummarized", ()): 2,
        ("agentstate_summary_calls_total", ("anthropic:claude-haiku-5-5",)): 2,
        ("agentstate_summary_tokens_total", ("anthropic:claude-haiku-5-5", "output")): 90,
        ("agentstate_summary_cost_nano_usd_total", ("anthropic:claude-haiku-5-5",)): 135_000,
    }
    assert {key: found.get(key) for key in expected} == expected
    for key in (("agentstate_oldest_due_job_seconds", ("summarization",)), ("agentstate_oldest_open_break_seconds", ()),
                ("agentstate_oldest_open_effect_seconds", ("manual",))):  # fmt: skip
        assert 0 <= found[key] < 600
    assert 0 < found["agentstate_job_seconds_last_hour", (kind, "0.95")] < 600


def test_every_metric_has_its_labels_and_an_empty_store_no_false_one(store: Store) -> None:
    found = read(store)
    assert {name for name, labels in found if labels} == set()
    assert set(found.values()) == {0.0, 1.0}
    families = {family.name for family in text_string_to_metric_families(render_metrics(make_registry(lambda: store)))}
    assert families == {measure.name.removesuffix("_total") for measure in (STORE_UP, *MEASURES)}
    with store.read_connection() as connection:
        for measure in MEASURES:
            assert all(len(labels) == len(measure.labels) for labels, _ in measure.read(connection))


def test_what_grows_for_ever_is_read_by_an_index(sqlite_url: str) -> None:
    store, asked = Store.open(sqlite_url), list[tuple[str, Any]]()
    with store.read_connection() as connection:
        note = lambda _connection, _cursor, statement, given, *_: asked.append((statement, given))  # noqa: E731
        sa.event.listen(connection.engine, "before_cursor_execute", note)
        for measure in MEASURES:
            assert list(measure.read(connection)) is not None
        sa.event.remove(connection.engine, "before_cursor_execute", note)
        plans = [
            str(row[-1])
            for statement, given in asked
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)
        ]
    store.close()
    reads = [plan for plan in plans if re.match(r"(SCAN|SEARCH) (jobs|effects|breaks|memories)\b", plan)]
    assert len(reads) >= 13
    assert [plan for plan in reads if "INDEX" not in plan] == []


def test_a_store_that_is_away_is_told_and_nothing_else() -> None:
    away = Store.open("postgresql+psycopg://nobody@127.0.0.1:1/none?connect_timeout=1")
    assert read(away) == {("agentstate_store_up", ()): 0.0}
    away.close()


def test_it_serves_until_it_is_stopped(settings_env: dict[str, str]) -> None:
    env = {**os.environ, **settings_env, "PYTHONPATH": python_path(None)}
    command = [sys.executable, "-m", "agentstate", "metrics", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        told = re.search(r"(http://127\.0\.0\.1:\d+)/metrics", served.stdout.readline())
        assert told is not None
        with urlopen(f"{told[1]}/metrics", timeout=30) as answer:  # noqa: S310 our own server
            assert "agentstate_store_up 1.0" in answer.read().decode()
        served.send_signal(signal.SIGTERM)
        assert served.wait(30) == 0


def test_the_page_names_no_metric_that_there_is_not() -> None:
    page = (ROOT / "docs/how-to/watch-with-prometheus.md").read_text("utf-8")
    named = set(re.findall(r"agentstate_[a-z_]+", page))
    assert named - {measure.name for measure in (STORE_UP, *MEASURES)} == set()
    assert len(named) >= 7
