"""A memory that lacks an identifier of the question is no answer to it, whatever stands beside the identifier."""

from __future__ import annotations

import pytest

from agentstate.memory.search.identifiers import find_identifiers, inherit_identifiers, may_answer


def answers(query: str, text: str, *, inherits: bool = False) -> bool:
    return may_answer(find_identifiers(query), text, inherits=inherits)


@pytest.mark.parametrize(
    ("query", "right", "wrong"),
    [
        ("0xab12cd", "Payment 0xAB12CD arrived.", "Payment 0xab12ce arrived."),
        ("status of ORD-12345?", "ORD-12345 is shipped", "ORD-12346 is shipped"),
        ("INV-2026-001", "Rechnung INV\u20112026\u2011001 bezahlt", "INV-2026-002 is paid"),
        ("INV\u20132026\u2013001", "inv-2026-001 is paid", "inv-2026-010 is paid"),
        ("1,234.60 USDC", "Bob paid 1.234,60 USDC", "Bob paid 1,234.50 USDC"),
        ("234.50", "it was CHF 234.5", "it was CHF 1'234.50"),
        ("\uff2f\uff32\uff24\uff0d\uff11\uff12\uff13\uff14\uff15", "about ORD-12345", "about ORD-12344"),
        ("ORD-12345", "\u652f\u4ed8ORD-12345\u3002", "\u652f\u4ed8ORD-12346\u3002"),
        ("ORD-12345", "\u201eORD-12345\u201c and caf\u00e9ORD-12345\u00e9", "ORD-123456"),
        (
            "INV-2026-103",
            "\u8acb\u6c42\u66f8INV-2026-103\u3092\u9001\u4ed8",
            "\u8acb\u6c42\u66f8INV-2026-104\u3092\u9001\u4ed8",
        ),
        ("0xab12cd", "see https://scan.io/tx/0xab12cd", "see https://scan.io/tx/0xab12cdef"),
        ("https://scan.io/tx/0xab12cd", "scan.io: 0xab12cd is final", "https://scan.io/tx/0xab12ce"),
        ("order #12345", "order 12345 came", "order 12354 came"),
        ("when does example.com expire", "example.com ends in May", "example.org ends in May"),
        ("room A-12", "A-12 is booked", "A-13 is booked"),
        ("did INV-2026-001 cost 12.50?", "INV-2026-001 was cheap", "INV-2026-002 cost 12.50"),
        ("\uff11\uff12\uff0c\uff13\uff14\uff15\u5186", "12345 JPY", "12346 JPY"),
    ],
)
def test_another_identifier_is_no_answer(query: str, right: str, wrong: str) -> None:
    assert answers(query, right)
    assert not answers(query, wrong)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("what did I say about GPT-4?", "the model is good"),
        ("how was the mp3 player in 2024", "it broke"),
        ("plans for mid-2026", "next summer we move"),
        ("a 500-word essay", "write an essay"),
        ("where was the picture of December 1,2023 taken", "in the forest"),
        ("I slept.What then", "you woke"),
        ("ETH price", "ether is up"),
        ("3 kids and 12 apples", "children eat fruit"),
    ],
)
def test_kinds_counts_and_dates_ask_for_no_identifier(query: str, text: str) -> None:
    assert answers(query, text)


def test_an_answer_may_name_the_identifier_in_the_turn_before() -> None:
    before = ["Where is ORD-12345?"]
    assert inherit_identifiers(find_identifiers("It ships on Monday."), before) == find_identifiers(before[0])
    assert inherit_identifiers(find_identifiers("ORD-12346 ships on Monday."), before) == []
    assert answers("ORD-12345", "It ships on Monday.", inherits=True)
    assert not answers("ORD-12345", "ORD-12346 ships on Monday.", inherits=True)
    assert not answers("ORD-12345", "It ships on Monday.")
