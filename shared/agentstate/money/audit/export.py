"""A ledger on its way from one store to another: all transactions of an agent, posted again under the same keys.

A file has one of two forms: JSON with one transaction a line, or CSV with one entry a line. Both hold the same and are
read back to the same; amounts are decimal text in whole units, never floats.

Everything is checked before anything is posted: each transaction sums to zero, each account's numbers have no gap and
its balance runs on. Posting a transaction again changes nothing, so an import that was cut off is run again.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import sqlalchemy as sa

from agentstate.errors import AgentStateError, Conflict, InvalidInput, Unbalanced
from agentstate.ids import validate_name
from agentstate.money.amounts import Money
from agentstate.money.ledger.postings import Line, Posting, net_lines, normalize_key, validate_lines
from agentstate.money.ledger.statement import read_lines
from agentstate.money.ledger.writer import write_posting
from agentstate.money.reconciliation.books_snapshot import open_snapshot
from agentstate.state import codec
from agentstate.store.store import Store, Transaction
from agentstate.store.tables.money import accounts, entries, ledger_transactions

FORMAT = "agentstate.ledger"
VERSION = 1
_PAGE = 500
_FIELDS = (
    "agent_id", "id", "scope", "key", "kind", "effective_at", "recorded_at", "effect_id", "resolves", "fingerprint",
    "meta",
)  # fmt: skip
_LINE_FIELDS = ("service", "bucket", "currency", "amount", "seq", "balance")


@dataclass(frozen=True, slots=True)
class PortableLine:
    """One entry with its place in its account's history."""

    line: Line
    seq: int
    balance: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class PortableTransaction:
    """One transaction as it was posted; `fingerprint` is that of its key."""

    agent_id: str
    id: UUID
    scope: str
    key: str
    kind: str
    effective_at: datetime
    recorded_at: datetime
    effect_id: UUID | None
    resolves: UUID | None
    fingerprint: bytes
    meta: Mapping[str, Any] | None = field(hash=False)
    lines: tuple[PortableLine, ...]


Transactions: TypeAlias = Callable[[], Iterable[PortableTransaction]]
"""Reads all transactions of an import from the start; called twice, to check and to post."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Numbers of transactions: posted by this import, and posted before it."""

    posted: int
    already: int


def export_ledger(store: Store, agent_id: str) -> Iterator[PortableTransaction]:
    """Yield all transactions of an agent as they stand at one moment, in the order in which they were posted."""
    validate_name(agent_id)
    table = ledger_transactions.c
    pages = (
        sa.select(ledger_transactions)
        .where(table.agent_id == agent_id)
        .order_by(table.recorded_at, table.id)
        .limit(_PAGE)
    )
    lines_of = (
        sa.select(entries, accounts.c.service, accounts.c.bucket, accounts.c.currency)
        .join(accounts, accounts.c.id == entries.c.account_id)
        .order_by(entries.c.account_id, entries.c.seq)
    )
    names = [name for name in _FIELDS if name != "fingerprint"]
    with open_snapshot(store) as connection:
        page = pages
        while rows := connection.execute(page).all():
            lines: dict[UUID, list[PortableLine]] = {row.id: [] for row in rows}
            for entry in connection.execute(lines_of.where(entries.c.txn_id.in_(lines))):
                line = Line(entry.service, entry.bucket, Money.from_minor(entry.amount, entry.currency))
                balance = Money.from_minor(entry.balance_after, entry.currency)
                lines[entry.txn_id].append(PortableLine(line, entry.seq, balance))
            for row in rows:
                named = {name: getattr(row, name) for name in names}
                yield PortableTransaction(**named, fingerprint=row.params_sha, lines=tuple(lines[row.id]))
            last = rows[-1]
            same = (table.recorded_at == last.recorded_at) & (table.id > last.id)
            page = pages.where((table.recorded_at > last.recorded_at) | same)


