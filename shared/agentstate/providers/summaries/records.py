"""Records in the results of tools: JSON, JSON lines, CSV, tables, YAML and XML, read as data and not as prose.

A record is a set of named fields. Of each, the identifiers, the amounts with their units and the states are told in one
line, each value verbatim: `id tx_9, amount 12.50 USDC, status settled`. A unit that stands in another field, or in the
field's own name, is put behind the number. Reading takes time linear in the text.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final, TypeAlias
from xml.etree import ElementTree as ET

from agentstate.providers.summaries.numerals import CODES, UNITS

Record: TypeAlias = list[tuple[str, str]]
"""Names and values of one record's fields, in order."""

MAX_RECORDS: Final = 500
_MAX_FIELDS: Final = 64
_MAX_DEPTH: Final = 40
_MAX_VALUE: Final = 200
_MAX_LINE: Final = 300

_RESULT_MARK: Final = re.compile(r"^\[(?:result|calls [^\]\n]{1,200}|tool)\] ", re.MULTILINE)
_FENCE: Final = re.compile(r"^```[a-zA-Z]{0,12}[ ]*$", re.MULTILINE)
_YAML_FIELD: Final = re.compile(r"([ ]{0,80})(- )?([\w .()%$€£-]{1,60}?)[ ]?:(?:[ ]+(\S.*))?")
_RULE: Final = re.compile(r"[\s|+:=\u2500-\u257f-]+")
_COLUMNS: Final = re.compile(r"\s{2,}|\t")
_NUMBER: Final = re.compile(r"[-+(]?[$€£¥]?[-+]?\d[\d.,'_ \u00a0\u202f]{0,60}\)?[%]?(?:[ ]?[^\W\d_]{1,8}|[$€£¥])?")
_BARE_NUMBER: Final = re.compile(r"[-+]?\d[\d.,'_]{0,60}")
_WORDS: Final = re.compile(r"[^\W\d_]+|\d+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_CODE: Final = re.compile(rf"(?:{CODES})|[A-Z][A-Z0-9]{{1,9}}")

_ID_WORDS: Final = frozenset(
    {"id", "ids", "uuid", "guid", "hash", "tx", "txid", "txn", "ref", "reference", "order", "invoice", "address",
     "iban", "account", "key", "nonce", "number", "no", "nr", "code", "sku", "isbn", "ticket", "escrow", "transaction",
     "payment", "domain", "wallet", "receipt", "trade", "position"}
)  # fmt: skip
_AMOUNT_WORDS: Final = frozenset(
    {"amount", "amt", "balance", "price", "total", "fee", "fees", "value", "paid", "cost", "sum", "limit", "size",
     "stake", "payout", "credit", "debit", "net", "gross", "available", "reserved", "qty", "quantity", "due", "owed",
     "collateral", "margin", "pnl", "profit", "loss", "betrag", "summe", "saldo", "rate", "tax", "refund", "deposit"}
)  # fmt: skip
_UNIT_WORDS: Final = frozenset({"currency", "ccy", "asset", "unit", "coin", "token", "symbol", "denom", "denomination",
                                "währung", "waehrung", "devise", "moneda"})  # fmt: skip
_STATE_WORDS: Final = frozenset({"status", "state", "outcome", "result", "decision", "side", "type"})


def find_record_lines(text: str) -> list[str]:
    """Return one line for each record of `text` that has an identifier or an amount, in order."""
    lines: dict[str, None] = {}
    for part in _RESULT_MARK.split(text):
        for record in _read_records(_FENCE.sub("", part).strip()):
            if line := _describe_record(record):
                lines[line] = None
            if len(lines) >= MAX_RECORDS:
                return list(lines)
    return list(lines)


def _read_records(text: str) -> Iterator[Record]:
    """Yield the records of one text in the first format that it has."""
    if not any(character.isdigit() for character in text[:100_000]):
        return
    values = list(_read_json(text))
    if values:
        for value in values:
            yield from _walk_json(value)
    elif text.startswith("<"):
        yield from _read_xml(text)
    else:
        yield from _read_table(text.splitlines()) or _read_yaml(text.splitlines())


def _read_json(text: str) -> Iterator[Any]:
    """Yield the JSON value that `text` is, or begins with behind a few words, or one for each line that is one."""
    decoder = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
    starts = [place for bracket in "[{" if (place := text.find(bracket)) >= 0]
    begin = min(starts, default=-1)
    while begin >= 0:
        try:
            value, end = decoder.raw_decode(text, begin)
        except (ValueError, RecursionError):
            # Not JSON from here: only the next line that begins with a bracket is tried.
            following = text.find("\n", begin)
            while following >= 0 and text[following + 1 : following + 2] not in ("[", "{"):
                following = text.find("\n", following + 1)
            begin = following + 1 if following >= 0 else -1
            continue
        yield value
        starts = [place for bracket in "[{" if (place := text.find(bracket, end)) >= 0]
        begin = min(starts, default=-1)


def _walk_json(value: Any) -> Iterator[Record]:
    waiting: list[tuple[Any, Record, int]] = [(value, [], 0)]
    while waiting:
        inner, outer, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            continue
        if isinstance(inner, list):
            header = inner[0] if inner and isinstance(inner[0], list) else None
            if header and all(isinstance(name, str) and not name[:1].isdigit() for name in header):
                inner = [dict(zip(header, row, strict=False)) for row in inner[1:] if isinstance(row, list)]
            waiting += [(item, outer, depth + 1) for item in reversed(inner)]
        elif isinstance(inner, dict):
            names = next((inner[key] for key in ("columns", "fields", "headers", "header") if key in inner), None)
            fields = list(_flat_fields(inner))
            yield [*fields, *(field for field in outer if field[0] not in inner)]
            context = [field for field in fields if _has_word(field[0], _ID_WORDS | _UNIT_WORDS)]
            for item in reversed(inner.values()):
                if isinstance(item, list) and isinstance(names, list) and item is not names:
                    titles = [str(each.get("name")) if isinstance(each, dict) else str(each) for each in names]
                    rows = [dict(zip(titles, row, strict=False)) if isinstance(row, list) else row for row in item]
                    waiting.append((rows, context or outer, depth + 1))
                elif isinstance(item, list) or (isinstance(item, dict) and not _is_flat(item)):
                    waiting.append((item, context or outer, depth + 1))


def _is_flat(value: dict[str, Any]) -> bool:
    return all(item is None or isinstance(item, str | bool) for item in value.values())


def _flat_fields(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the text fields of an object, and those of objects in it that have no further ones, such as an amount."""
    for name, item in value.items():
        if isinstance(item, str) and len(item) <= _MAX_VALUE:
            yield str(name), item
        elif isinstance(item, dict) and _is_flat(item):
            inner = [(key, text) for key, text in item.items() if isinstance(text, str) and len(text) <= _MAX_VALUE]
            unit = next((text for key, text in inner if _has_word(key, _UNIT_WORDS) and _CODE.fullmatch(text)), "")
            for key, text in inner:
                if text != unit:
                    is_bare = bool(unit) and _BARE_NUMBER.fullmatch(text) is not None
                    yield f"{name} {key}", f"{text} {unit}" if is_bare else text


def _read_xml(text: str) -> Iterator[Record]:
    if "<!" in text.replace("<!--", ""):
        return  # no entities of anybody's own
    try:
        root = ET.fromstring(text)  # noqa: S314 documents with declarations are refused above
    except ET.ParseError:
        return
    waiting = [(root, 0)]
    while waiting:
        element, depth = waiting.pop()
        fields: Record = [(name, value) for name, value in element.attrib.items() if len(value) <= _MAX_VALUE]
        for child in element:
            fields += [(_local_name(child.tag), child.text.strip())] if child.text and child.text.strip() else []
            fields += list(child.attrib.items()) if len(child) == 0 else []
        if element.text and element.text.strip() and len(element) == 0 and depth == 0:
            fields.append((_local_name(element.tag), element.text.strip()))
        yield fields
        waiting += [(child, depth + 1) for child in reversed(element) if len(child) or depth < 1]


def _local_name(tag: object) -> str:
    return str(tag).rpartition("}")[2]


def _read_table(lines: Sequence[str]) -> list[Record]:
    """Return the rows of the tables in `lines`: columns by bars, commas, semicolons, tabs or runs of blanks."""
    records: list[Record] = []
    for kind, group in groupby(lines, key=_column_kind):
        rows = [_split_row(line, kind) for line in group if kind and not _RULE.fullmatch(line)]
        width = len(rows[0]) if rows else 0
        if len(rows) < 2 or width < 2 or any(cell[:1].isdigit() for cell in rows[0]):  # noqa: PLR2004 a header and a row
            continue
        records += [
            list(zip(rows[0], row, strict=False)) for row in rows[1:] if len(row) == width or kind in ("|", "  ")
        ]
    return records


def _column_kind(line: str) -> str:
    if "|" in line or "\u2502" in line or (_RULE.fullmatch(line) and line.strip()):
        return "|"
    for mark in ("\t", ";", ","):
        if mark in line.strip():
            return mark
    return "  " if "  " in line.strip() else ""


def _split_row(line: str, kind: str) -> list[str]:
    if kind == "|":
        return [cell.strip() for cell in line.replace("\u2502", "|").strip().strip("|").split("|")]
    if kind == "  ":
        return _COLUMNS.split(line.strip())
    return [cell.strip() for cell in next(csv.reader([line], delimiter=kind), [])][:_MAX_FIELDS]


def _read_yaml(lines: Sequence[str]) -> Iterator[Record]:
    """Yield the mappings of YAML or of lines `name: value`; a dash or an empty line begins another one."""
    record: Record = []
    for line in lines:
        match = _YAML_FIELD.fullmatch(line[:_MAX_LINE].rstrip())
        begins = match[2] is not None if match is not None else line.strip() in ("", "---")
        if record and begins:
            yield record
            record = []
        if match is not None and match[4]:
            record.append((match[3].strip(), match[4].strip().strip("\"'")))
    if record:
        yield record


def _has_word(name: str, words: frozenset[str]) -> bool:
    return not words.isdisjoint(_split_name(name))


def _split_name(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(_CAMEL.sub(" ", name[:_MAX_VALUE]))]


def _describe_record(record: Record) -> str:
    """Return the identifiers, amounts and states of a record as one line; empty without identifier and amount."""
    unit = next((value for name, value in record if _has_word(name, _UNIT_WORDS) and _CODE.fullmatch(value)), "")
    parts: list[str] = []
    is_telling = False
    for name, raw in record[:_MAX_FIELDS]:
        value = " ".join(raw.split())
        words = _split_name(name)
        if not value or len(value) > _MAX_VALUE or not words:
            continue
        own_unit = next((word for word in words if word in UNITS and word not in _AMOUNT_WORDS), "")
        is_number = _NUMBER.fullmatch(value) is not None
        has_unit = any(character.isalpha() or character in "$€£¥%" for character in value)
        is_amount = is_number and (bool(own_unit) or not _AMOUNT_WORDS.isdisjoint(words) or (has_unit and " " in value))
        is_id = not is_amount and not _ID_WORDS.isdisjoint(words) and any(map(str.isdigit, value))
        looks_like_id = not is_number and " " not in value and re.search(r"\d", value) and re.search(r"[^\W\d_]", value)
        if is_amount:
            shown = UNITS.get(own_unit, own_unit.upper()) or unit
            parts.append(f"{name} {value}" + (f" {shown}" if shown and not has_unit else ""))
        elif is_id or looks_like_id or not _STATE_WORDS.isdisjoint(words):
            parts.append(f"{name} {value}")
        is_telling = is_telling or is_amount or bool(is_id) or bool(looks_like_id)
    return ", ".join(parts)[:_MAX_LINE] if is_telling else ""
