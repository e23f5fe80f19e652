"""Evidence: the figures of a source text, and whether they support those of a summary."""

from __future__ import annotations

import re
from collections import defaultdict
from decimal import Decimal
from typing import Final

from agentstate.providers.summaries.figures import CalendarDate, Figure, find_figures
from agentstate.providers.summaries.numerals import fold_text, is_same_unit

_TAGGED_NUMBER: Final = re.compile(r"[A-Za-z]+[-_#:/](\d{1,18})")
_PARTS: Final = re.compile(r"[/#+@:]+")
_HALF_DAY: Final = 12 * 60  # minutes
_MONTHS_IN_YEAR: Final = 12


class Evidence:
    """The figures of one source text, indexed once; each question afterwards is a look-up."""

    def __init__(self, source: str) -> None:
        self._units: dict[Decimal, set[str | None]] = defaultdict(set)
        self._identifiers: set[str] = set()
        self._years_of_days: dict[tuple[int, int | None], set[int | None]] = defaultdict(set)
        self._years_of_months: dict[int, set[int | None]] = defaultdict(set)
        self._years: set[int] = set()
        self._days: set[int] = set()
        self._minutes: set[int] = set()
        self._turns: set[Decimal] = set()
        for figure in find_figures(source):
            if figure.kind == "identifier":
                # The identifier, its parts where paths, anchors or lists join several, and the number of a tagged one.
                identifier = _fold_identifier(figure.text)
                self._identifiers.update([identifier, *filter(None, _PARTS.split(identifier))])
                if tagged := _TAGGED_NUMBER.fullmatch(identifier):
                    self._units[Decimal(tagged[1])].add(None)
            elif figure.minutes is not None:
                self._minutes.add(figure.minutes % _HALF_DAY)
            elif figure.kind == "turn":
                self._turns.update(figure.readings)
            else:
                for number in figure.readings:
                    self._units[number].add(figure.unit)
            for year, month, day in _date_readings(figure):
                self._years_of_days[month, day].add(year)
                self._years_of_months[month].add(year)
                self._years.update(() if year is None else (year,))
                self._days.update(() if day is None else (day,))

    def find_unsupported(self, summary: str) -> list[str]:
        """Return the figures of `summary`, verbatim and once each, that the source lacks."""
        missing = (figure.text for figure in find_figures(summary) if not self.supports_figure(figure))
        return list(dict.fromkeys(missing))

    def supports_figure(self, figure: Figure) -> bool:
        """Return whether the source holds the figure in any spelling, and not only as part of another figure."""
        if figure.kind == "identifier":
            return _fold_identifier(figure.text) in self._identifiers
        if figure.date is not None:
            return any(self._holds_date(date) for date in _date_readings(figure))
        if figure.minutes is not None:
            return figure.minutes % _HALF_DAY in self._minutes
        if figure.kind == "turn":
            return figure.number in self._turns
        if figure.number == 1 and figure.text.lower() == "one":
            return True  # "one of them" counts nothing
        return any(self._holds_number(figure, number) for number in figure.readings)

    def _holds_number(self, figure: Figure, number: Decimal) -> bool:
        units = self._units.get(number, set())
        if not number.is_signed():  # "lost 50" for -50
            units = units | self._units.get(number.copy_negate(), set())
        if units:
            unit = figure.unit
            return unit is None or None in units or any(is_same_unit(unit, known) for known in units if known)
        if figure.unit is not None:
            return False
        # A year alone, or a day of the month as an ordinal.
        is_ordinal = figure.text[-2:].lower() in {"st", "nd", "rd", "th"}
        return number in self._years or (is_ordinal and number in self._days)

    def _holds_date(self, date: CalendarDate) -> bool:
        year, month, day = date
        years = self._years_of_months.get(month) if day is None else self._years_of_days.get((month, day))
        if not years:
            return False
        return year is None or year in years or (None in years and year in self._years)


def _date_readings(figure: Figure) -> tuple[CalendarDate, ...]:
    """Return the figure's date, and for `3/4/2026` the one with day and month the other way round too."""
    if figure.date is None:
        return ()
    year, month, day = figure.date
    if "/" in figure.text and day is not None and day <= _MONTHS_IN_YEAR:
        return (figure.date, (year, day, month))
    return (figure.date,)


def _fold_identifier(text: str) -> str:
    return fold_text(text).text.casefold()


def find_unsupported_figures(summary: str, source: str) -> list[str]:
    """Return the figures of `summary`, verbatim and once each, that `source` lacks; empty when all are supported.

    Example:
        find_unsupported_figures("Ann paid 50 EUR", "Ann: I paid 1.234,50 EUR")  # ["50 EUR"]
    """
    return Evidence(source).find_unsupported(summary)