def import_ledger(store: Store, read: Transactions) -> ImportReport:
    """Post the transactions that `read` yields, each once, under its own key.

    Recorded times are this store's; everything else stays, fingerprints too, so that a retry of the original caller
    finds its transaction here as well.

    Raises:
        Unbalanced, InvalidInput: something does not balance or cannot be read; nothing was posted.
        KeyReused, Conflict: a key stands for something else here. InsufficientFunds: the accounts here differ. What
            came before in the file is posted; run it again when that is cleared.
    """
    # All of it is checked before anything is posted.
    ends: dict[tuple[str, Any], tuple[int, int]] = {}
    for transaction in read():
        name = f"{transaction.kind} {transaction.key!r}"
        validate_name(transaction.agent_id)
        validate_name(transaction.scope, "scope")
        validate_name(transaction.kind, "kind")
        normalize_key(transaction.key)
        try:
            validate_lines([item.line for item in transaction.lines])
        except Unbalanced as error:
            raise Unbalanced(f"{name}: {error}") from None
        for item in transaction.lines:
            key = item.line.account
            seq, minor = ends.get((transaction.agent_id, key), (0, 0))
            end = ends[transaction.agent_id, key] = seq + 1, minor + item.line.amount.minor
            if end != (item.seq, item.balance.minor):
                raise Unbalanced(
                    f"{name} says entry {item.seq} of {key.service}/{key.bucket} with a balance of {item.balance}; "
                    f"the entries before make it entry {end[0]} with {Money.from_minor(end[1], key.currency)}. "
                    "Nothing was posted."
                )
    posted, total = 0, 0
    waiting = iter(read())
    while batch := list(islice(waiting, _PAGE)):
        with store.transaction() as tx:
            posted += sum(import_transaction(tx, transaction) for transaction in batch)
        total += len(batch)
    return ImportReport(posted, total - posted)


def import_transaction(tx: Transaction, transaction: PortableTransaction) -> bool:
    """Post one transaction; return False when it was there already."""
    lines = [item.line for item in transaction.lines]
    posting = Posting(
        id=transaction.id,
        scope=transaction.scope,
        key=transaction.key,
        kind=transaction.kind,
        lines=lines,
        effective_at=transaction.effective_at,
        effect_id=transaction.effect_id,
        resolves=transaction.resolves,
        meta=transaction.meta,
        sha=transaction.fingerprint,
    )
    posted = write_posting(tx, transaction.agent_id, posting)
    # The fingerprint is the file's word; the stored transaction has to move the same money.
    if posted.replayed:
        stored = read_lines(tx.connection, [posted.id])[posted.id]
        if set(net_lines(stored)) != set(net_lines(lines)):
            raise Conflict(
                f"the key {transaction.key!r} moves other money here than in the file. Nothing of it was posted."
            )
    return not posted.replayed


def write_json(transactions: Iterable[PortableTransaction]) -> Iterator[str]:
    """Yield the text of one JSON document, piece by piece."""
    yield f'{{"format": "{FORMAT}", "version": {VERSION}, "transactions": ['
    count = 0
    for count, transaction in enumerate(transactions, 1):
        fields, lines = _describe_transaction(transaction)
        document = {**fields, "meta": codec.to_json_types(transaction.meta), "lines": lines}
        yield ("\n" if count == 1 else ",\n") + json.dumps(document, ensure_ascii=False)
    # An export that was cut off has no count, so it cannot be taken for a whole one.
    yield f'\n], "count": {count}}}\n'


def write_csv(transactions: Iterable[PortableTransaction]) -> Iterator[str]:
    """Yield the text of one CSV table, piece by piece; a transaction's fields are repeated on each of its entries."""
    yield ",".join([*_FIELDS, *_LINE_FIELDS]) + "\n"
    for transaction in transactions:
        fields, lines = _describe_transaction(transaction)
        fields["meta"] = None if transaction.meta is None else codec.dumps(transaction.meta)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for line in lines:
            values = [*(fields[name] for name in _FIELDS), *(line[name] for name in _LINE_FIELDS)]
            writer.writerow(["" if value is None else value for value in values])
        yield text.getvalue()


