"""The package itself: its version and what it requires, as installed, or as the checkout it runs from declares."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

NAME = "agentstate"
UNKNOWN = "unknown"
_PROJECT_FILE = Path(__file__).parents[2] / "pyproject.toml"


def package_version() -> str:
    """This version, `unknown` when the package carries no metadata."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return str(_project_metadata().get("version", UNKNOWN))


def package_requirements() -> list[str]:
    """Every requirement in the form of PEP 508, those of extras with a marker; empty when nothing declares them."""
    try:
        return metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        return _declared_requirements(_project_metadata())


def _declared_requirements(project: dict[str, Any]) -> list[str]:
    found = list(project.get("dependencies", []))
    for extra, wanted in project.get("optional-dependencies", {}).items():
        found += [_with_extra(requirement, extra) for requirement in wanted]
    return found


def _with_extra(requirement: str, extra: str) -> str:
    name, _, marker = requirement.partition(";")
    condition = f"extra == '{extra}'"
    return f"{name.strip()} ; ({marker.strip()}) and {condition}" if marker else f"{name} ; {condition}"


@cache
def _project_metadata() -> dict[str, Any]:
    if not _PROJECT_FILE.is_file():
        return {}
    project: dict[str, Any] = tomllib.loads(_PROJECT_FILE.read_text("utf-8")).get("project", {})
    return project if project.get("name") == NAME else {}
