"""Loader of named SQL statements, kept in `.sql` files beside the modules that run them.

A file is a sequence of blocks. Each begins with its name and a description of one line:

    -- name: load_open_effects
    -- Open effects of one agent, the oldest first.
    SELECT id, state FROM effects WHERE agent_id = %(agent_id)s ORDER BY created_at

A line `-- include: NAME` stands for the statement of an earlier block of the same file, so that statements can share a
list of common table expressions. Values are written in the form that the caller executes: `%(name)s` for the driver,
`:name` for `sqlalchemy.text`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType

from agentstate.errors import ConfigurationError

_BLOCK = re.compile(r"^-- name: (\w+)\n-- (\S.*)\n", re.MULTILINE)
_INCLUDE = re.compile(r"^[ \t]*-- include: (\w+)$", re.MULTILINE)


def load_queries(package: str, filename: str = "queries.sql") -> Mapping[str, str]:
    """Return the statements of `filename` in `package` by name.

    Raises:
        ConfigurationError: the file has no blocks, text before the first one, a name twice, or an unknown include.

    Example:
        QUERIES = load_queries(__package__)
        row = store.commit_one(QUERIES["insert_intent"], {"agent_id": "ag_7"})
    """
    text = resources.files(package).joinpath(filename).read_text("utf-8")
    before, *parts = _BLOCK.split(text)
    if before.strip() or not parts:
        raise ConfigurationError(
            f"{package}/{filename} must consist of blocks that begin with `-- name:` and a comment."
        )
    statements: dict[str, str] = {}
    for name, statement in zip(parts[::3], parts[2::3], strict=True):
        unknown = {included for included in _INCLUDE.findall(statement) if included not in statements}
        if name in statements or unknown:
            raise ConfigurationError(
                f"{package}/{filename}: {name} is there twice, or includes a block that is not above it."
            )
        statements[name] = _INCLUDE.sub(lambda found: statements[found[1]], statement).strip()
    return MappingProxyType(statements)
