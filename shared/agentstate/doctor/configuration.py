"""Checks of this process: Python, packages, settings, disk; and the table of all settings."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from packaging.requirements import Requirement
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from agentstate.distribution import package_requirements
from agentstate.doctor.finding import Finding, fail_finding, ok_finding, warn_finding
from agentstate.doctor.system import MASK, System, mask_url
from agentstate.errors import AgentStateError
from agentstate.settings import PREFIX, Settings, find_settings_file

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


@dataclass(frozen=True)
class SettingRow:
    """One setting and its current value."""

    name: str
    """`AGENTSTATE_...`."""
    value: str | None
    """None when it is unset and has no default; stars for a secret."""
    default: str | None
    source: str
    """`environment`, `default`, `not set`, or the path of the settings file."""
    description: str


def list_settings(env_file: Path | None = None) -> list[SettingRow]:
    """Return all settings in the order of their declaration.

    Raises:
        ConfigurationError: the named settings file is not there.
    """
    file = env_file or find_settings_file()
    given = {
        "environment": EnvSettingsSource(Settings).env_vars,
        str(file): DotEnvSettingsSource(Settings, env_file=file).env_vars if file else {},
    }
    return [_setting_row(name, field, given) for name, field in Settings.model_fields.items()]


def _setting_row(name: str, field: FieldInfo, given: dict[str, Any]) -> SettingRow:
    variable = PREFIX + name.upper()
    default = None if field.is_required() or field.default is None else str(field.default)
    secret = SecretStr in ((field.annotation, *getattr(field.annotation, "__args__", ())))
    for source, values in given.items():
        value = values.get(variable.lower())
        if value is not None:
            return SettingRow(variable, MASK if secret else mask_url(value), default, source, field.description or "")
    source = "not set" if field.is_required() else "default"
    return SettingRow(variable, default, default, source, field.description or "")
