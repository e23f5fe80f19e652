"""Checks of what this process is made of: Python, packages, settings, disk."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path

import sqlalchemy as sa
from packaging.requirements import Requirement

from agentstate.distribution import requirements
from agentstate.doctor.finding import Finding, fail, ok, warn
from agentstate.doctor.system import System
from agentstate.errors import AgentStateError
from agentstate.settings import settings_file

OLDEST_PYTHON = (3, 11)
EXTRAS = ("anthropic", "embedded", "openai", "workers")
"""Optional parts whose packages are compared when they are installed."""
LITTLE_DISK = 1024**3
"""Free bytes below which a warning is due."""
NO_DISK = 100 * 1024**2
"""Free bytes below which databases begin to refuse writes soon."""


def python(_: System) -> Finding:
    """The interpreter's version."""
    found = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < OLDEST_PYTHON:
        return fail(f"Python {found}", "Use Python 3.11 or newer.")
    return ok(f"Python {found}")


def packages(_: System) -> Finding:
    """Every dependency's version against the range that this version was tested with."""
    return compare_packages(requirements())


def compare_packages(wanted: list[str]) -> Finding:
    """Installed versions against requirements; those of extras count only when they are installed."""
    if not wanted:
        return warn("nothing declares which versions are needed", "Install agentstate as a package.")
    relevant = [requirement for requirement in map(Requirement, wanted) if _applies(requirement)]
    wrong = [text for requirement in relevant if (text := _mismatch(requirement)) is not None]
    if wrong:
        remedy = "Install the tested versions: `pip install -r requirements.lock`, or reinstall agentstate."
        return fail("; ".join(wrong), remedy)
    return ok(f"{len(relevant)} packages within their ranges")


def _applies(requirement: Requirement) -> bool:
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return True
    optional = any(marker.evaluate({"extra": extra}) for extra in EXTRAS)
    return optional and _installed(requirement.name) is not None


def _mismatch(requirement: Requirement) -> str | None:
    installed = _installed(requirement.name)
    if installed is None:
        return f"{requirement.name} is not installed (needed: {requirement.specifier or 'any version'})"
    if not requirement.specifier.contains(installed, prereleases=True):
        return f"{requirement.name} {installed} is installed, needed is {requirement.specifier}"
    return None


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def settings(system: System) -> Finding:
    """Whether all settings can be read."""
    try:
        loaded = system.settings
    except AgentStateError as error:
        return fail(error.message, "Correct it; `agentstate doctor --settings` shows every setting and its source.")
    return ok(f"{len(loaded.model_fields_set)} set, the others at their defaults")


def disk(system: System) -> Finding:
    """Free space where this machine keeps data."""
    return free_space(data_folder(system))


def free_space(folder: Path, *, little: int = LITTLE_DISK, none: int = NO_DISK) -> Finding:
    """Free bytes in `folder` against two bounds."""
    free = shutil.disk_usage(folder).free
    found = f"{free / 1024**3:,.1f} GB free in {folder.resolve()}"
    remedy = "Free space on this disk: databases refuse writes when it is full."
    if free < none:
        return fail(found, remedy)
    return warn(found, remedy) if free < little else ok(found)


def data_folder(system: System) -> Path:
    """The folder of the SQLite file, else of the settings file (a stack's data folder), else the present one."""
    try:
        file, url = system.env_file or settings_file(), sa.make_url(system.settings.database_url)
    except (AgentStateError, sa.exc.ArgumentError):
        return Path()
    if url.get_backend_name() == "sqlite" and url.database and Path(url.database).parent.is_dir():
        return Path(url.database).parent
    return Path() if file is None else file.parent
