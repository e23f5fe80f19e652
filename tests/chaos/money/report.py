"""The table of a run: a line for each case and kind of trouble, and what each line has to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from deploy.local.stack.results import Row, at_least, equal_to
from tests.chaos.money.trials import Tally

COUNTED = ("doubled", "lost", "unequal", "told_wrong")
_WORDS = {"unequal": "books unequal", "told_wrong": "told wrong"}


@dataclass(frozen=True)
class Line:
    """One line of the table and the rows of the file that it stands for."""

    tally: Tally
    kind: str = "ours"
    """`ours` has to be all zeros, a `control` has to double, a `bug` has to be caught, `open` has to be told."""
    told: int = 0
    """For `open`: how many of the effects too many a break tells of."""

    @property
    def rows(self) -> list[Row]:
        """What it has to show."""
        name, tally = self.tally.name, self.tally
        if self.kind == "control":
            return [at_least(f"{name}: doubled", tally.doubled, 1, "bets", f"{tally.kills} kills")]
        if self.kind == "bug":
            return [equal_to(f"caught: {name}", int(tally.bad > 0), 1, "bug", f"within {tally.points} trials")]
        if self.kind == "open":
            return [equal_to(f"{name}: not told by a break", tally.doubled - self.told, 0, "bets")]
        tried = f"{tally.points} points, {tally.kills} kills"
        return [equal_to(f"{name}: {_WORDS.get(key, key)}", getattr(tally, key), 0, "bets", tried) for key in COUNTED]

    @property
    def verdict(self) -> str:
        """In a word or two."""
        met = all(row.met for row in self.rows)
        words = {"ours": "held", "control": "fails, as it must", "bug": "caught", "open": "told by a break"}
        return words[self.kind] if met else "MISSED"


def print_lines(out: Console, title: str, lines: Sequence[Line]) -> None:
    """Print them as one table, with the first trials that went wrong below."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD if out.is_terminal else None, pad_edge=False)
    table.add_column("what", overflow="fold")
    for name in ("points", "kills", "doubled", "lost", "books unequal", "told wrong"):
        table.add_column(name, justify="right")
    table.add_column("")
    for line in lines:
        tally = line.tally
        counts = (tally.points, tally.kills, tally.doubled, tally.lost, tally.unequal, tally.told_wrong)
        table.add_row(tally.name, *map(str, counts), line.verdict)
    out.print(table)
    for line in lines:
        if line.verdict == "MISSED":
            for wrong in line.tally.wrong:
                out.print(f"  {line.tally.name}: {wrong}", markup=False, soft_wrap=True)
