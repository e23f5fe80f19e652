"""Figures in a text: amounts, numbers, dates, times, identifiers and addresses, each with a canonical value.

`$1,200.50`, `1200.5 USD` and `1.2005k dollars` are one amount; numbers in words count; what mixes letters and
digits is an identifier and stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, TypeAlias

from agentstate.providers.summaries.number_words import WORD_NUMBER, word_number

FigureKind: TypeAlias = Literal["number", "date", "time", "turn", "identifier"]

CalendarDate: TypeAlias = tuple[int | None, int, int | None]
"""(year, month, day) with None for what is not said."""

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH: Final = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_DAY: Final = r"\d{1,2}(?:st|nd|rd|th)?"
_YEAR: Final = r"(?:19|20)\d\d"
_UNITS: Final = {
    "$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₿": "BTC", "%": "%", "percent": "%", "percents": "%",
    "dollar": "USD", "dollars": "USD", "bucks": "USD", "euro": "EUR", "euros": "EUR", "pounds": "GBP",
    "usd": "USD", "eur": "EUR", "gbp": "GBP", "usdc": "USDC", "usdt": "USDT", "dai": "DAI", "eth": "ETH",
    "btc": "BTC", "sol": "SOL", "matic": "MATIC", "trx": "TRX", "xmr": "XMR", "bitcoin": "BTC",
    "ether": "ETH",
}  # fmt: skip
_UNIT_WORDS: Final = "|".join(sorted((name for name in _UNITS if name.isalpha()), key=len, reverse=True))
_SCALES: Final = {"k": 3, "thousand": 3, "m": 6, "mn": 6, "million": 6, "b": 9, "bn": 9, "billion": 9}
_TOPS: Final = "com|org|net|io|eth|xyz|ai|dev|app|co|fi|finance|sol|btc|crypto|info|me|uk|de|eu"

_PATTERN: Final = re.compile(
    rf"""
    (?P<url>https?://[^\s<>"')\]]+ | [\w.+-]{{1,64}}@[\w-]+(?:\.[\w-]+)+)
  | (?P<hex>\b0x[0-9a-f]+\b)
  | \b[Tt]urns?[ ](?P<turn>\d+)\b
  | (?P<iso>\b(?P<iy>\d{{4}})-(?P<im>\d\d)-(?P<id>\d\d)(?=T\d|\b))
  | (?P<dmy>\b(?P<d1>{_DAY})(?:[ ]of)?[ ](?P<m1>{_MONTH})(?:,?[ ](?P<y1>{_YEAR})\b)?)
  | (?P<mdy>\b(?P<m2>{_MONTH})[ ](?P<d2>{_DAY})\b(?![:.,]?\d)(?:,?[ ](?P<y2>{_YEAR})\b)?)
  | (?P<my>\b(?P<m3>{_MONTH}),?[ ](?P<y3>{_YEAR})\b)
  | (?P<slash>\b(?P<s1>\d{{1,2}})/(?P<s2>\d{{1,2}})/(?P<s3>\d{{4}}|\d\d)\b)
  | (?P<clock>(?:\b|(?<=\d)T)(?P<h>\d{{1,2}}):(?P<min>\d\d)(?::\d\d(?:\.\d+)?)?
        (?:Z|[+-]\d\d:?\d\d|[ ]?(?P<ap1>[ap])\.?m\b)?(?!\w))
  | (?P<hour>\b(?P<h2>\d{{1,2}})[ ]?(?P<ap2>[ap])\.?m\b)
  | (?P<number>
        (?:(?<![\w.)])(?P<sign>[-+\u2212]))?
        (?:(?P<before>[$€£¥₿]|\b(?:{_UNIT_WORDS})(?=[ ]?[\d.]))[ ]?)?
        (?P<sign2>(?<=[$€£¥₿])[-\u2212])?
        (?<![\w.])(?P<digits>\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)
        (?:(?:st|nd|rd|th|s|x)\b|[ ]?(?P<scale>k|mn?|bn?|thousand|million|billion)\b)?
        (?:[ ]?(?P<after>%|€|(?:{_UNIT_WORDS})\b)|[ ](?P<ticker>(?-i:[A-Z]{{2,6}}))\b)?
        (?!\w|[-_][\d_]|\.\d)
    )
  | (?P<domain>\b[a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)*\.(?:{_TOPS})\b)
  | (?P<word>\b{WORD_NUMBER}\b)
  | (?P<token>[A-Za-z0-9](?:[\w:/+#-]|\.(?=\w))*)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_HAS_DIGIT: Final = re.compile(r"[0-9]")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure as it stands in a text."""

    kind: FigureKind
    text: str
    """Verbatim."""
    start: int
    number: Decimal | None = None
    unit: str | None = None
    """Asset or currency in capitals, `%`, or None when the number stands alone."""
    date: CalendarDate | None = None
    minutes: int | None = None
    """Time of day in minutes; a 12-hour time without its half counts as the first half."""


def find_figures(text: str) -> list[Figure]:
    """Every figure of `text`, in order. Linear in the length of the text."""
    return list(_figures(text))


def _figures(text: str) -> Iterator[Figure]:
    for match in _PATTERN.finditer(text):
        figure = _figure(match)
        if figure is not None:
            yield figure


def _figure(match: re.Match[str]) -> Figure | None:
    return _READERS[str(match.lastgroup)](match)


def _identifier(match: re.Match[str]) -> Figure | None:
    text = match.group().rstrip(".,:;/-+#!?")
    return Figure("identifier", text, match.start()) if text else None


def _token(match: re.Match[str]) -> Figure | None:
    """A word with a digit in it: a transaction id, an order number, a ticker with a version."""
    return _identifier(match) if _HAS_DIGIT.search(match.group()) else None


def _turn(match: re.Match[str]) -> Figure:
    return Figure("turn", match.group(), match.start(), number=Decimal(match.group("turn")))


def _date(match: re.Match[str], year: str | None, month: str, day: str | None) -> Figure:
    month_number = int(month) if month.isdigit() else _MONTHS.index(month[:3].lower()) + 1
    whole_year = int(year) + (2000 if len(year) < len("2026") else 0) if year else None
    day_number = int(re.sub(r"\D", "", day)) if day else None
    return Figure("date", match.group(), match.start(), date=(whole_year, month_number, day_number))


def _slash_date(match: re.Match[str]) -> Figure:
    first, second = int(match["s1"]), int(match["s2"])
    if first > len(_MONTHS):
        return _date(match, match["s3"], str(second), str(first))
    return _date(match, match["s3"], str(first), str(second))


def _time(match: re.Match[str], hour: str, minute: str, half: str | None) -> Figure:
    hours = int(hour) % 12 + 12 if half and half.lower() == "p" else int(hour) % (12 if half else 24)
    return Figure("time", match.group().strip(), match.start(), minutes=hours * 60 + int(minute))


def _number(match: re.Match[str]) -> Figure:
    number = Decimal(match["digits"].replace(",", ""))
    number = shift_decimal(number, _SCALES.get((match["scale"] or "").lower(), 0))
    if (match["sign"] or match["sign2"] or "+") != "+":
        number = number.copy_negate()
    unit = match["before"] or match["after"] or match["ticker"]
    lead = len(match.group()) - len(match.group().lstrip())
    return Figure(
        "number",
        match.group().strip().rstrip("-"),
        match.start() + lead,
        number=number,
        unit=_UNITS.get(unit.lower(), unit.upper()) if unit else None,
    )


def _number_word(match: re.Match[str]) -> Figure:
    return Figure("number", match.group(), match.start(), number=word_number(match.group()))


def shift_decimal(number: Decimal, places: int) -> Decimal:
    """`number` times ten to the power of `places`, exactly, however many digits it has."""
    sign, digits, exponent = number.as_tuple()
    return Decimal((sign, digits, int(exponent) + places))


_READERS: Final[dict[str, Callable[[re.Match[str]], Figure | None]]] = {
    "url": _identifier,
    "hex": _identifier,
    "turn": _turn,
    "iso": lambda match: _date(match, match["iy"], match["im"], match["id"]),
    "dmy": lambda match: _date(match, match["y1"], match["m1"], match["d1"]),
    "mdy": lambda match: _date(match, match["y2"], match["m2"], match["d2"]),
    "my": lambda match: _date(match, match["y3"], match["m3"], None),
    "slash": _slash_date,
    "clock": lambda match: _time(match, match["h"], match["min"], match["ap1"]),
    "hour": lambda match: _time(match, match["h2"], "0", match["ap2"]),
    "number": _number,
    "domain": _identifier,
    "word": _number_word,
    "token": _token,
}
