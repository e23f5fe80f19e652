"""A time on the command line: with its zone, so that nobody has to guess which one was meant."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click


class Moment(click.ParamType[datetime]):
    """The type of an option that is a time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """A time with its zone."""
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time; write it as 2026-01-31T12:00:00Z.", param, ctx)
        return moment if moment.tzinfo else self.fail(f"{value!r} has no zone; end it with Z for UTC.", param, ctx)
