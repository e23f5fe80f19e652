"""Numerals in the writings of the world: digits, grouping, decimal marks, scales, currencies and English words.

A text is folded first, so that one ASCII grammar reads it: full-width, Arabic-Indic, Devanagari and all other decimal
digits become 0 to 9, every blank a space, every minus a hyphen. A numeral that two locales read differently (`1.234`)
keeps both readings.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Final

DASH: Final = "\u2013"
"""Folded dashes that stand between the ends of a range, or before a negative number."""
DECIMAL_MARK, GROUP_MARK = "\u066b", "\u066c"
"""The marks of Arabic numerals; all others are dots, commas, apostrophes and blanks."""

_SAME: Final = {
    "\u2212\ufe63\uff0d\u2010\u2011": "-",
    "\u2012\u2014\u2015\uff5e\u301c": DASH,
    "\u2018\u2019\u02bc\u02b9\u2032\uff07": "'",
    "\u066a\ufe6a": "%",
    "\u060c": ",",
}
GROUPED: Final = r"\d{1,3}(?:[ ]\d{3}(?!\d)){1,6}+"
NUMERAL: Final = rf"(?>(?:{GROUPED}|\d++)(?:[.,'{DECIMAL_MARK}{GROUP_MARK}]\d++)*+)"
"""Regular expression of a whole numeral in a folded text: never a part of one. Linear, as it gives nothing back."""

_LAST_FOLDED: Final = 0x20000
"""Beyond are ideographs and unassigned characters, none of which is folded."""
_LAKH: Final = re.compile(r"\d{1,2}(?:,\d\d)+,\d{3}")
_THOUSANDS: Final = re.compile(r"[1-9]\d{0,2}(?:[.,' \u066c]\d{3})+")
_OCTET: Final = 255
_OCTETS: Final = 4


@dataclass(frozen=True, slots=True)
class FoldedText:
    """A text in one ASCII grammar of numerals, with the place of each character in the original."""

    text: str
    original: str
    places: tuple[int, ...] | None
    """Place of each folded character, and the length at the end; None when no character was left out."""

    def original_place(self, index: int) -> int:
        """Return the position in the original of the folded text's `index`."""
        return index if self.places is None else self.places[index]

    def slice_original(self, start: int, end: int) -> str:
        """Return the original of the folded text's characters from `start` to `end`."""
        if self.places is None:
            return self.original[start:end]
        return self.original[self.places[start] : self.places[end - 1] + 1] if end > start else ""


def fold_text(text: str) -> FoldedText:
    """Fold digits, blanks, signs and full-width forms, and leave out invisible characters (Unicode's category Cf)."""
    if text.isascii():
        return FoldedText(text, text, None)
    table, invisible = _fold_table()
    if invisible.isdisjoint(text):
        return FoldedText(text.translate(table), text, None)
    places = [index for index, character in enumerate(text) if character not in invisible]
    kept = "".join(text[index] for index in places)
    return FoldedText(kept.translate(table), text, (*places, len(text)))


@cache
def _fold_table() -> tuple[dict[int, str], frozenset[str]]:
    """Return the replacement of each folded character, and the set of invisible characters."""
    table: dict[int, str] = {0xFF01 + offset: chr(0x21 + offset) for offset in range(94)}
    invisible = set()
    for code in range(0x80, _LAST_FOLDED):
        category = unicodedata.category(chr(code))
        if category == "Nd":
            table[code] = str(unicodedata.decimal(chr(code)))
        elif category == "Zs":
            table[code] = " "
        elif category == "Cf":
            invisible.add(chr(code))
    for characters, folded in _SAME.items():
        table.update(dict.fromkeys(map(ord, characters), folded))
    return table, frozenset(invisible)


