"""Settings from a secrets folder, as container engines and Kubernetes mount one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentstate.errors import ConfigurationError
from agentstate.settings import ENV_FILE_VARIABLE, SECRETS_DIR_VARIABLE, Settings

URL = "postgresql+psycopg://agentstate:pf_test_word@postgres:5432/agentstate"  # pragma: allowlist secret


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setenv(SECRETS_DIR_VARIABLE, str(folder))
    return folder


def test_the_database_url_with_its_password_comes_from_a_file(secrets: Path) -> None:
    (secrets / "agentstate_database_url").write_text(URL + "\n")
    (secrets / "agentstate_qdrant_api_key").write_text("pf_test_key\n")
    (secrets / "postgres_password").write_text("of another program")
    found = Settings.load()
    assert found.database_url == URL
    assert found.qdrant_api_key is not None
    assert found.qdrant_api_key.get_secret_value() == "pf_test_key"


def test_a_folder_of_links_is_read_as_kubernetes_lays_it_out(secrets: Path) -> None:
    version = secrets / "..2026_11_22"
    version.mkdir()
    (version / "agentstate_database_url").write_text(URL)
    (secrets / "..data").symlink_to(version.name)
    (secrets / "agentstate_database_url").symlink_to("..data/agentstate_database_url")
    assert Settings.load().database_url == URL


def test_the_environment_wins_over_a_secret(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets / "agentstate_database_url").write_text(URL)
    monkeypatch.setenv("AGENTSTATE_DATABASE_URL", "sqlite:///own.db")
    assert Settings.load().database_url == "sqlite:///own.db"


def test_a_secret_that_no_setting_is_named_for_is_refused_by_name_alone(secrets: Path) -> None:
    (secrets / "agentstate_database_url").write_text(URL)
    (secrets / "agentstate_datbase_url").write_text("pf_test_hidden")
    with pytest.raises(ConfigurationError, match="AGENTSTATE_DATBASE_URL") as refused:
        Settings.load()
    assert "pf_test_hidden" not in str(refused.value)


def test_a_folder_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(SECRETS_DIR_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(ConfigurationError, match=r"absent: there is no such folder"):
        Settings.load()


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """Root reads everything, so as root the test becomes `nobody` for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    yield
    os.seteuid(user)


def test_a_secret_that_may_not_be_read_is_named(monkeypatch: pytest.MonkeyPatch, ordinary_user: None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "agentstate_database_url"
        secret.write_text(URL)
        secret.chmod(0)
        monkeypatch.setenv(SECRETS_DIR_VARIABLE, folder)
        (Path(folder) / "env").touch()
        monkeypatch.setenv(ENV_FILE_VARIABLE, str(Path(folder) / "env"))
        with pytest.raises(ConfigurationError, match=r"agentstate_database_url .*cannot be read by this process"):
            Settings.load()
