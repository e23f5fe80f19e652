"""The table of settings: every one, with its source, and no secret in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentstate.doctor.configuration import SettingRow, list_settings
from agentstate.doctor.system import MASK, mask_url
from agentstate.settings import PREFIX, Settings

SECRET = "pf_test_do_not_show"  # pragma: allowlist secret


def rows(text: str, folder: Path) -> dict[str, SettingRow]:
    file = folder / "env"
    file.write_text(text)
    return {row.name: row for row in list_settings(file)}


def test_every_setting_is_there_with_a_description(tmp_path: Path) -> None:
    found = rows("", tmp_path)
    assert set(found) == {PREFIX + name.upper() for name in Settings.model_fields}
    assert [name for name, row in found.items() if not row.description] == []


def test_the_source_of_each_value_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTSTATE_LANES", "8")
    found = rows("AGENTSTATE_LANES=2\nAGENTSTATE_LOG_LEVEL=DEBUG\n", tmp_path)
    assert (found["AGENTSTATE_LANES"].value, found["AGENTSTATE_LANES"].source) == ("8", "environment")
    assert found["AGENTSTATE_LANES"].default == "4"
    assert (found["AGENTSTATE_LOG_LEVEL"].value, found["AGENTSTATE_LOG_LEVEL"].source) == (
        "DEBUG",
        str(tmp_path / "env"),
    )
    assert (found["AGENTSTATE_EMBEDDER"].value, found["AGENTSTATE_EMBEDDER"].source) == ("auto", "default")
    assert (found["AGENTSTATE_DATABASE_URL"].value, found["AGENTSTATE_DATABASE_URL"].source) == (None, "not set")


def test_a_wrong_value_is_shown_as_it_was_given(tmp_path: Path) -> None:
    assert rows("AGENTSTATE_LANES=many\n", tmp_path)["AGENTSTATE_LANES"].value == "many"


def test_no_secret_is_shown(tmp_path: Path) -> None:
    lines = [f"{PREFIX}{name.upper()}={SECRET}" for name, field in Settings.model_fields.items() if "key" in name]
    lines += [
        f"AGENTSTATE_FLOWER_BASIC_AUTH=user:{SECRET}",
        f"AGENTSTATE_DATABASE_URL=postgresql://user:{SECRET}@host/name",
        f"AGENTSTATE_REDIS_URL=redis://:{SECRET}@host:6379/1",
    ]
    found = rows("\n".join(lines), tmp_path)
    assert SECRET not in repr(found)
    assert found["AGENTSTATE_QDRANT_API_KEY"].value == MASK
    assert found["AGENTSTATE_DATABASE_URL"].value == f"postgresql://user:{MASK}@host/name"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("sqlite:////data/agent.db", "sqlite:////data/agent.db"),
        (f"postgresql://u:{SECRET}@h:5432/d", f"postgresql://u:{MASK}@h:5432/d"),
        (f"postgresql://u:a/{SECRET}@h/d", f"postgresql://{MASK}"),
        (f"postgresql://u:a#{SECRET}@h/d", f"postgresql://{MASK}"),
        (f"unix://:{SECRET}@/run/redis.sock?db=1", f"unix://:{MASK}@/run/redis.sock?db=1"),
        (f"unix:///run/redis.sock?db=1&password={SECRET}", f"unix:///run/redis.sock?db=1&password={MASK}"),
        ("text-embedding-3-small", "text-embedding-3-small"),
    ],
)
def test_addresses_lose_their_passwords(url: str, shown: str) -> None:
    assert mask_url(url) == shown
