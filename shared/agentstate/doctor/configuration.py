"""Checks of this process: Python, packages, settings, disk."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path

import sqlalchemy as sa
from packaging.requirements import Requirement

from agentstate.distribution import package_requirements
from agentstate.doctor.finding import Finding, fail_finding, ok_finding, warn_finding
from agentstate.doctor.system import System
from agentstate.errors import AgentStateError
from agentstate.settings import find_settings_file

OLDEST_PYTHON = (3, 11)
EXTRAS = ("anthropic", "embedded", "openai", "workers")
"""Optional parts whose packages are compared when they are installed."""
LITTLE_DISK = 1024**3
"""Free bytes below which a warning is due."""
NO_DISK = 100 * 1024**2
"""Free bytes below which databases begin to refuse writes soon."""


def check_python(_: System) -> Finding:
    """Check the interpreter's version."""
    found = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < OLDEST_PYTHON:
        return fail_finding(f"Python {found}", "Use Python 3.11 or newer.")
    return ok_finding(f"Python {found}")


def check_packages(_: System) -> Finding:
    """Check every dependency's version against the tested range."""
    return compare_packages(package_requirements())


def compare_packages(wanted: list[str]) -> Finding:
    """Compare installed versions with requirements; those of extras count only when they are installed."""
    if not wanted:
        return warn_finding("no declared requirements were found", "Install agentstate as a package.")
    relevant = [requirement for requirement in map(Requirement, wanted) if _is_relevant(requirement)]
    wrong = [text for requirement in relevant if (text := _describe_mismatch(requirement)) is not None]
    if wrong:
        remedy = "Install the tested versions: `pip install -r requirements.lock`, or reinstall agentstate."
        return fail_finding("; ".join(wrong), remedy)
    return ok_finding(f"{len(relevant)} packages within their ranges")


def _is_relevant(requirement: Requirement) -> bool:
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return True
    optional = any(marker.evaluate({"extra": extra}) for extra in EXTRAS)
    return optional and _find_version(requirement.name) is not None


def _describe_mismatch(requirement: Requirement) -> str | None:
    installed = _find_version(requirement.name)
    if installed is None:
        return f"{requirement.name} is not installed (needed: {requirement.specifier or 'any version'})"
    if not requirement.specifier.contains(installed, prereleases=True):
        return f"{requirement.name} {installed} is installed, needed is {requirement.specifier}"
    return None


def _find_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_settings(system: System) -> Finding:
    """Check that all settings can be read."""
    try:
        loaded = system.settings
    except AgentStateError as error:
        return fail_finding(
            error.message, "Correct it. `agentstate doctor --settings` shows every setting and its source."
        )
    return ok_finding(f"{len(loaded.model_fields_set)} set, the others at their defaults")


def check_disk(system: System) -> Finding:
    """Check the free space of the data folder's disk."""
    return check_free_space(data_folder(system))


def check_free_space(folder: Path, *, little: int = LITTLE_DISK, none: int = NO_DISK) -> Finding:
    """Compare the free bytes in `folder` with two bounds."""
    free = shutil.disk_usage(folder).free
    found = f"{free / 1024**3:,.1f} GB free in {folder.resolve()}"
    remedy = "Free space on this disk: databases refuse writes when it is full."
    if free < none:
        return fail_finding(found, remedy)
    return warn_finding(found, remedy) if free < little else ok_finding(found)


def data_folder(system: System) -> Path:
    """Return the folder of the SQLite file, else of the settings file (a stack's data), else the current one."""
    try:
        file, url = system.env_file or find_settings_file(), sa.make_url(system.settings.database_url)
    except (AgentStateError, sa.exc.ArgumentError):
        return Path()
    if url.get_backend_name() == "sqlite" and url.database and Path(url.database).parent.is_dir():
        return Path(url.database).parent
    return Path() if file is None else file.parent
