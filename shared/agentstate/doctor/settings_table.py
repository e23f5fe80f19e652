"""Every setting with its name, value, default, source and purpose. Secrets are masked.

Values are shown as given, wrong ones too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from agentstate.doctor.system import MASK, mask_url
from agentstate.settings import PREFIX, Settings, find_settings_file


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
