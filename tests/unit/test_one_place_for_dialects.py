"""What differs between Postgres and SQLite stands in `store/postgres.py` and `store/sqlite.py`, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

import agentstate

PACKAGE = Path(agentstate.__file__).parent
ROOT = PACKAGE.parents[1]
FOLDERS = (PACKAGE, *(ROOT / name for name in ("tasks", "schedules", "workers", "bench", "deploy")))
ALLOWED = ("store/postgres.py", "store/sqlite.py", "store/engine.py", "store/tables/", "store/migrations/")
"""The last two declare the schema, whose types have a form for each database."""
SIGN = re.compile(
    r"dialect\.name|sqlalchemy\.dialects|pg_(try_)?advisory|\.dialect [=!]= |[=!]= [\"'](postgresql|sqlite)[\"']"
)
ADDRESS = "get_backend_name"
"""What an address names is looked at where addresses are read."""
SERVICES = ("services/", "settings.py")
"""A dialect there is one of the services' APIs."""


def test_no_other_module_looks_at_the_name_of_a_dialect() -> None:
    found = []
    for folder in FOLDERS:
        for path in folder.rglob("*.py"):
            place = path.relative_to(PACKAGE if folder == PACKAGE else ROOT).as_posix()
            if place.startswith(ALLOWED + (SERVICES if folder == PACKAGE else ())):
                continue
            lines = path.read_text("utf-8").splitlines()
            found += [
                f"{place}:{number}: {line.strip()}"
                for number, line in enumerate(lines, 1)
                if SIGN.search(line) and ADDRESS not in line
            ]
    assert found == []