WRITERS: Mapping[str, Callable[[Iterable[PortableTransaction]], Iterator[str]]] = {"json": write_json, "csv": write_csv}


def read_form(path: Path, form: str) -> Iterator[PortableTransaction]:
    """Yield the transactions of a file, `json` or `csv`; raises InvalidInput with the place of the fault."""
    if form == "csv":
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if rows.fieldnames is None or set(rows.fieldnames) != {*_FIELDS, *_LINE_FIELDS}:
                raise InvalidInput(f"{path.name} has other columns than a ledger in CSV. Nothing was posted.")
            for _, group in groupby(rows, key=lambda row: row["id"]):
                lines = list(group)
                given = {name: lines[0][name] or None for name in _FIELDS} | {"lines": lines}
                yield _parse_transaction(given, f"{path.name}, line {rows.line_num}", meta_is_text=True)
        return
    try:
        document = json.loads(path.read_text("utf-8"), parse_float=Decimal)
    except ValueError as error:
        raise InvalidInput(f"{path.name} is no whole JSON document: {error}. Nothing was posted.") from None
    if not isinstance(document, dict) or (document.get("format"), document.get("version")) != (FORMAT, VERSION):
        raise InvalidInput(f"{path.name} is no {FORMAT} of version {VERSION}. Nothing was posted.")
    transactions = document.get("transactions")
    if not isinstance(transactions, list) or len(transactions) != document.get("count"):
        raise InvalidInput(f"{path.name} does not hold as many transactions as it says. Nothing was posted.")
    for number, given in enumerate(transactions, 1):
        yield _parse_transaction(given, f"{path.name}, transaction {number}")


def _parse_transaction(given: Any, where: str, *, meta_is_text: bool = False) -> PortableTransaction:
    try:
        ids: dict[str, Any] = {name: given[name] and UUID(given[name]) for name in ("id", "effect_id", "resolves")}
        times: dict[str, Any] = {name: datetime.fromisoformat(given[name]) for name in ("effective_at", "recorded_at")}
        if naive := [name for name, moment in times.items() if moment.tzinfo is None]:
            raise InvalidInput(f"the time {given[naive[0]]} has no zone.")
        fingerprint = bytes.fromhex(given["fingerprint"])
        if len(fingerprint) != 32:  # noqa: PLR2004 SHA-256
            raise InvalidInput("the fingerprint is no SHA-256.")
        meta = given["meta"]
        lines = []
        for line in given["lines"]:
            amount, balance = Money(line["amount"], line["currency"]), Money(line["balance"], line["currency"])
            lines.append(PortableLine(Line(line["service"], line["bucket"], amount), int(line["seq"]), balance))
        return PortableTransaction(
            **{name: given[name] for name in ("agent_id", "scope", "key", "kind")},
            **ids,
            **times,
            fingerprint=fingerprint,
            meta=codec.from_json_types(json.loads(meta, parse_float=Decimal) if meta and meta_is_text else meta),
            lines=tuple(lines),
        )
    except (AgentStateError, ValueError, TypeError, KeyError, AttributeError) as error:
        told = error.message if isinstance(error, AgentStateError) else f"{type(error).__name__}: {error}"
        raise InvalidInput(f"{where}: {told} Nothing was posted.") from error


def _describe_transaction(transaction: PortableTransaction) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the fields of a transaction but its meta, and those of its lines, as JSON values."""
    fields: dict[str, Any] = {}
    for name in _FIELDS:
        value = getattr(transaction, name)
        if isinstance(value, datetime):
            value = value.isoformat()
        elif isinstance(value, bytes):
            value = value.hex()
        fields[name] = str(value) if isinstance(value, UUID) else value
    lines = [
        {
            "service": item.line.service,
            "bucket": str(item.line.bucket),
            "currency": item.line.amount.currency,
            "amount": f"{item.line.amount.amount:f}",
            "seq": item.seq,
            "balance": f"{item.balance.amount:f}",
        }
        for item in transaction.lines
    ]
    return fields, lines
