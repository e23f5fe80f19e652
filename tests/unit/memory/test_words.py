"""Search terms: stems of what matters, identifiers and amounts whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentstate.memory.search.terms import MAX_TERMS, split_terms


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Betting on sports markets", ["bet", "sport", "market"]),
        ("the of and I'm don't", []),
        ('the "stop-loss".', ["stop", "loss"]),
        ("Melanie\u2019s race", ["melani", "race"]),
        ("paid 1,234.56 USDC at 10:30", ["paid", "1234.56", "usdc", "10:30"]),
        ("rolled 1,2,3", ["roll", "1,2,3"]),
        ("1,000 or 1000", ["1000", "1000"]),
        ("tx 0xAB12cd", ["tx", "0xab12cd"]),
        ("\uff26\uff35\uff2c\uff2c", ["full"]),
        ("Straße STRASSE", ["strass", "strass"]),
        ("", []),
    ],
)
def test_terms(text: str, found: list[str]) -> None:
    assert split_terms(text) == found


@given(st.text())
def test_any_text_gives_terms_that_hold_no_space(text: str) -> None:
    assert all(term and not term.isspace() for term in split_terms(text))


@given(st.text(alphabet=st.characters(codec="ascii")))
def test_case_does_not_matter(text: str) -> None:
    assert split_terms(text.upper()) == split_terms(text.lower())


def test_a_very_long_text_is_read_to_a_bound() -> None:
    assert len(split_terms("bet " * (MAX_TERMS + 5))) == MAX_TERMS
