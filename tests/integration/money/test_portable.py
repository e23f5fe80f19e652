"""Statements, and ledgers that move from one store to another: the same keys, the same money, nothing unbalanced."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agentstate.errors import AgentStateError, Conflict, InvalidInput, KeyReused, Unbalanced
from agentstate.money import Attestor, Money, TransactionLedger, export_ledger, import_ledger
from agentstate.money.audit.export import WRITERS, ImportReport, PortableTransaction, read_form
from agentstate.money.ledger.statement import Cursor, StatementLine
from agentstate.store.store import Store

ONE = Money(1)


@pytest.fixture(params=["postgres_url", "sqlite_url"])
def other(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty store."""
    opened = Store.open(request.getfixturevalue(request.param))
    yield opened
    opened.close()


@pytest.fixture
def history(ledger: TransactionLedger) -> TransactionLedger:
    """Postings of every sort."""
    hold = ledger.reserve("h", "casino", Money(10))
    ledger.settle("s", hold.id)
    ledger.void("v", ledger.reserve("h2", "casino", ONE).id)
    noted = {"amount_usdc": "-2.5", "service": "casino", "note": {"odds": Decimal("1.50")}, "timestamp": 5}
    ledger.append(noted, key='a "key", with; marks')
    ledger.transfer("t", ONE, source=("casino", "available"), target=("casino", "escrow_locked"))
    return ledger


def pages(ledger: TransactionLedger, limit: int, **wanted: Any) -> list[list[StatementLine]]:
    found, after = [], None
    while True:
        page = ledger.statement(after=after, limit=limit, **wanted)
        found.append(list(page.lines))
        if page.next is None:
            return found
        after = Cursor.parse(str(page.next))


def without_times(transactions: Any) -> list[PortableTransaction]:
    return [replace(transaction, recorded_at=transaction.effective_at) for transaction in transactions]


def exported(store: Store, agent_id: str, path: Path, form: str) -> Callable[[], Any]:
    path.write_text("".join(WRITERS[form](export_ledger(store, agent_id))), encoding="utf-8")
    return partial(read_form, path, form)


def test_pages_hold_every_entry_once(history: TransactionLedger) -> None:
    [whole] = pages(history, 1_000)
    assert len(whole) == len({(line.account_id, line.seq) for line in whole}) == 14
    for limit in (1, 3, 14):
        assert [line for page in pages(history, limit) for line in page] == whole
    [available] = pages(history, 100, service="casino", bucket="available")
    assert [line.seq for line in available] == list(range(1, len(available) + 1))
    assert available[-1].balance == history.balance("casino")
    assert pages(history, 100, currency="BTC") == [[]]


def test_an_entry_that_comes_while_paging_is_not_skipped(history: TransactionLedger) -> None:
    page = history.statement("casino", bucket="available", limit=2)
    history.withdraw("late", "casino", ONE)
    rest = history.statement("casino", bucket="available", after=page.next)
    assert [line.seq for line in rest.lines] == list(range(3, 8))
    assert rest.lines[-1].key == "late"


@pytest.mark.parametrize("limit", [0, 1_001])
def test_a_page_has_a_size(ledger: TransactionLedger, limit: int) -> None:
    with pytest.raises(InvalidInput, match="1 to 1000"):
        ledger.statement(limit=limit)


@pytest.mark.parametrize("place", ["", "x:1", "01890000-0000-7000-8000-000000000000:"])
def test_a_place_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(InvalidInput, match="no place"):
        Cursor.parse(place)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_ledger_moves_to_another_store_as_it_is(
    store: Store, other: Store, history: TransactionLedger, tmp_path: Path, form: str
) -> None:
    read = exported(store, history.agent_id, tmp_path / "ledger", form)
    assert list(read()) == list(export_ledger(store, history.agent_id))
    assert import_ledger(other, read) == ImportReport(posted=7, already=0)
    assert import_ledger(other, read) == ImportReport(posted=0, already=7)
    again = export_ledger(other, history.agent_id)
    assert without_times(again) == without_times(export_ledger(store, history.agent_id))
    assert Attestor(other).run().is_sound


