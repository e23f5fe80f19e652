"""`agentstate migrate`: from nothing to the newest, again without effect, and never back."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from agentstate.store import Store
from agentstate.store.migrate import newest_revision
from tests.worlds.commands import Command


@pytest.fixture(params=["postgres", "sqlite"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new.db'}"
    return str(request.getfixturevalue("empty_postgres_url"))


def test_a_new_database_is_brought_to_the_newest_revision_once(agentstate: Command, empty_url: str) -> None:
    newest = newest_revision()
    before = agentstate("migrate", "--check", "--json", DATABASE_URL=empty_url)
    assert (before.code, before.json) == (1, {"from": None, "to": None, "newest": newest, "up_to_date": False})
    done = agentstate("migrate", "--json", DATABASE_URL=empty_url)
    assert (done.code, done.json) == (0, {"from": None, "to": newest, "newest": newest, "up_to_date": True})
    assert agentstate("migrate", "--json", DATABASE_URL=empty_url).json["from"] == newest
    again = agentstate("migrate", "--check", DATABASE_URL=empty_url)
    assert again.code == 0
    assert "nothing to do" in again.out


def test_a_database_of_a_newer_version_is_left_alone(agentstate: Command, sqlite_url: str) -> None:
    store = Store.open(sqlite_url)
    with store.transaction() as tx:
        tx.connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999_new'"))
    store.close()
    answer = agentstate("migrate", DATABASE_URL=sqlite_url)
    assert answer.code == 1
    assert answer.err.startswith("error: the durable store is at schema revision 9999_new")
    assert "Update agentstate" in answer.err


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://nobody:pf_test_secret@127.0.0.1:1/none", "does not answer"),  # pragma: allowlist secret
        ("sqlite:////no/such/folder/x.db", "/no/such/folder"),
        ("mysql://host/name", "AGENTSTATE_DATABASE_URL: "),
        ("sqlite:///:memory:", "SQLite needs a file"),
    ],
)
def test_a_wrong_database_url_is_a_clear_error(agentstate: Command, url: str, said: str) -> None:
    answer = agentstate("migrate", DATABASE_URL=url)
    assert answer.code == 1
    assert said in answer.err
    assert answer.err.count("\n") == 1
    assert "pf_test_secret" not in answer.err


def test_verbs_refuse_to_work_on_an_old_schema(agentstate: Command, empty_postgres_url: str) -> None:
    answer = agentstate("jobs", "list", DATABASE_URL=empty_postgres_url)
    assert answer.code == 1
    assert "agentstate migrate" in answer.err
