"""The two forms of a ledger outside a store: JSON with one transaction a line, and CSV with one entry a line.

Both hold the same and are read back to the same. Amounts are decimal text in whole units, never floats.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID

from agentstate.errors import AgentStateError, InvalidInput
from agentstate.money.amounts import Money
from agentstate.money.audit.export import PortableLine, PortableTransaction
from agentstate.money.ledger.postings import Line
from agentstate.state import codec

FORMAT = "agentstate.ledger"
VERSION = 1
FORMS = ("json", "csv")

_TRANSACTION = (
    "agent_id", "id", "scope", "key", "kind", "effective_at", "recorded_at", "effect_id", "resolves", "fingerprint",
    "meta",
)  # fmt: skip
_LINE = ("service", "bucket", "currency", "amount", "seq", "balance")


def as_json(transactions: Iterable[PortableTransaction]) -> Iterator[str]:
    """The text of one JSON document, piece by piece."""
    yield f'{{"format": "{FORMAT}", "version": {VERSION}, "transactions": ['
    count = 0
    for count, transaction in enumerate(transactions, 1):
        lines = [_line_fields(item) for item in transaction.lines]
        document = {**_fields(transaction), "meta": codec.to_json_types(transaction.meta), "lines": lines}
        yield ("\n" if count == 1 else ",\n") + json.dumps(document, ensure_ascii=False)
    # An export that was cut off has no count, so it cannot be taken for a whole one.
    yield f'\n], "count": {count}}}\n'


def as_csv(transactions: Iterable[PortableTransaction]) -> Iterator[str]:
    """The text of one CSV table, piece by piece; a transaction's fields are repeated on each of its entries."""
    yield _csv_line([*_TRANSACTION, *_LINE])
    for transaction in transactions:
        fields = _fields(transaction)
        meta = "" if transaction.meta is None else codec.dumps(transaction.meta)
        named = {**fields, "meta": meta}
        for item in transaction.lines:
            line = _line_fields(item)
            yield _csv_line([*(named[name] for name in _TRANSACTION), *(line[name] for name in _LINE)])


WRITERS: Mapping[str, Callable[[Iterable[PortableTransaction]], Iterator[str]]] = {"json": as_json, "csv": as_csv}


def read_form(path: Path, form: str) -> Iterator[PortableTransaction]:
    """The transactions of a file of that form; raises InvalidInput for what cannot be read, with its place."""
    return _read_csv(path) if form == "csv" else _read_json(path)


def _read_json(path: Path) -> Iterator[PortableTransaction]:
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
        yield _read_one(path, f"transaction {number}", partial(_of_json, given))


def _read_csv(path: Path) -> Iterator[PortableTransaction]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames is None or set(rows.fieldnames) != {*_TRANSACTION, *_LINE}:
            raise InvalidInput(f"{path.name} has other columns than a ledger in CSV. Nothing was posted.")
        for _, group in groupby(rows, key=lambda row: row["id"]):
            lines = list(group)
            where = f"line {rows.line_num}"
            yield _read_one(path, where, partial(_of_csv, lines))


def _of_json(given: Mapping[str, Any]) -> PortableTransaction:
    return _parsed(given, given["lines"])


def _of_csv(lines: list[dict[str, str]]) -> PortableTransaction:
    row = lines[0]
    given: dict[str, Any] = {name: row[name] or None for name in _TRANSACTION}
    return _parsed({**given, "meta": json.loads(row["meta"], parse_float=Decimal) if row["meta"] else None}, lines)


def _read_one(path: Path, where: str, parse: Callable[[], PortableTransaction]) -> PortableTransaction:
    try:
        return parse()
    except (AgentStateError, ValueError, TypeError, KeyError, AttributeError) as error:
        told = error.message if isinstance(error, AgentStateError) else f"{type(error).__name__}: {error}"
        raise InvalidInput(f"{path.name}, {where}: {told} Nothing was posted.") from error


def _parsed(given: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]) -> PortableTransaction:
    return PortableTransaction(
        agent_id=given["agent_id"],
        id=UUID(given["id"]),
        scope=given["scope"],
        key=given["key"],
        kind=given["kind"],
        effective_at=_moment(given["effective_at"]),
        recorded_at=_moment(given["recorded_at"]),
        effect_id=_uuid(given["effect_id"]),
        resolves=_uuid(given["resolves"]),
        fingerprint=_digest(given["fingerprint"]),
        meta=codec.from_json_types(given["meta"]),
        lines=tuple(_line(line) for line in lines),
    )


def _line(given: Mapping[str, Any]) -> PortableLine:
    amount = Money(given["amount"], given["currency"])
    balance = Money(given["balance"], given["currency"])
    return PortableLine(Line(given["service"], given["bucket"], amount), int(given["seq"]), balance)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise InvalidInput(f"the time {text} has no zone.")
    return moment


def _uuid(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


def _digest(text: str) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != 32:  # noqa: PLR2004 SHA-256
        raise InvalidInput("the fingerprint is no SHA-256.")
    return digest


def _fields(transaction: PortableTransaction) -> dict[str, Any]:
    plain = {name: getattr(transaction, name) for name in _TRANSACTION}
    return {name: _text(value) for name, value in plain.items()}


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, UUID) else value


def _line_fields(item: PortableLine) -> dict[str, Any]:
    line = item.line
    return {
        "service": line.service,
        "bucket": str(line.bucket),
        "currency": line.amount.currency,
        "amount": f"{line.amount.amount:f}",
        "seq": item.seq,
        "balance": f"{item.balance.amount:f}",
    }


def _csv_line(values: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["" if value is None else value for value in values])
    return text.getvalue()
