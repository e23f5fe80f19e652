"""The identifiers of a text: codes, addresses, tickers and amounts, each in one spelling.

Words that look alike are alike; identifiers that look alike are two different payments, so they match whole or not at
all: codes and addresses without case, amounts by their value, tickers verbatim. They are read in any neighbourhood:
beside letters of a script without spaces, in full-width forms, with any kind of hyphen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from agentstate.providers.summaries.numerals import fold_text

MAX_IDENTIFIERS = 500
"""Identifiers read from one text at most."""

_LONGEST = 128
"""Characters of an identifier at most; an IPFS path or a signature is shorter."""
_PIECE = re.compile(r"[^\s\"'`()\[\]{}<>;!?|]+")
_EDGES = ".,:-*\u2026\u2013\u2014"
_TICKER = re.compile(r"\$?([A-Z]{2,6})")
_PAIR = re.compile(r"([A-Z]{2,6})[-/_]([A-Z]{2,6})")
_DOTTED = re.compile(r"(?:[a-zA-Z0-9_+.-]+@)?[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*\.[a-zA-Z]{2,24}")
_NAMED = re.compile(r"[a-zA-Z]\w*_\w+", re.ASCII)
_DASHED = re.compile(r"[A-Za-z]+(?:[\u2012-\u2015]\d+)+")
_DASHES = re.compile(r"[\u2012-\u2015]")
_JOINED = re.compile(r"[/+?&=]+|[^\x00-\x7f]+")
"""Between codes that stand together, as in an address, and between a code and letters that it does not have."""
_LABELLED = re.compile(r"[a-z]+:(0x[0-9a-f]+)|[a-z]+[-_:#](\d{5,})")
_PLAIN_WORD = re.compile(r"[a-z]+-(?:19|20)\d\d|\d+-[a-z]+")
"""Such as mid-2026 or 500-word."""
_TOP_DOMAIN = re.compile(r"\.(?:com|org|net|io|eth|xyz|ai|dev|app|info|finance)\Z")
_DAY_AND_YEAR = re.compile(r"\d{1,2},(?:19|20)\d\d")
_FRACTION_OR_GROUPS = re.compile(r"\d[.,' \u066b\u066c]\d")
_DIGITS = re.compile(r"\d+")
_LONG_NUMBER = 10_000
"""From this on a bare whole number is an amount or an id rather than a year or a count."""
_STRONG_DIGITS = 3
"""Digits from which a code names one thing, such as an order, rather than a kind, such as `mp3` or `GPT-4`."""


def find_identifiers(text: str) -> list[str]:
    """Return the identifiers of `text` in one spelling each, each once, in order; at most MAX_IDENTIFIERS.

    Amounts begin with `=`; of a number that locales read differently both values are given; tickers are in capitals.
    """
    found = sorted([*_iterate_figures(text), *_iterate_names(text)], key=lambda item: item[0])
    return list(islice(dict.fromkeys(name for _, name in found if len(name) <= _LONGEST), MAX_IDENTIFIERS))


def inherit_identifiers(own: Sequence[str], before: Sequence[str]) -> list[str]:
    """Return the identifiers of a turn that names none itself: those of the nearest turn before it that names some."""
    if any(not _is_ticker(name) for name in own):
        return []
    for text in before:
        if names := [name for name in find_identifiers(text) if not _is_ticker(name)]:
            return names
    return []


def may_answer(wanted: Sequence[str], text: str, *, inherits: bool) -> bool:
    """Return whether a memory can answer a question that names the identifiers `wanted`.

    A memory without any of the codes that are asked for is about something else, however alike the words are; so is
    one without any of the amounts when only amounts are asked for.

    Args:
        wanted: the identifiers of the question.
        text: the memory's.
        inherits: whether the turns before it name one of them: then it counts unless it names others itself.
    """
    codes = [name for name in wanted if not name.startswith("=") and not _is_ticker(name)]
    strong = {name for name in codes if _is_strong(name)}
    strong = {name for name in strong if _DIGITS.search(name)} or strong  # a transaction rather than where to see it
    amounts = {name for name in wanted if name.startswith("=")}
    if not codes and not amounts:
        return True
    held = set(find_identifiers(text))
    if strong:
        return bool(strong & held) or (inherits and not any(map(_is_strong, held)))
    if codes and not held.intersection(codes):
        shapes = {_DIGITS.sub("0", name) for name in codes}
        if any(_DIGITS.sub("0", name) in shapes for name in held):
            return False  # such as A-13 for A-12
    if amounts:
        return bool(amounts & held) or (inherits and not any(name.startswith("=") for name in held))
    return True


def _is_ticker(name: str) -> bool:
    return name.isupper()


def _is_strong(name: str) -> bool:
    if name.startswith("=") or _is_ticker(name):
        return False
    return "@" in name or bool(_TOP_DOMAIN.search(name)) or sum(map(str.isdigit, name)) >= _STRONG_DIGITS


def _iterate_figures(text: str) -> Iterator[tuple[int, str]]:
    """Yield the place and spelling of each amount, and of each code with a digit."""
    from agentstate.providers.summaries.figures import find_figures

    if _DASHES.search(text):
        text = _DASHED.sub(lambda code: _DASHES.sub("-", code[0]), text)
    for figure in find_figures(text):
        if figure.kind == "identifier":
            written = fold_text(figure.text).text.strip("_.-")
            code = written.casefold()
            if _PLAIN_WORD.fullmatch(written):
                continue
            yield figure.start, code
            if labelled := _LABELLED.fullmatch(code):
                yield figure.start, labelled[1] or f"={int(labelled[2])}"
            parts = _JOINED.split(code)
            if len(parts) > 1:
                yield from ((figure.start, part) for part in parts if _is_strong(part))
        elif figure.kind == "number" and figure.number is not None:
            is_numbered = figure.start > 0 and text[figure.start - 1] in "#\u2116" and figure.text.isdecimal()
            if is_numbered and figure.number < _LONG_NUMBER:
                yield figure.start, str(figure.number)
            # A number stands for itself with cents, groups or a currency, or when it is long.
            elif (
                figure.unit not in {None, "%"}
                or abs(figure.number) >= _LONG_NUMBER
                or (_FRACTION_OR_GROUPS.search(figure.text) and not _DAY_AND_YEAR.fullmatch(figure.text))
            ):
                for value in figure.readings:
                    whole = f"{value.copy_abs():f}"
                    yield figure.start, "=" + (whole.rstrip("0").rstrip(".") if "." in whole else whole)


def _iterate_names(text: str) -> Iterator[tuple[int, str]]:
    """Yield the place and spelling of each ticker and pair, and of each code without a digit."""
    pieces = [match for match in _PIECE.finditer(fold_text(text).text) if len(match[0]) <= _LONGEST]
    # A text all in capitals has no tickers, unless it is one.
    is_shouted = text.isupper() and len(pieces) > 2  # noqa: PLR2004 such as "ETH USDC"
    for match in pieces:
        piece, place = match[0].strip(_EDGES), match.start()
        if ticker := _TICKER.fullmatch(piece):
            if not is_shouted:
                yield place, ticker[1]
        elif pair := _PAIR.fullmatch(piece):
            if not is_shouted:
                yield from ((place, name) for name in (f"{pair[1]}/{pair[2]}", pair[1], pair[2]))
        elif _DOTTED.fullmatch(piece) or _NAMED.fullmatch(piece):
            yield place, piece.casefold()