def test_a_caller_who_tries_again_finds_its_posting_in_the_other_store(
    store: Store, other: Store, history: TransactionLedger, tmp_path: Path
) -> None:
    import_ledger(other, exported(store, history.agent_id, tmp_path / "ledger", "json"))
    moved = TransactionLedger(other, history.agent_id)
    assert moved.deposit("start", "casino", Money(100)).replayed
    with pytest.raises(KeyReused):
        moved.deposit("start", "casino", ONE)
    with pytest.raises(Conflict, match="has ended already"):
        moved.void("again", next(item.id for item in moved.recent(10) if item.key == "h"))
    assert moved.balance("casino") == history.balance("casino")


def test_importing_into_the_same_store_changes_nothing(
    store: Store, history: TransactionLedger, tmp_path: Path
) -> None:
    read = exported(store, history.agent_id, tmp_path / "ledger", "csv")
    assert import_ledger(store, read) == ImportReport(posted=0, already=7)


def edited(transactions: list[dict[str, Any]], change: str) -> None:
    first, line = transactions[0], transactions[0]["lines"][0]
    changes: dict[str, Callable[[], Any]] = {
        "one line": lambda: line.update(amount="99.000000"),
        "both lines": lambda: [item.update(amount=f"{Decimal(item['amount']) / 2:f}") for item in first["lines"]],
        "left out": lambda: transactions.pop(1),
        "order": transactions.reverse,
        "twice": lambda: transactions.insert(1, first),
        "float": lambda: line.update(amount=100.5),
        "nan": lambda: line.update(amount="NaN"),
        "naive time": lambda: first.update(effective_at="2026-01-01T00:00:00"),
        "no key": lambda: first.pop("key"),
        "bad name": lambda: first.update(agent_id="a b"),
        "digest": lambda: first.update(fingerprint="00"),
        "currency": lambda: line.update(currency="NOPE"),
    }
    changes[change]()


@pytest.mark.parametrize(
    "change",
    ["one line", "both lines", "left out", "order", "twice", "float", "nan", "naive time", "no key", "bad name",
     "digest", "currency"],
)  # fmt: skip
def test_what_does_not_balance_is_refused_whole(
    store: Store, other: Store, history: TransactionLedger, tmp_path: Path, change: str
) -> None:
    path = tmp_path / "ledger.json"
    read = exported(store, history.agent_id, path, "json")
    document = json.loads(path.read_text())
    edited(document["transactions"], change)
    document["count"] = len(document["transactions"])
    path.write_text(json.dumps(document))
    with pytest.raises((Unbalanced, InvalidInput)):
        import_ledger(other, read)
    assert list(export_ledger(other, history.agent_id)) == []


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "agentstate.ledger", "version": 2}', '{"forma'])
@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_file_that_is_none_is_refused(other: Store, tmp_path: Path, text: str, form: str) -> None:
    path = tmp_path / "ledger"
    path.write_text(text)
    with pytest.raises(AgentStateError, match="Nothing was posted"):
        import_ledger(other, partial(read_form, path, form))


def test_an_export_that_was_cut_off_is_refused(
    store: Store, other: Store, history: TransactionLedger, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.json"
    read = exported(store, history.agent_id, path, "json")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], lines[-1]]).replace(",\n]", "\n]"))
    with pytest.raises(InvalidInput, match="as many transactions"):
        import_ledger(other, read)


def test_a_fingerprint_does_not_pass_off_other_money(store: Store, history: TransactionLedger, tmp_path: Path) -> None:
    first = next(iter(export_ledger(store, history.agent_id)))
    halves = [replace(one, line=replace(one.line, amount=half), balance=half) for one, half in _halved(first)]
    with pytest.raises(Conflict, match="moves other money"):
        import_ledger(store, lambda: [replace(first, lines=tuple(halves))])


def _halved(transaction: PortableTransaction) -> list[tuple[Any, Money]]:
    return [(item, Money.from_minor(item.line.amount.minor // 2)) for item in transaction.lines]
