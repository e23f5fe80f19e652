"""scripts/secrets makes what docker-compose.yml mounts: each word once, and files that agree with each other."""

from __future__ import annotations

import hashlib
import re
import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from sqlalchemy.engine import make_url

from agentstate.settings import ENV_FILE_VARIABLE, SECRETS_DIR_VARIABLE, Settings
from tests.unit.deploy_files import ROOT, compose


def make(folder: Path) -> dict[str, bytes]:
    subprocess.run([ROOT / "scripts/secrets", folder], check=True, capture_output=True, timeout=60)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "secrets"
    make(path)
    return path


def word(folder: Path, name: str) -> str:
    return (folder / name).read_text("ascii")


def test_it_makes_every_file_that_is_mounted(folder: Path) -> None:
    mounted = {Path(secret["file"]).name for secret in compose()["secrets"].values()}
    assert mounted <= {path.name for path in folder.iterdir()}


def test_only_the_folder_is_closed_so_that_each_container_can_read_its_file(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}


def test_run_again_it_changes_nothing(tmp_path: Path) -> None:
    assert make(tmp_path / "secrets") == make(tmp_path / "secrets")


def test_two_folders_share_no_word(folder: Path, tmp_path: Path) -> None:
    make(tmp_path / "other")
    databases = ("postgres_password", "postgres_app_password")
    for name in (*databases, "redis_password", "redis_agents_password", "flower_password"):
        assert re.fullmatch(r"[0-9a-f]{64}", word(folder, name))
        assert word(folder, name) != word(tmp_path / "other", name)


def test_a_word_that_was_changed_is_kept_and_everything_made_from_it_follows(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "postgres_password").chmod(0o600)
    (tmp_path / "postgres_password").write_text("pf_test_word")
    (tmp_path / "redis_password").unlink()
    make(tmp_path)
    assert make_url(word(tmp_path, "owner_database_url")).password == "pf_test_word"  # pragma: allowlist secret
    assert word(tmp_path, "redis_password") in word(tmp_path, "agentstate_redis_url")


def test_the_users_of_redis_have_the_passwords_of_the_addresses(folder: Path) -> None:
    users = {line.split()[1]: line for line in word(folder, "redis_users.acl").splitlines()}
    assert set(users) == {"default", "health", "agentstate", "agents"}
    assert "off" in users["default"]
    for user, address in (("agentstate", "agentstate_broker_url"), ("agents", "agents_broker_url")):
        given = make_url(word(folder, address))
        assert given.username == user
        assert f"#{hashlib.sha256(str(given.password).encode()).hexdigest()}" in users[user]
    assert "<" not in word(folder, "redis_users.acl")


def test_containers_and_programs_beside_them_read_the_same_settings(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(ENV_FILE_VARIABLE, str(folder / "host.env"))
    host = Settings.load()
    (tmp_path / "env").touch()
    monkeypatch.setenv(ENV_FILE_VARIABLE, str(tmp_path / "env"))
    monkeypatch.setenv(SECRETS_DIR_VARIABLE, str(folder))
    inside = Settings.load()
    assert make_url(inside.database_url).host == "postgres"
    assert host.database_url == inside.database_url.replace("@postgres:", "@127.0.0.1:")
    assert host.redis_url == inside.redis_url.replace("@redis:", "@127.0.0.1:")
    assert host.broker_url == inside.broker_url.replace("@redis:", "@127.0.0.1:")
    assert host.qdrant_api_key == inside.qdrant_api_key
    assert inside.qdrant_api_key is not None
    config = yaml.safe_load(word(folder, "qdrant.yaml"))
    assert config == {"service": {"api_key": inside.qdrant_api_key.get_secret_value()}}
