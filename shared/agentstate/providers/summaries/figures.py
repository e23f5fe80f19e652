"""Figures in a text: amounts, numbers, dates, times, identifiers and addresses, each with a canonical value.

`$1,200.50`, `1.200,50 USD` and `1.2005k dollars` are one amount; numbers in English words count; what mixes letters and
digits is an identifier and stands for itself. A figure is taken whole in its own spelling, never a part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, TypeAlias

from agentstate.providers.summaries.numerals import (
    CODES,
    DASH,
    HAN_NUMERAL,
    NUMERAL,
    SCALES,
    UNITS,
    WORD_NUMBER,
    FoldedText,
    fold_text,
    read_han_numeral,
    read_numeral,
    read_word_number,
    shift_decimal,
)

FigureKind: TypeAlias = Literal["number", "date", "time", "turn", "identifier"]

CalendarDate: TypeAlias = tuple[int | None, int, int | None]
"""(year, month, day) with None for what is not said."""

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LAST_DAY: Final = 31
_MONTH: Final = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_DAY: Final = r"\d{1,2}(?:st|nd|rd|th|\.)?"
_YEAR: Final = r"(?:19|20)\d\d"
_TOPS: Final = "com|org|net|io|eth|xyz|ai|dev|app|co|fi|finance|sol|btc|crypto|info|me|uk|de|eu"

_LATIN: Final = r"A-Za-z\xc0-\xd6\xd8-\xf6\xf8-\u024f\u1e00-\u1eff"
_LETTERS: Final = rf"{_LATIN}\u0370-\u03ff\u0400-\u052f"
"""Letters that make an identifier with the digits beside them; other scripts set no space around numbers."""
_TOKEN: Final = re.compile(
    rf"[{_LETTERS}0-9](?:[{_LETTERS}0-9_:/+#-]|[.](?=[{_LETTERS}0-9_])|(?<=\d)[,'\u066b\u066c](?=\d))*+"
)


def _join_alternatives(words: Iterator[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_SIGNS: Final = "$€£¥₿₩₹₽₺₴₦₫₪₱฿₡₵₸₼₾"
_PREFIXED: Final = _join_alternatives(word for word in UNITS if "$" in word and len(word) > 1)
_WORDS: Final = _join_alternatives(word for word in UNITS if word.isascii() and word.replace(" ", "").isalpha())
_SPACED = re.compile(rf"[{_LETTERS}]+")
_FOREIGN: Final = (
    "(?:"
    + _join_alternatives(word for word in UNITS if not word.isascii() and _SPACED.fullmatch(word))
    + rf")(?![{_LETTERS}\d_])|"
    + _join_alternatives(word for word in UNITS if not (word.isascii() or _SPACED.fullmatch(word) or word in _SIGNS))
)
_SCALE_WORDS: Final = _join_alternatives(iter(SCALES))

_PATTERN: Final = re.compile(
    rf"""
    (?=[{_LETTERS}\d{_SIGNS}.+{DASH}-])(?:
    (?P<url>https?://[^\s<>"')\]]++ | (?<![\w.+-])[\w.+-]{{1,64}}@(?:[\w-]{{1,63}}\.){{1,8}}[\w-]{{1,63}})
  | (?P<hex>\b0x[0-9a-f]++(?![\w]))
  | \b[Tt]urns?[ ](?P<turn>\d++)\b
  | (?P<iso>\b(?P<iy>\d{{4}})[-/](?P<im>\d\d)[-/](?P<id>\d\d)(?=T\d|\b)(?!-))
  | (?P<han>(?<!\d)(?:(?P<hy>\d{{4}})年[ ]?)?(?P<hm>\d{{1,2}})月(?:[ ]?(?P<hd>\d{{1,2}})日)?)
  | (?P<dmy>\b(?P<d1>{_DAY})(?:[ ]of)?[ ](?P<m1>{_MONTH})(?:,?[ ](?P<y1>{_YEAR})\b)?)
  | (?P<mdy>\b(?P<m2>{_MONTH})[ ](?P<d2>{_DAY})\b(?![:.,]?\d)(?:,?[ ](?P<y2>{_YEAR})\b)?)
  | (?P<my>\b(?P<m3>{_MONTH}),?[ ](?P<y3>{_YEAR})\b)
  | (?P<slash>\b(?P<s1>\d{{1,2}})/(?P<s2>\d{{1,2}})/(?P<s3>\d{{4}}|\d\d)\b)
  | (?P<dotted>(?<![\w.])(?P<p1>\d{{1,2}})\.[ ]?(?P<p2>\d{{1,2}})\.[ ]?(?P<p3>{_YEAR})(?![\w])(?!\.\d))
  | (?P<clock>(?:\b|(?<=\d)T)(?P<h>\d{{1,2}}):(?P<min>\d\d)(?::\d\d(?:\.\d+)?)?
        (?:Z|[+-]\d\d:?\d\d|[ ]?(?P<ap1>[ap])\.?m\b)?(?!\w))
  | (?P<hour>\b(?P<h2>\d{{1,2}})[ ]?(?P<ap2>[ap])\.?m\b)
  | (?P<number>
        (?:(?<![\w.)])(?P<sign>[-+{DASH}]))?
        (?:(?P<before>\b(?:{_PREFIXED})|[{_SIGNS}]|\bfr\.|\brs\.?|\b(?:{_WORDS})(?=[ ][-{DASH}]?[\d.])
            |\b(?-i:{CODES})(?=[ ]?[-{DASH}]?[\d.]))[ ]?)?
        (?(before)(?P<sign2>[-{DASH}](?=[\d.]))?|(?<![{_LETTERS}\d_]))(?:(?P<myriad>{HAN_NUMERAL})|(?P<digits>{NUMERAL}|(?<![\w.])\.\d++))
        (?:(?:st|nd|rd|th|s|x|kg|km|cm|mm|gb|mb|kb|kwh|hrs?|mins?|sec|ms|px)(?![{_LATIN}\d_])
            |[ ]?(?P<scale>{_SCALE_WORDS})(?![{_LETTERS}\d_])\.?)?
        (?(before)|(?:
            [ ]?(?P<after>%|[{_SIGNS}](?![ ]?\d)|(?:{_PREFIXED}|{_WORDS})(?![{_LATIN}\d_])|(?:{_FOREIGN}))
            |[ ](?P<ticker>(?-i:[A-Z]{{2,6}}))(?![{_LATIN}\d_]))?)
    )
  | (?P<domain>(?<![\w.-])[a-z0-9][a-z0-9-]{{0,62}}(?:\.[a-z0-9-]{{1,63}}){{0,8}}\.(?:{_TOPS})\b)
  | (?P<word>(?<![{_LETTERS}\d_]){WORD_NUMBER}(?![{_LETTERS}\d_]))
  | (?P<token>[{_LETTERS}]))
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_RANGE_TAIL: Final = re.compile(
    rf"-(?P<sign>[{_SIGNS}]?)(?P<to>{NUMERAL})(?P<unit>[ ]?(?:%|[{_SIGNS}]|(?:{_WORDS})(?![{_LATIN}\d_])|(?:{_FOREIGN})"
    rf"|[ ](?-i:[A-Z]{{2,6}})(?![{_LATIN}\d_])))?(?![-\w])",
    re.IGNORECASE | re.ASCII,
)
_GLUED: Final = re.compile(rf"[{_LATIN}\d_]|[-][\d_]")
_HAS_DIGIT: Final = re.compile(r"[0-9]")
_LIST: Final = re.compile(r"\d{1,2}(?:,\d{1,2}){2,}")
_SHORT_RANGE: Final = 3
"""Digits up to which two rising numbers with a hyphen between them are a range and no telephone or order number."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure as it stands in a text."""

    kind: FigureKind
    text: str
    """Verbatim."""
    start: int
    number: Decimal | None = None
    """The value; of a numeral that locales read differently, the English one."""
    unit: str | None = None
    """Asset or currency in capitals, `%`, or None when the number stands alone."""
    date: CalendarDate | None = None
    minutes: int | None = None
    """Time of day in minutes; a 12-hour time without its half counts as the first half."""
    other: Decimal | None = None
    """The second value of a numeral that locales read differently, such as 1234 for `1.234`."""

    @property
    def readings(self) -> tuple[Decimal, ...]:
        """All values that the numeral can have."""
        return tuple(value for value in (self.number, self.other) if value is not None)


