"""Structured results of tools are read as data: identifiers, amounts with their units, states, in twelve forms."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from agentstate.providers.summaries.facts import find_facts
from agentstate.providers.summaries.records import find_record_lines
from agentstate.providers.summaries.summarizer import SourceTurn

ROWS = [
    {"id": f"tx_{n:02}ab", "amount": f"{n * 13}.{n:02}", "currency": "USDC" if n % 2 else "EUR", "status": "settled"}
    for n in range(1, 23)
]
NAMES = list(ROWS[0])


def join(separator: str, *, head: bool = True) -> str:
    lines = [NAMES] * head + [list(row.values()) for row in ROWS]
    return "\n".join(separator.join(line) for line in lines)


def as_yaml(row: dict[str, str]) -> str:
    return "- " + "\n  ".join(f"{name}: {value}" for name, value in row.items())


def as_xml(row: dict[str, str]) -> str:
    return f'<tx id="{row["id"]}"><amount currency="{row["currency"]}">{row["amount"]}</amount></tx>'


def nest(row: dict[str, str]) -> dict[str, object]:
    return {"id": row["id"], "total": {"value": row["amount"], "currency": row["currency"]}}


FORMS = {
    "json list": json.dumps(ROWS),
    "json numbers": re.sub('"amount": "([^"]+)"', r'"amount": \1', json.dumps({"items": ROWS})),
    "json nested": json.dumps({"data": {"tx": [nest(r)
                                               for r in ROWS]}}, indent=2),
    "json columns": json.dumps({"columns": NAMES, "rows": [list(row.values()) for row in ROWS]}),
    "json lines": "\n".join(json.dumps(row) for row in ROWS),
    "json in prose": f"Here is what I found:\n```json\n{json.dumps(ROWS, indent=1)}\n```\nAnything else?",
    "csv": join(","),
    "semicolons": join(";"),
    "tabs": join("\t"),
    "markdown table": "\n".join(f"| {' | '.join(line)} |" for line in
                                [NAMES, ["---"] * 4, *(list(row.values()) for row in ROWS)]),
    "plain table": "\n".join("   ".join(f"{cell:12}" for cell in line) for line in
                             [NAMES, *(list(row.values()) for row in ROWS)]),
    "yaml": "\n".join(map(as_yaml, ROWS)),
    "xml": f"<result>{''.join(map(as_xml, ROWS))}</result>",
    "units in names": json.dumps([{"order_id": r["id"], f"price_{r['currency'].lower()}": r["amount"]} for r in ROWS]),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_all_amounts_and_identifiers_are_read(form: str) -> None:
    lines = find_record_lines(f"[result] {FORMS[form]}")
    for row in ROWS:
        (line,) = (line for line in lines if row["id"] in line)
        assert f"{row['amount']} {row['currency']}" in line, form
    assert len(lines) == len(ROWS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I paid 50 EUR to Ann.",
        "a, b, c",
        "{not json",
        "[1, 2, 3]",
        "<a>",
        "| only | a head |",
        "x: y",
        "2, 3\n4, 5",
    ],
)
def test_prose_and_broken_data_give_no_records(text: str) -> None:
    assert find_record_lines(text) == []


def test_records_are_facts_with_their_turn() -> None:
    turn = SourceTurn(7, "tool", "", f"[result] {FORMS['json list']}", datetime(2026, 1, 1, tzinfo=UTC))
    records = [fact for fact in find_facts([turn]) if fact.kind == "record"]
    assert [fact.text for fact in records] == find_record_lines(turn.text)
    assert {fact.turns for fact in records} == {(7,)}