def read_numeral(numeral: str) -> tuple[Decimal, ...]:
    """Return the values of a folded numeral: one, two when locales differ, none when it is no number.

    The first one is the reading of English. `1.234,50` is 1234.50, `12,34,567.89` is 1234567.89, `1.234` is 1.234 or
    1234; `1.2.3`, `10.0.0.1` and `12,345,6` are no numbers.
    """
    marks = [character for character in numeral if not character.isdigit()]
    if not marks:
        return (Decimal(numeral),)
    last = marks[-1]
    whole, _, fraction = numeral.rpartition(last)
    if last == DECIMAL_MARK or (last in ".," and marks.count(last) == 1):
        # The last mark may be the decimal one: what stands before it is a whole number, grouped or not.
        as_decimal = Decimal(f"{_strip_marks(whole)}.{fraction}") if _is_whole(whole, last) else None
        is_ambiguous = len(marks) == 1 and last in ".," and _THOUSANDS.fullmatch(numeral) is not None
        if not is_ambiguous:
            return () if as_decimal is None else (as_decimal,)
        grouped = Decimal(_strip_marks(numeral))
        decimal = Decimal(f"{whole}.{fraction}")
        return (decimal, grouped) if last == "." else (grouped, decimal)
    return (Decimal(_strip_marks(numeral)),) if _is_grouped(numeral) and not _is_address(numeral) else ()


def _is_whole(text: str, decimal: str) -> bool:
    """Whether the part before the decimal mark is a whole number: without marks, or in groups by another mark."""
    return text.isdigit() or text == "" or (_is_grouped(text) and decimal not in text)


def _is_grouped(text: str) -> bool:
    """Whether all marks of `text` are one grouping mark, with groups of three, or Indian ones of two and three."""
    if _LAKH.fullmatch(text):
        return True
    return len(set(re.sub(r"\d", "", text))) == 1 and _THOUSANDS.fullmatch(text) is not None


