"""Identifiers are read whole, in one spelling each, and words are none."""

from __future__ import annotations

import time

import pytest

from agentstate.memory.search.identifiers import MAX_IDENTIFIERS, find_identifiers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Escrow 0xAb12cD is released", ["0xab12cd"]),
        ("paid 1,234.50 to the escrow", ["=1234.5"]),
        ("$50 and 50.00 USDC for ETH", ["=50", "USDC", "ETH"]),
        ("bought 3 BTC", ["=3", "BTC"]),
        ("tx_9F8a33 confirmed; INV-2024-001, order #981.", ["tx_9f8a33", "inv-2024-001", "981"]),
        ("BTC-USD and ETH/USDC", ["BTC/USD", "BTC", "USD", "ETH/USDC", "ETH", "USDC"]),
        ("mail Bob@x.org about example.com.", ["bob@x.org", "example.com"]),
        ("bet:round-981 won 1.98", ["bet:round-981", "=1.98"]),
        ("id 123E4567-e89b-12d3-a456-426614174000", ["123e4567-e89b-12d3-a456-426614174000"]),
        ("ETH", ["ETH"]),
        ("costs 000100000", ["=100000"]),
        ("123456789012345678901234567890.10", ["=123456789012345678901234567890.1"]),
        ("", []),
        ("In May 2023 I had 3 kids, and 12 apples", []),
        ("I AM VERY ANGRY NOW", []),
        ("a well-known stop-loss and/or more. Really", []),
    ],
)
def test_identifiers_are_told_from_words(text: str, expected: list[str]) -> None:
    assert find_identifiers(text) == expected


def test_equal_amounts_are_one_identifier() -> None:
    assert find_identifiers("1234.5") == find_identifiers("1,234.50") == find_identifiers("$1,234.5")
    assert find_identifiers("0.10") != find_identifiers("0.1001")


def test_no_text_takes_long() -> None:
    began = time.process_time()
    for hostile in ("a" * 100_000, "a." * 50_000, "1," * 50_000, ("a." * 63 + " ") * 800, ("a-" * 60 + " ") * 800):
        assert len(find_identifiers(hostile)) <= MAX_IDENTIFIERS
    assert time.process_time() - began < 10
