"""Search terms: stems of what matters, identifiers and amounts whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentstate.memory.search.terms import MAX_TERMS, rank_texts, split_terms


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


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("アレルギー", "卵アレルギーがあります"),
        ("退款", "客户昨天要求退款三百元"),
        ("猫", "黒猫がいる"),
        ("결제", "어제 결제했습니다"),
        ("ข้าว", "ฉันกินข้าวเย็น"),
        ("ｶﾚｰ", "カレーを食べた"),
        ("cafe", "the café in the square"),
        ("café", "the cafe in the square"),
        ("MULLER", "Frau Müller rief an"),
        ("елка", "новогодняя ёлка"),
        ("हिन्दी", "मैं हिन्दी बोलता हूँ"),
        ("Lodz", "he lives in Łódź"),
    ],
)
def test_words_are_found_in_any_script(query: str, text: str) -> None:
    assert rank_texts(query, ["something else", text, "別の物"])[0][0] == 1


def test_the_word_as_it_is_written_is_the_better_match() -> None:
    assert [position for position, _ in rank_texts("résumé", ["my resume", "my résumé"])] == [1, 0]
    assert [position for position, _ in rank_texts("resume", ["my résumé", "my resume"])] == [1, 0]


def test_neighbours_in_a_script_without_spaces_rank_lower() -> None:
    texts = ["花粉症があります", "卵アレルギーがあります", "アレクサがあります"]
    assert rank_texts("アレルギー", texts)[0][0] == 1