def _is_address(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == _OCTETS and all(int(part) <= _OCTET for part in parts)


def _strip_marks(text: str) -> str:
    return re.sub(r"\D", "", text) or "0"


def shift_decimal(number: Decimal, places: int) -> Decimal:
    """Return `number` times ten to the power of `places`, exactly, however many digits it has."""
    sign, digits, exponent = number.as_tuple()
    return Decimal((sign, digits, int(exponent) + places))


SCALES: Final = {
    "k": 3, "thousand": 3, "m": 6, "mn": 6, "million": 6, "millions": 6, "b": 9, "bn": 9, "billion": 9, "billions": 9,
    "lakh": 5, "lakhs": 5, "lac": 5, "crore": 7, "crores": 7, "cr": 7,
    "tsd": 3, "mio": 6, "millionen": 6, "mrd": 9, "milliarden": 9, "mille": 3, "milliard": 9, "milliards": 9,
    "mil": 3, "millones": 6, "milhão": 6, "milhões": 6, "millón": 6, "milioni": 6, "miliardi": 9, "tys": 3, "mln": 6,
    "mld": 9, "тыс": 3, "млн": 6, "млрд": 9, "लाख": 5, "करोड़": 7, "ألف": 3, "مليون": 6, "مليار": 9,
}  # fmt: skip
"""Words that multiply, with their power of ten."""

HAN_SCALES: Final = {
    "百": 2, "千": 3, "仟": 3, "万": 4, "萬": 4, "億": 8, "亿": 8, "兆": 12, "천": 3, "만": 4, "억": 8, "조": 12,
}  # fmt: skip
"""Characters that multiply; several of them follow each other, as in 1億2000万."""

HAN_NUMERAL: Final = rf"(?:{NUMERAL}[{''.join(HAN_SCALES)}]{{1,2}}){{1,4}}(?:\d{{1,4}}(?!\d))?"


def read_han_numeral(numeral: str) -> tuple[Decimal, ...]:
    """Return the value of a folded numeral with Han or Hangul scales, none when a part of it is no number."""
    total = Decimal(0)
    for part, scales in re.findall(rf"([^{''.join(HAN_SCALES)}]+)([{''.join(HAN_SCALES)}]*)", numeral):
        readings = read_numeral(part)
        if not readings:
            return ()
        total = add_exactly(total, shift_decimal(readings[0], sum(HAN_SCALES[scale] for scale in scales)))
    return (total,)


def add_exactly(first: Decimal, second: Decimal) -> Decimal:
    """Return the sum without the rounding of the decimal context."""
    exponent = min(int(first.as_tuple().exponent), int(second.as_tuple().exponent))
    total = int(shift_decimal(first, -exponent)) + int(shift_decimal(second, -exponent))
    return shift_decimal(Decimal(total), exponent)


UNITS: Final = {
    "$": "USD", "us$": "USD", "usd$": "USD", "€": "EUR", "£": "GBP", "¥": "¥", "円": "JPY", "日元": "JPY", "元": "CNY",
    "圆": "CNY", "人民币": "CNY", "rmb": "CNY", "₩": "KRW", "원": "KRW", "₹": "INR", "₽": "RUB", "₺": "TRY", "₿": "BTC",
    "%": "%", "percent": "%", "percents": "%", "pct": "%", "prozent": "%",
    "zł": "PLN", "złotych": "PLN", "złoty": "PLN", "złote": "PLN", "kč": "CZK", "grn": "UAH",
    "процентов": "%", "процента": "%", "процент": "%",
    "dollar": "USD", "dollars": "USD", "bucks": "USD", "dólares": "USD", "долларов": "USD", "доллара": "USD",
    "euro": "EUR", "euros": "EUR", "евро": "EUR", "يورو": "EUR", "دولار": "USD", "美元": "USD", "欧元": "EUR",
    "ユーロ": "EUR", "ドル": "USD", "유로": "EUR", "달러": "USD", "डॉलर": "USD", "यूरो": "EUR", "रुपये": "INR",
    "pounds": "GBP", "rupees": "INR", "rupee": "INR", "yen": "JPY", "yuan": "CNY",
    "рублей": "RUB", "рубля": "RUB", "рубль": "RUB", "руб": "RUB", "kr": "KR", "chf": "CHF",  # noqa: RUF001 Cyrillic words
    "r$": "BRL", "c$": "CAD", "ca$": "CAD", "a$": "AUD", "au$": "AUD", "hk$": "HKD", "nt$": "TWD", "s$": "SGD",
    "nz$": "NZD", "mx$": "MXN", "rs": "INR", "usd": "USD", "eur": "EUR", "gbp": "GBP", "jpy": "JPY", "inr": "INR",
    "usdc": "USDC", "usdt": "USDT", "dai": "DAI", "eth": "ETH", "btc": "BTC", "sol": "SOL", "matic": "MATIC",
    "trx": "TRX", "xmr": "XMR", "bitcoin": "BTC", "ether": "ETH",
}  # fmt: skip
"""Currencies and assets by symbol or word, in lower case."""

CODES: Final = (
    "AED|ARS|AUD|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KRW|MAD|MXN|MYR|NGN|NOK|NZD|PHP"
    "|PKR|PLN|RON|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
)
"""Codes that stand before an amount, in capitals."""

_SHARED: Final = {"¥": frozenset({"JPY", "CNY"}), "KR": frozenset({"SEK", "NOK", "DKK", "ISK"})}
"""Signs of several currencies."""


def is_same_unit(first: str, second: str) -> bool:
    """Whether two units can be the same currency: `¥` is the yen's and the yuan's sign."""
    return first == second or second in _SHARED.get(first, ()) or first in _SHARED.get(second, ())


_ONES: Final = "one|two|three|four|five|six|seven|eight|nine"
_TEENS: Final = "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
_TENS: Final = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_SMALL: Final = {
    "zero": 0,
    "dozen": 12,
    **{word: value for value, word in enumerate(f"{_ONES}|{_TEENS}".split("|"), start=1)},
    **{word: value * 10 for value, word in enumerate(_TENS.split("|"), start=2)},
}
_LARGE: Final = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_BELOW_100: Final = rf"(?:(?:{_TENS})(?:[ -](?:{_ONES}))?|{_TEENS}|{_ONES}|zero|dozen)"
_BELOW_1000: Final = rf"(?:(?:{_BELOW_100}[ ])?hundred(?:[ ](?:and[ ])?{_BELOW_100})?|{_BELOW_100})"

WORD_NUMBER: Final = (
    rf"(?:(?:{_BELOW_1000}[ ])?(?:thousand|million|billion)(?:[ ](?:and[ ])?{_BELOW_1000})?|{_BELOW_1000})"
)
"""Regular expression of an English number in words; match it without regard to case and between word borders."""


def read_word_number(text: str) -> Decimal:
    """Return the value of a match of `WORD_NUMBER`."""
    total, part = 0, 0
    for word in re.split(r"[ -]", text.lower()):
        if word in _SMALL:
            part += _SMALL[word]
        elif word == "hundred":
            part = max(part, 1) * 100
        elif word in _LARGE:
            total, part = total + max(part, 1) * _LARGE[word], 0
    return Decimal(total + part)
