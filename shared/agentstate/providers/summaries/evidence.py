"""Evidence: the figures that a source holds, asked whether they support those of a summary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from agentstate.providers.summaries.figures import CalendarDate, Figure, find_figures

_TAGGED_NUMBER: Final = re.compile(r"[A-Za-z]+[-_#:/](\d{1,18})")
_HALF_DAY: Final = 12 * 60  # minutes
_MONTHS_IN_YEAR: Final = 12


class Evidence:
    """The figures of one source text, indexed once; every question afterwards is cheap."""

    def __init__(self, source: str) -> None:
        self._text = source.lower()
        self._units: dict[Decimal, set[str | None]] = {}
        self._dates: set[CalendarDate] = set()
        self._minutes: set[int] = set()
        self._turns: set[Decimal] = set()
        for figure in find_figures(source):
            self._take(figure)
        self._years = {date[0] for date in self._dates if date[0] is not None}

    def find_unsupported(self, summary: str) -> list[str]:
        """Figures of `summary`, verbatim and once each, that the source lacks."""
        missing = (figure.text for figure in find_figures(summary) if not self.supports_figure(figure))
        return list(dict.fromkeys(missing))

    def supports_figure(self, figure: Figure) -> bool:
        """Whether the source holds this figure."""
        if figure.kind == "identifier":
            return self._holds_word(figure.text.lower())
        if figure.date is not None:
            return any(self._same_date(said, known) for said in _readings(figure) for known in self._dates)
        if figure.minutes is not None:
            return any((figure.minutes - minutes) % _HALF_DAY == 0 for minutes in self._minutes)
        if figure.kind == "turn":
            return figure.number in self._turns
        return self._supports_number(figure)

    def _take(self, figure: Figure) -> None:
        if figure.kind == "identifier":
            tagged = _TAGGED_NUMBER.fullmatch(figure.text)
            if tagged:
                self._units.setdefault(Decimal(tagged[1]), set()).add(None)
        elif figure.date is not None:
            self._dates.update(_readings(figure))
        elif figure.minutes is not None:
            self._minutes.add(figure.minutes)
        elif figure.number is not None:
            self._take_number(figure.kind, figure.number, figure.unit)

    def _take_number(self, kind: str, number: Decimal, unit: str | None) -> None:
        if kind == "turn":
            self._turns.add(number)
        else:
            self._units.setdefault(number, set()).add(unit)

    def _supports_number(self, figure: Figure) -> bool:
        number = figure.number
        if number is None:
            return True
        if number == 1 and figure.text.lower() == "one":
            return True  # "one of them" counts nothing
        units = self._units.get(number, set())
        if not number.is_signed():
            units = units | self._units.get(number.copy_negate(), set())
        if units:
            return figure.unit is None or figure.unit in units or None in units
        return figure.unit is None and self._part_of_date(figure)

    def _part_of_date(self, figure: Figure) -> bool:
        """A year alone, or a day of the month as an ordinal."""
        if figure.number in self._years:
            return True
        ordinal = figure.text[-2:].lower() in {"st", "nd", "rd", "th"}
        return ordinal and any(date[2] == figure.number for date in self._dates)

    def _same_date(self, said: CalendarDate, known: CalendarDate) -> bool:
        year = said[0] is None or said[0] == known[0] or (known[0] is None and said[0] in self._years)
        return year and said[1] == known[1] and (said[2] is None or said[2] == known[2])

    def _holds_word(self, word: str) -> bool:
        position = self._text.find(word)
        while position >= 0:
            if not self._joined(position - 1) and not self._joined(position + len(word)):
                return True
            position = self._text.find(word, position + 1)
        return False

    def _joined(self, position: int) -> bool:
        """Whether an ASCII letter or digit stands there; other scripts set no spaces around figures."""
        char = self._text[position] if 0 <= position < len(self._text) else " "
        return char.isascii() and char.isalnum()


def _readings(figure: Figure) -> Iterator[CalendarDate]:
    """The date, and for `3/4/2026` the one with day and month the other way round too."""
    if figure.date is None:
        return
    yield figure.date
    year, month, day = figure.date
    if "/" in figure.text and day is not None and day <= _MONTHS_IN_YEAR:
        yield (year, day, month)


def find_unsupported_figures(summary: str, source: str) -> list[str]:
    """Figures of `summary`, verbatim and once each, that `source` lacks; empty when all are supported."""
    return Evidence(source).find_unsupported(summary)
