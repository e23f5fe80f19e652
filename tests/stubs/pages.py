"""Runs the examples of pages: each as a main program with names of its own, all in this one process.

Standard input: JSON, a list of `[page, code]`. Standard output: JSON, for each page what it printed, and its traceback
or null. Starting a Python and loading the library for every page would take longer than the examples.
"""

from __future__ import annotations

import io
import json
import sys
import traceback
from contextlib import redirect_stdout


def run(page: str, code: str) -> dict[str, str | None]:
    """What the page's code printed, and the traceback that ended it."""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            exec(compile(code, page, "exec"), {"__name__": "__main__"})  # noqa: S102 the documentation's own code
    except Exception:  # noqa: BLE001 whatever it is, it is told
        return {"printed": printed.getvalue(), "error": traceback.format_exc()}
    return {"printed": printed.getvalue(), "error": None}


if __name__ == "__main__":
    json.dump({page: run(page, code) for page, code in json.load(sys.stdin)}, sys.stdout)
