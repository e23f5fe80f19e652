"""Every check against a real server in good order, and with one fault planted that it has to name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import sqlalchemy as sa

from agentstate.clock import utc_now
from agentstate.doctor import Finding, System, Verdict, is_well, run_checks
from agentstate.doctor import database as database_checks
from agentstate.doctor.configuration import check_free_space
from agentstate.doctor.registry import NAMES
from agentstate.memory.embedding.provider_circuit import ProviderCircuit
from agentstate.runtime import Runtime
from agentstate.settings import Settings
from agentstate.store import Store
from agentstate.store.migrate import upgrade_schema
from agentstate.store.tables import memories
from deploy.local.stack.stack import Stack
from tests.stubs.redis_server import redis_server
from tests.worlds.waiting import until


def examined(settings: Settings, *only: str, **options: Any) -> dict[str, Finding]:
    with System(lambda: settings, workers_timeout_s=0.3, **options) as system:
        return {item.check: item.finding for item in run_checks(system, only=only)}


def having(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update=changes)


@pytest.fixture
def administrator(stack: Stack) -> Iterator[psycopg.Connection]:
    url = stack.env["AGENTSTATE_DATABASE_URL"].replace("+psycopg", "").rsplit("/", 1)[0] + "/postgres"
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        yield connection


def test_a_system_in_good_order_fails_no_check_but_workers(settings: Settings) -> None:
    found = examined(settings)
    assert list(found) == list(NAMES)
    failed = {name: finding for name, finding in found.items() if finding.verdict is Verdict.FAIL}
    assert set(failed) == {"workers"}
    assert found["database"].found.startswith("PostgreSQL")
    assert found["encoding"].found == "UTF8"
    assert found["redis-eviction"].verdict is Verdict.OK
    assert found["broker-persistence"].found == "append-only file on"
    assert "one-machine engine" in found["qdrant"].found
    assert "within" in found["database-clock"].found


def test_sqlite_is_a_store_in_good_order_too(settings: Settings, sqlite_url: str) -> None:
    names = ("database", "encoding", "durability", "schema", "database-clock")
    found = examined(having(settings, database_url=sqlite_url), *names)
    assert {finding.verdict for finding in found.values()} == {Verdict.OK}
    assert found["durability"].found == "journal_mode=wal, synchronous=2"


def test_everything_down_is_reported_to_the_end(settings: Settings) -> None:
    nowhere = having(
        settings,
        database_url="postgresql+psycopg://somebody:pf_test_secret@127.0.0.1:1/none",  # pragma: allowlist secret
        redis_url="redis://:pf_test_secret@127.0.0.1:1/0",
        broker_url="redis://:pf_test_secret@127.0.0.1:1/0",
        qdrant_url="http://127.0.0.1:1",
    )
    found = examined(nowhere)
    assert {found[name].verdict for name in ("database", "redis", "broker", "qdrant")} == {Verdict.FAIL}
    assert {found[name].verdict for name in ("schema", "redis-clock", "workers")} == {Verdict.SKIPPED}
    assert all(finding.remedy for finding in found.values() if finding.verdict is Verdict.FAIL)
    assert "pf_test_secret" not in repr(found)


def test_settings_that_cannot_be_read_skip_what_needs_them(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("AGENTSTATE_DATABASE_URL=mysql://x\n")
    with System(lambda: Settings.load(env_file=file)) as system:
        found = {item.check: item.finding for item in run_checks(system)}
    assert found["settings"].verdict is Verdict.FAIL
    assert "AGENTSTATE_DATABASE_URL" in found["settings"].found
    assert found["python"].verdict is Verdict.OK
    assert found["workers"].verdict is Verdict.SKIPPED


def test_a_database_in_another_encoding_is_named(
    settings: Settings, administrator: psycopg.Connection, postgres_url: str
) -> None:
    administrator.execute(
        "CREATE DATABASE ascii_only ENCODING 'SQL_ASCII' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0"
    )
    try:
        url = postgres_url.rsplit("/", 1)[0] + "/ascii_only"
        found = examined(having(settings, database_url=url), "database", "encoding")
    finally:
        administrator.execute("DROP DATABASE ascii_only WITH (FORCE)")
    assert found["database"].verdict is Verdict.OK
    assert found["encoding"].verdict is Verdict.FAIL
    assert "SQL_ASCII" in found["encoding"].found
    assert "UTF8" in found["encoding"].remedy


def test_commits_that_are_not_on_disk_are_named(settings: Settings, administrator: psycopg.Connection) -> None:
    name = sa.make_url(settings.database_url).database
    administrator.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())
    found = examined(settings, "durability")["durability"]
    assert found.verdict is Verdict.FAIL
    assert "synchronous_commit=off" in found.found


def test_a_server_without_fsync_is_named(settings: Settings, administrator: psycopg.Connection) -> None:
    administrator.execute("ALTER SYSTEM SET fsync = off")
    administrator.execute("SELECT pg_reload_conf()")
    try:
        found = wait_until(lambda: examined(settings, "durability")["durability"], Verdict.FAIL)
    finally:
        administrator.execute("ALTER SYSTEM RESET fsync")
        administrator.execute("SELECT pg_reload_conf()")
    assert "fsync=off" in found.found
    wait_until(lambda: examined(settings, "durability")["durability"], Verdict.OK)


def wait_until(look: Any, verdict: Verdict) -> Finding:
    return until(lambda: found if (found := look()).verdict is verdict else None)


def test_a_sqlite_file_that_is_not_there_is_not_made(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    found = examined(having(settings, database_url=f"sqlite:///{path}"), "database")["database"]
    assert found.verdict is Verdict.FAIL
    assert "agentstate migrate" in found.found
    assert not path.exists()


@pytest.mark.parametrize("server", ["empty_postgres_url", "sqlite"])
def test_a_store_without_schema_is_named(
    request: pytest.FixtureRequest, settings: Settings, server: str, tmp_path: Path
) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    url = f"sqlite:///{path}" if server == "sqlite" else request.getfixturevalue(server)
    found = examined(having(settings, database_url=url), "schema")["schema"]
    assert found.verdict is Verdict.FAIL
    assert found.found.startswith("revision none")
    assert found.remedy == "Run `agentstate migrate`."
    upgrade_schema(url)
    assert examined(having(settings, database_url=url), "schema")["schema"].verdict is Verdict.OK


@pytest.mark.parametrize(("revision", "remedy"), [("0000_old", "Run `agentstate migrate`"), ("9999_new", "update")])
def test_another_schema_revision_is_named(
    settings: Settings, sqlite_url: str, revision: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_checks, "is_known_revision", lambda found: found == "0000_old")
    store = Store.open(sqlite_url)
    with store.transaction() as tx:
        tx.connection.execute(sa.text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    store.close()
    found = examined(having(settings, database_url=sqlite_url), "schema")["schema"]
    assert found.verdict is Verdict.FAIL
    assert revision in found.found
    assert remedy in found.remedy


def test_an_old_postgres_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_checks, "OLDEST_POSTGRES", 999)
    found = examined(settings, "database")["database"]
    assert found.verdict is Verdict.FAIL
    assert "999" in found.remedy


@pytest.mark.parametrize(("offset_s", "said"), [(-5.0, "ahead of"), (5.0, "behind"), (0.5, "within")])
def test_a_clock_that_differs_by_more_than_a_second_is_named(settings: Settings, offset_s: float, said: str) -> None:
    found = examined(settings, "database-clock", "redis-clock", clock=lambda: utc_now() + timedelta(seconds=offset_s))
    wanted = Verdict.OK if said == "within" else Verdict.WARN
    for finding in found.values():
        assert finding.verdict is wanted
        assert said in finding.found


def test_a_redis_that_evicts_and_forgets_is_named(settings: Settings, tmp_path: Path) -> None:
    options = ("--maxmemory-policy", "allkeys-lru", "--maxmemory", "64mb", "--appendonly", "no")
    with redis_server(tmp_path, *options) as url:
        found = examined(having(settings, redis_url=url, broker_url=url))
    for name in ("redis", "broker"):
        assert found[name].verdict is Verdict.OK
        assert found[f"{name}-eviction"].verdict is Verdict.FAIL
        assert "allkeys-lru" in found[f"{name}-eviction"].found
        assert found[f"{name}-persistence"].verdict is Verdict.WARN


@pytest.mark.parametrize("policy", ["noeviction", "volatile-ttl", "volatile-lru"])
def test_policies_that_keep_what_has_no_expiry_pass(settings: Settings, tmp_path: Path, policy: str) -> None:
    with redis_server(tmp_path, "--maxmemory-policy", policy, "--appendonly", "yes") as url:
        found = examined(having(settings, redis_url=url), "redis-eviction", "redis-persistence")
    assert {finding.verdict for finding in found.values()} == {Verdict.OK}


def test_a_redis_with_another_password_is_named(settings: Settings, tmp_path: Path) -> None:
    right = redis.Redis.from_url(settings.redis_url).connection_pool.connection_kwargs
    url = f"redis://:pf_test_wrong@{right['host']}:{right['port']}/0"
    found = examined(having(settings, redis_url=url), "redis")["redis"]
    assert found.verdict is Verdict.FAIL
    assert "pf_test_wrong" not in found.found


def test_a_qdrant_that_refuses_our_key_is_named(settings: Settings) -> None:
    from pydantic import SecretStr

    found = examined(having(settings, qdrant_api_key=SecretStr("pf_test_wrong")), "qdrant")["qdrant"]
    assert found.verdict is Verdict.FAIL
    assert "401" in found.found or "403" in found.found
    assert "pf_test_wrong" not in found.found


def test_what_answers_but_is_no_qdrant_is_named(settings: Settings, tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        wrong = url.replace("redis://", "http://").rsplit("/", 1)[0]
        found = examined(having(settings, qdrant_url=wrong), "qdrant")["qdrant"]
    assert found.verdict is Verdict.FAIL
    assert found.remedy


def test_missing_model_files_are_named(settings: Settings, tmp_path: Path) -> None:
    found = examined(having(settings, embedder="minilm", minilm_dir=tmp_path), "embedder")["embedder"]
    assert found.verdict is Verdict.FAIL


def test_a_summarizer_without_its_key_is_named(settings: Settings) -> None:
    found = examined(having(settings, summarizer="anthropic"), "summarizer")["summarizer"]
    assert found.verdict is Verdict.FAIL
    assert "AGENTSTATE_ANTHROPIC_API_KEY" in found.found


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    assert check_free_space(tmp_path).verdict is Verdict.OK
    assert check_free_space(tmp_path, little=2**60).verdict is Verdict.WARN
    assert check_free_space(tmp_path, little=2**60, none=2**60).verdict is Verdict.FAIL


def test_only_a_failed_check_makes_it_unwell(settings: Settings) -> None:
    with System(lambda: settings) as system:
        assert is_well(run_checks(system, only=["database", "redis"]))
    with System(lambda: having(settings, redis_url="redis://127.0.0.1:1/0")) as system:
        assert not is_well(run_checks(system, only=["database", "redis"]))


def test_memories_that_were_given_up_and_a_provider_that_rests_are_told(settings: Settings) -> None:
    assert examined(settings, "memories")["memories"].verdict is Verdict.OK
    with closing(Runtime(settings)) as runtime:
        runtime.memory.of("ag_1").remember("never embedded")
        with runtime.store.transaction() as tx:
            tx.connection.execute(memories.update().values(state="dead", error="no quota"))
        given_up = examined(settings, "memories")["memories"]
        ProviderCircuit(runtime.store, "memories-x").record_failure("ProviderRefused: no quota", pause_s=600)
        resting = examined(settings, "memories")["memories"]
    assert (given_up.verdict, resting.verdict) == (Verdict.WARN, Verdict.WARN)
    assert given_up.found.startswith("1 memories failed to embed")
    assert "memories-x is paused until" in resting.found
    assert "no quota" in resting.found
