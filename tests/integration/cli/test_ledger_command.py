"""`agentstate ledger`: what it shows is what is in the books, and what it proves is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from agentstate.money import Money, TransactionLedger
from agentstate.store import Store
from agentstate.store.tables.money import accounts
from tests.worlds.commands import Command


@pytest.fixture
def books(store: Store) -> TransactionLedger:
    made = TransactionLedger(store, "ag_1")
    made.deposit("start", "casino", Money(100))
    made.reserve("hold", "casino", Money("2.50"))
    return made


def test_balances_are_shown_account_by_account(agentstate: Command, books: TransactionLedger) -> None:
    shown = agentstate("ledger", "balance", "ag_1", "--json").json["balances"]
    assert {(item["bucket"], item["balance"]) for item in shown} == {
        ("available", "97.500000"), ("in_flight", "2.500000"), ("external", "-100.000000"),
    }  # fmt: skip
    assert "97.50 USDC" in agentstate("ledger", "balance", "ag_1", "--bucket", "available").out
    assert agentstate("ledger", "balance", "nobody").out == "nobody has no such account\n"


def test_balances_of_a_time_are_shown(agentstate: Command, books: TransactionLedger) -> None:
    then = books.recent(2)[1].recorded_at.isoformat()
    shown = agentstate("ledger", "balance", "ag_1", "--bucket", "available", "--at", then, "--json").json
    assert shown["balances"][0]["balance"] == "100.000000"
    assert agentstate("ledger", "balance", "ag_1", "--at", "2026-01-01").code == 2
    assert agentstate("ledger", "balance", "ag_1", "--at", "yesterday").code == 2


def test_a_statement_is_paged(agentstate: Command, books: TransactionLedger) -> None:
    first = agentstate("ledger", "statement", "ag_1", "--limit", "3", "--json").json
    rest = agentstate("ledger", "statement", "ag_1", "--after", first["next"], "--json").json
    assert (len(first["entries"]), len(rest["entries"]), rest["next"]) == (3, 1, None)
    assert "--after" in agentstate("ledger", "statement", "ag_1", "--limit", "3").err
    assert agentstate("ledger", "statement", "ag_1", "--after", "nowhere").code == 1
    assert agentstate("ledger", "statement", "nobody").out == "nobody has no such entries\n"


def test_sound_books_are_attested(agentstate: Command, books: TransactionLedger) -> None:
    shown = agentstate("ledger", "attest", "--json")
    assert (shown.code, shown.json["sound"], shown.json["accounts"]) == (0, True, 3)
    assert f"root {shown.json['root']}" in agentstate("ledger", "attest", "--whole").out


def test_damage_is_named_and_fails(agentstate: Command, store: Store, books: TransactionLedger) -> None:
    with store.transaction() as tx:
        tx.connection.execute(sa.update(accounts).where(accounts.c.bucket == "in_flight").values(balance=7))
    answer = agentstate("ledger", "attest")
    assert answer.code == 1
    assert "ag_1 casino/in_flight USDC, entry 1: the account says a balance of 7" in answer.err
    assert agentstate("ledger", "attest", "--json").json["damages"][0]["seq"] == 1


@pytest.mark.parametrize("form", ["json", "csv"])
def test_an_export_is_imported_once(agentstate: Command, books: TransactionLedger, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"ledger.{form}"
    told = agentstate("ledger", "export", "ag_1", "--format", form, "--output", str(path), "--json").json
    assert told["transactions"] == 2
    assert agentstate("ledger", "export", "ag_1", "--format", form).out == path.read_text()
    assert agentstate("ledger", "import", str(path), "--json").json["already"] == 2
    assert agentstate("ledger", "import", str(path)).out == f"{path}: 0 transactions posted, 2 there already\n"


def test_a_form_that_is_not_told_is_asked_for(agentstate: Command, books: TransactionLedger, tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_text(agentstate("ledger", "export", "ag_1").out)
    assert agentstate("ledger", "import", str(path)).code == 2
    assert agentstate("ledger", "import", str(path), "--format", "json").code == 0
    assert agentstate("ledger", "export", "ag_1", "--format", "csv", "--json").code == 2