def find_figures(text: str) -> list[Figure]:
    """Return every figure of `text`, in order. Takes time linear in the length of the text."""
    folded = fold_text(text)
    figures: list[Figure] = []
    position = 0
    while (match := _PATTERN.search(folded.text, position)) is not None:
        found, position = _read_match(folded, match)
        figures.extend(found)
    return figures


def _read_match(folded: FoldedText, match: re.Match[str]) -> tuple[list[Figure], int]:
    """Return the figures of one match, and where to go on."""
    kind = match.lastgroup
    if kind in ("number", "token"):
        return _read_number(folded, match) if kind == "number" else _read_token(folded, match.start())
    start, end = match.span()
    if kind in ("url", "hex", "domain"):
        return _make_identifier(folded, start, end), end
    figure: Figure | None
    if kind == "turn":
        figure = Figure(
            "turn", folded.slice_original(start, end), folded.original_place(start), number=Decimal(match["turn"])
        )
    elif kind == "word":
        number = read_word_number(match.group())
        figure = Figure("number", folded.slice_original(start, end), folded.original_place(start), number=number)
    elif kind == "clock":
        figure = _read_time(folded, match, match["h"], match["min"], match["ap1"])
    elif kind == "hour":
        figure = _read_time(folded, match, match["h2"], "0", match["ap2"])
    else:
        figure = _read_date(folded, match)
        if figure is None:  # such as 99.99.2026
            return _read_token(folded, start)
    return [figure], end


