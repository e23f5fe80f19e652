"""Figures: what is found in a text, and that an invented one never passes."""

from __future__ import annotations

import string
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentstate.providers.summaries.evidence import find_unsupported_figures
from agentstate.providers.summaries.figures import find_figures
from agentstate.providers.summaries.numerals import shift_decimal


def numbers(text: str) -> list[tuple[str, str | None]]:
    return [
        (format(figure.number, "f"), figure.unit)
        for figure in find_figures(text)
        if figure.kind == "number" and figure.number is not None
    ]


def identifiers(text: str) -> list[str]:
    return [figure.text for figure in find_figures(text) if figure.kind == "identifier"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$1,200.50", ("1200.50", "USD")),
        ("2.5k USDC", ("2500", "USDC")),
        ("1.2 million dollars", ("1200000", "USD")),
        ("-$50", ("-50", "USD")),
        ("$-7", ("-7", "USD")),
        ("+3%", ("3", "%")),
        ("50USDC", ("50", "USDC")),
        ("USDC 50", ("50", "USDC")),
        ("7 PFT", ("7", "PFT")),
        (".5 ETH", ("0.5", "ETH")),
        ("the 20th", ("20", None)),
        ("a 90-day lock", ("90", None)),
        ("3x", ("3", None)),
        ("twenty-five", ("25", None)),
        ("two hundred and ten", ("210", None)),
        ("three thousand five", ("3005", None)),
        ("0.000000000000000001 ETH", ("0.000000000000000001", "ETH")),
        (f"{'9' * 60}.25", ("9" * 60 + ".25", None)),
        ("1k" + "", ("1000", None)),
    ],
)
def test_numbers(text: str, expected: tuple[str, str | None]) -> None:
    assert numbers(text) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on 20 November 2026", (2026, 11, 20)),
        ("November 20th, 2026", (2026, 11, 20)),
        ("8 May, 2023", (2023, 5, 8)),
        ("May 2023", (2023, 5, None)),
        ("Nov 20", (None, 11, 20)),
        ("2026-11-20T10:30:00Z", (2026, 11, 20)),
        ("20/11/26", (2026, 11, 20)),
    ],
)
def test_dates(text: str, expected: tuple[Any, ...]) -> None:
    assert [figure.date for figure in find_figures(text) if figure.kind == "date"] == [expected]
    assert numbers(text) == []


@pytest.mark.parametrize(
    "text",
    ["0xAbC123def", "INV-2031", "esc_7781", "8f3a2b1c-77d0-4e11-9b1e-0f1d2c3b4a59", "ann@example.org", "alice.eth",
     "https://x.io/tx/12?a=1", "10.0.0.1", "v1.2.3", "555-1234",
     "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"],  # pragma: allowlist secret
)  # fmt: skip
def test_identifiers(text: str) -> None:
    assert identifiers(f"see {text}, please.") == [text]
    assert find_unsupported_figures(text, f"see {text}.") == []
    assert find_unsupported_figures(text, "see nothing here") == [text]
    assert find_unsupported_figures(text, f"see {text}7") == [text], "a longer identifier is another one"


@pytest.mark.parametrize(
    ("summary", "source"),
    [
        ("paid $1200.50", "I paid 1,200.50 USD"),
        ("paid 1200.50", "I paid $1,200.50"),
        ("paid $50", "I paid 50 to her"),
        ("2,500 USDC", "2.5k USDC"),
        ("twelve bets", "12 bets"),
        ("12 bets", "a dozen bets"),
        ("lost 50 USDC", "result: -50 USDC"),
        ("in May 2023", "2023-05-08"),
        ("in 2023", "8 May, 2023"),
        ("on the 8th", "8 May, 2023"),
        ("on 8 May 2023", "met on 8 May; written 2023-05-10"),
        ("on 4 March 2026", "on 03/04/2026"),
        ("at 3:30 pm", "at 15:30"),
        ("at 3pm", "at 3:00"),
        ("invoice 2031", "see INV-2031"),
        ("one of them", "some of them"),
        ("0xabc123", "to 0xABC123"),
        ("turn 3", "[turn 3, 2026-11-20 10:00] Ann: hi"),
    ],
)
def test_supported(summary: str, source: str) -> None:
    assert find_unsupported_figures(summary, source) == []


@pytest.mark.parametrize(
    ("summary", "source", "flagged"),
    [
        ("paid $60", "I paid $50", ["$60"]),
        ("paid 50 EUR", "I paid 50 USDC", ["50 EUR"]),
        ("result -50", "result 50", ["-50"]),
        ("about 1,200", "exactly 1,234", ["1,200"]),
        ("two bets", "a bet and a bet", ["two"]),
        ("on 9 May 2023", "8 May, 2023", ["9 May 2023"]),
        ("20 bets", "on 2026-11-20", ["20"]),
        ("3 wins", "[turn 3] Ann: hi", ["3"]),
        ("turn 4", "[turn 3] Ann: hi", ["turn 4"]),
        ("at 3:45", "at 3:30", ["3:45"]),
        ("write to ann@example.com", "write to ann@example.org", ["ann@example.com"]),
        ("to 0xabc12", "to 0xabc123", ["0xabc12"]),
        ("$7 and $7 and $8", "nothing", ["$7", "$8"]),
    ],
)
def test_unsupported(summary: str, source: str, flagged: list[str]) -> None:
    assert find_unsupported_figures(summary, source) == flagged


AMOUNTS = st.decimals(min_value=0, max_value=10**9, places=2, allow_nan=False)
WORDS = st.text(string.ascii_lowercase + " ", max_size=20)


@given(AMOUNTS, WORDS, WORDS)
def test_an_amount_is_the_same_in_every_notation(amount: Decimal, before: str, after: str) -> None:
    source = f"{before} - {amount:,.2f} USDC - {after}"
    for notation in (f"{amount:f} USDC", f"{amount:,f}", f"USDC {amount:f}", f"{shift_decimal(amount, -3):f}k USDC"):
        assert find_unsupported_figures(notation, source) == []


@given(AMOUNTS, AMOUNTS)
def test_another_amount_is_never_supported(said: Decimal, known: Decimal) -> None:
    flagged = find_unsupported_figures(f"it was {said:f} USDC", f"it was {known:f} USDC")
    assert flagged == ([] if said == known else [f"{said:f} USDC"])


@given(st.text(max_size=300))
def test_a_text_supports_itself(text: str) -> None:
    assert find_unsupported_figures(text, text) == []


@given(st.text(max_size=200), st.text(max_size=50))
def test_figures_stand_where_they_say(text: str, more: str) -> None:
    for figure in find_figures(f"{text} $5.00 {more}"):
        assert f"{text} $5.00 {more}".startswith(figure.text, figure.start)


@pytest.mark.parametrize("piece", ["1", "1-", "1,234,", "a.", "a@", "a-", "$", "0:", "one hundred ", "may ", " "])
def test_hostile_texts_take_linear_time(piece: str) -> None:
    def seconds(size: int) -> float:
        start = time.process_time()
        find_figures(piece * (size // len(piece)))
        return time.process_time() - start

    assert seconds(80_000) < 10 * max(seconds(20_000), seconds(20_000), 0.05)
