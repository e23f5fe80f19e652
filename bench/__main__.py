"""`python -m bench`: run the groups, print one table, write it, and exit with 1 when a bar is missed."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from bench import groups
from bench.stack import BenchStack
from bench.texts import SHARED_DATA
from deploy.local.stack.folder import ROOT
from deploy.local.stack.results import Row, all_met, draw_picture, make_console, print_rows, write_rows

PICTURE = 130
"""Columns of the picture."""
BUILD = ROOT / "build" / "bench.json"
GROUPS = tuple(module.name for module in pkgutil.iter_modules(groups.__path__))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", type=click.Choice(GROUPS), multiple=True, help="Run this group alone; may be given again.")
@click.option("--quick", is_flag=True, help="Small sizes, to see that it works; no bar is judged.")
@click.option("--data", type=click.Path(path_type=Path), default=SHARED_DATA, help="Folder of public data sets.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Also write here.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the tables here, as SVG.")
def main(*, only: tuple[str, ...], quick: bool, data: Path, json_file: Path | None, picture: Path | None) -> None:
    """Measure agentstate against named references, both in this run."""
    # As in a worker: threads of a BLAS that wait for work take the time of the servers beside them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # The one-machine engine listens on loopback alone; its key needs no TLS there.
    warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
    out, tables = make_console(), dict[str, list[Row]]()
    with BenchStack(quick=quick, data=data, say=lambda text: click.echo(f"  {text}", err=True)) as bench:
        for name in only or GROUPS:
            began = time.monotonic()
            bench.report(f"{name} …")
            found = importlib.import_module(f"bench.groups.{name}").measure_rows(bench)
            tables[name] = [replace(row, met=None) if quick else row for row in found]
            bench.report(f"{name}: {time.monotonic() - began:.0f} s")
            print_rows(out, name, tables[name])
    rows = [row for table in tables.values() for row in table]
    if picture is not None:

        def print_tables(page: Console) -> None:
            for name, table in tables.items():
                print_rows(page, name, table)

        draw_picture(picture, "make bench", print_tables, width=PICTURE)
    for path in (BUILD, *([json_file] if json_file else ())):
        write_rows(path, rows)
        out.print(f"written: {path}", soft_wrap=True)
    missed = [row.name for row in rows if row.met is False]
    out.print("\n".join(f"MISSED: {name}" for name in missed) or "every bar is met", markup=False)
    sys.exit(0 if all_met(rows) else 1)


if __name__ == "__main__":
    main(prog_name="python -m bench")
