"""Named SQL statements: how files are read, and that every file of the package is readable and shipped."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import agentstate
from agentstate.errors import ConfigurationError
from agentstate.store.queries import load_queries

FILE = """-- name: lock_account
-- Locks one account.
account AS (SELECT id FROM accounts WHERE id = %(id)s FOR UPDATE)

-- name: add_to_balance
-- Adds to the balance of a locked account.
WITH
    -- include: lock_account
UPDATE accounts SET balance = balance + 1 FROM account WHERE accounts.id = account.id
"""
SOURCE = Path(agentstate.__file__).parent


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "statements_of_a_test"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, folder.name, raising=False)
    return folder


def test_statements_are_found_by_name_and_include_earlier_ones(package: Path) -> None:
    (package / "queries.sql").write_text(FILE)
    queries = load_queries(package.name)
    assert list(queries) == ["lock_account", "add_to_balance"]
    assert queries["lock_account"].startswith("account AS (SELECT")
    assert queries["add_to_balance"].splitlines()[1] == queries["lock_account"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT 1",
        "-- name: without_description\nSELECT 1",
        "-- name: a\n-- One.\nSELECT 1\n-- name: a\n-- Two.\nSELECT 2",
        "-- name: a\n-- One.\n-- include: b\nSELECT 1",
    ],
)
def test_a_file_that_is_not_made_of_blocks_is_refused(package: Path, text: str) -> None:
    (package / "queries.sql").write_text(text)
    with pytest.raises(ConfigurationError):
        load_queries(package.name)


def test_every_file_of_the_package_can_be_read() -> None:
    for path in SOURCE.rglob("*.sql"):
        assert load_queries(".".join(path.parent.relative_to(SOURCE.parent).parts), path.name)
