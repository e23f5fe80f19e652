"""Identifiers in a text: what matches whole or not at all, such as a transaction id, an address, a ticker, an amount.

Words that look alike are alike; identifiers that look alike are two different payments. So they have a retriever of
their own, in one spelling each: addresses without case, amounts without grouping and trailing zeros, tickers verbatim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

MAX_IDENTIFIERS = 500
"""Identifiers read from one text at most."""

_LONGEST = 128
"""Characters of an identifier at most; an IPFS path or a signature is shorter."""
_PIECE = re.compile(r"[^\s\"'`()\[\]{}<>;!?|]+")
_EDGES = ".,:-*\u2026\u2013\u2014"
_AMOUNT = re.compile(r"[$€£¥+-]{0,2}(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)%?", re.ASCII)
_TICKER = re.compile(r"\$?([A-Z]{2,6})")
_PAIR = re.compile(r"([A-Z]{2,6})[-/_]([A-Z]{2,6})")
_DOTTED = re.compile(r"(?:[a-zA-Z0-9_+.-]+@)?[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*\.[a-zA-Z]{2,24}")
_CODE = re.compile(r"[#@]?\w+(?:[-_:/#.]\w+)*", re.ASCII)
_SMALL = 5
"""Digits from which a bare whole number is an amount or an id rather than a year or a count."""


def find_identifiers(text: str) -> list[str]:
    """The identifiers of `text` in one spelling each, each once, in order; at most MAX_IDENTIFIERS."""
    return list(islice(dict.fromkeys(_found(text)), MAX_IDENTIFIERS))


def _found(text: str) -> Iterator[str]:
    pieces = [piece.group().strip(_EDGES) for piece in _PIECE.finditer(text) if len(piece.group()) <= _LONGEST]
    # A text all in capitals has no tickers, unless it is one.
    shouted = text.isupper() and len(pieces) > 2  # noqa: PLR2004 such as "ETH USDC"
    for piece, following in zip(pieces, [*pieces[1:], ""], strict=False):
        if amount := _AMOUNT.fullmatch(piece):
            if _is_telling(piece, amount[1]) or _TICKER.fullmatch(following):
                yield f"={_plain(amount[1])}"
        elif not shouted and (ticker := _TICKER.fullmatch(piece)):
            yield ticker[1]
        elif not shouted and (pair := _PAIR.fullmatch(piece)):
            yield from (f"{pair[1]}/{pair[2]}", pair[1], pair[2])
        elif _is_code(piece):
            yield piece.lstrip("#@").casefold()


def _is_telling(piece: str, amount: str) -> bool:
    """Whether a number stands for itself: with cents, groups or a currency sign, or long."""
    return not amount.isdigit() or piece[0] in "$€£¥" or len(amount) >= _SMALL


def _plain(amount: str) -> str:
    """An amount without grouping and needless zeros: `1,234.50` is `1234.5`. As text, since no digit may be lost."""
    whole, _, fraction = amount.replace(",", "").partition(".")
    fraction = fraction.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "")


def _is_code(piece: str) -> bool:
    if _DOTTED.fullmatch(piece):
        return True
    told = any(character.isdigit() for character in piece) or "_" in piece
    return told and _CODE.fullmatch(piece) is not None