def _read_number(folded: FoldedText, match: re.Match[str]) -> tuple[list[Figure], int]:
    """Return the number of a match; a range's two ends; an identifier when letters or other parts belong to it."""
    text, end = folded.text, match.end()
    unit = match["before"] or match["after"] or match["ticker"]
    numeral_start = match.start("myriad") if match["myriad"] else match.start("digits")
    readings = read_han_numeral(match["myriad"]) if match["myriad"] else read_numeral(match["digits"])
    if not readings:
        if match["digits"] and _LIST.fullmatch(match["digits"]):
            place = match.start("digits")
            parts = re.finditer(r"\d+", match["digits"])
            return [_make_whole_number(folded, place + part.start(), place + part.end()) for part in parts], match.end(
                "digits"
            )
        return _read_token(folded, numeral_start)
    ends_range = False
    if _GLUED.match(text, end):
        tail = _RANGE_TAIL.match(text, end)
        ends_range = tail is not None and _is_range(match["digits"] or "", tail, has_unit=unit is not None)
        if not ends_range:
            return _read_token(folded, numeral_start)
    power = SCALES.get((match["scale"] or "").lower(), 0)
    is_negative = (match["sign"] or match["sign2"] or "+") != "+"
    values = [shift_decimal(value.copy_negate() if is_negative else value, power) for value in readings]
    start = match.start()
    figure = Figure(
        "number",
        folded.slice_original(start, end),
        folded.original_place(start),
        number=values[0],
        unit=_find_unit_code(unit) if unit else None,
        other=values[1] if len(values) > 1 else None,
    )
    # The hyphen of a range is passed over, so that it is no minus of what follows.
    return [figure], end + 1 if ends_range else end


def _is_range(first: str, tail: re.Match[str], *, has_unit: bool) -> bool:
    """Whether `first` and the numeral after a hyphen are the ends of a range, not parts of an identifier."""
    if has_unit or tail["sign"] or tail["unit"]:
        return bool(first) and bool(read_numeral(tail["to"]))
    if not (first.isdigit() and tail["to"].isdigit() and max(len(first), len(tail["to"])) <= _SHORT_RANGE):
        return False
    return first[0] != "0" and int(first) < int(tail["to"])


def _read_token(folded: FoldedText, start: int) -> tuple[list[Figure], int]:
    """Return the identifier at `start` if it has a digit: a transaction id, an order number, a versioned ticker."""
    match = _TOKEN.match(folded.text, start)
    if match is None:  # a numeral that begins with a mark
        return [], start + 1
    return (_make_identifier(folded, start, match.end()) if _HAS_DIGIT.search(match.group()) else []), match.end()


def _make_identifier(folded: FoldedText, start: int, end: int) -> list[Figure]:
    stripped = start + len(folded.text[start:end].rstrip(".,:;/-+#!?"))
    return (
        [Figure("identifier", folded.slice_original(start, stripped), folded.original_place(start))]
        if stripped > start
        else []
    )


def _make_whole_number(folded: FoldedText, start: int, end: int) -> Figure:
    number = Decimal(folded.text[start:end])
    return Figure("number", folded.slice_original(start, end), folded.original_place(start), number=number)


def _find_unit_code(unit: str) -> str:
    name = unit.lower().rstrip(".")
    return "CHF" if name == "fr" else UNITS.get(name, unit.upper())


def _read_date(folded: FoldedText, match: re.Match[str]) -> Figure | None:
    """Return the date of a match, None when there is no such month or day."""
    year, month, day = {
        "iso": ("iy", "im", "id"), "han": ("hy", "hm", "hd"), "dmy": ("y1", "m1", "d1"), "mdy": ("y2", "m2", "d2"),
        "my": ("y3", "m3", ""), "slash": ("s3", "s1", "s2"), "dotted": ("p3", "p2", "p1"),
    }[str(match.lastgroup)]  # fmt: skip
    written_year, written_month, written_day = match[year], match[month], match[day] if day else None
    whole_year = int(written_year) + (2000 if len(written_year) < len("2026") else 0) if written_year else None
    whole_day = int(re.sub(r"\D", "", written_day)) if written_day else None
    is_named = not written_month.isdigit()
    whole_month = _MONTHS.index(written_month[:3].lower()) + 1 if is_named else int(written_month)
    if match.lastgroup == "slash" and whole_day is not None and whole_month > len(_MONTHS):
        whole_month, whole_day = whole_day, whole_month  # the day stands first
    if match.lastgroup in ("han", "dotted") and not (whole_month <= len(_MONTHS) and (whole_day or 1) <= _LAST_DAY):
        return None
    start, end = match.span()
    text = folded.slice_original(start, end)
    return Figure("date", text, folded.original_place(start), date=(whole_year, whole_month, whole_day))


def _read_time(folded: FoldedText, match: re.Match[str], hour: str, minute: str, half: str | None) -> Figure:
    hours = int(hour) % 12 + 12 if half and half.lower() == "p" else int(hour) % (12 if half else 24)
    start, end = match.span()
    text = folded.slice_original(start, end)
    return Figure("time", text, folded.original_place(start), minutes=hours * 60 + int(minute))
