"""The data folder of a stack: lock, state file, logs, secrets, and the settings file for commands and workers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from deploy.local.stack.errors import AlreadyRunning, FolderUnusable

ROOT = Path(__file__).resolve().parents[3]
"""The repository root: where every process of the stack is started."""
DEFAULT_DATA = ROOT / ".agentstate"

NEEDED_BYTES = 256 * 1024 * 1024
"""Free space without which nothing is started; a new Postgres cluster takes 40 MB, its first log 16 to 80 MB."""
LONGEST_SOCKET_PATH = 100
"""Longest path of a socket in bytes; the kernel's own limit is 104 on macOS and 108 on Linux."""
LARGEST_LOG = 10 * 1024 * 1024
"""A log that is longer than this many bytes is put aside as `<process>.log.1` at the next start."""

_LOCK_TRIES = 5
_LOCK_PAUSE_S = 0.02


class Folder:
    """One data folder. `claim()` makes it ours; `release()` gives it back."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        self.env_file = self.path / "env"
        self.record_file = self.path / "stack.json"
        self.logs = self.path / "logs"
        self._lock: TextIO | None = None

    def claim_ownership(self) -> None:
        """Make the folder if it is missing, check that it can be used, and become its only owner.

        Raises:
            FolderUnusable: it cannot be made or written, or the disk has too little room.
            AlreadyRunning: a live supervisor owns it.
        """
        self.make_folders()
        free = shutil.disk_usage(self.path).free
        if free < NEEDED_BYTES:
            raise FolderUnusable(
                f"only {free // 2**20} MB are free on the disk of {self.path}; {NEEDED_BYTES // 2**20} MB are needed. "
                "Nothing was started. Free some space, or choose another folder with --data."
            )
        lock = (self.path / "lock").open("a+", encoding="utf-8")
        if not _take_lock(lock):
            lock.close()
            raise AlreadyRunning(self._who_runs())
        self._lock = lock

    def release_ownership(self) -> None:
        """Let the next supervisor in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def is_claimed(self) -> bool:
        """Whether a live supervisor, this process or another one, owns the folder."""
        try:
            with (self.path / "lock").open("r", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def data_of(self, process: str) -> Path:
        """The private folder of one process, made when missing."""
        path = self.path / "data" / process
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def log_of(self, process: str) -> Path:
        """The log file of one process."""
        return self.logs / f"{process}.log"

    def open_log(self, process: str) -> int:
        """A file descriptor that appends to the log of `process`; the caller closes it."""
        path = self.log_of(process)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > LARGEST_LOG:
                path.replace(path.with_suffix(".log.1"))
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def read_log_tail(self, process: str, lines: int = 15) -> str:
        """The last lines of the log of `process`, indented; empty when it wrote none."""
        try:
            with self.log_of(process).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 16_384))
                text = log.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])

    def socket_folder(self, tag: str) -> Path:
        """Return a folder for sockets with a path short enough for the kernel.

        It is inside the data folder when that path is short, else a private one in the folder for temporary files.
        """
        inside = self.path / "sockets"
        if len(os.fsencode(inside)) <= LONGEST_SOCKET_PATH - len("/postgres.sock"):
            inside.mkdir(mode=0o700, exist_ok=True)
            return inside
        for base in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 a private folder, owner checked below
            path = Path(base) / tag
            if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH - len("/postgres.sock"):
                path.mkdir(mode=0o700, exist_ok=True)
                if path.stat().st_uid == os.getuid():
                    return path
        raise FolderUnusable(
            f"there is no folder with a path short enough for a socket: {self.path} is too long, and so is "
            f"{tempfile.gettempdir()}. Nothing was started. Choose a shorter folder with --data."
        )

    def get_secret(self, name: str) -> str:
        """A random secret that stays the same for the life of the folder."""
        path = self.path / "secrets.json"
        known: dict[str, str] = read_json(path) or {}
        if name not in known:
            known[name] = secrets.token_urlsafe(24)
            write_private(path, json.dumps(known, indent=2) + "\n")
        return known[name]

    def read_record(self) -> dict[str, Any]:
        """Return the content of `stack.json`; empty when the stack never ran here."""
        return read_json(self.record_file) or {}

    def write_record(self, record: dict[str, Any]) -> None:
        """Replace `stack.json` as a whole."""
        write_private(self.record_file, json.dumps(record, indent=2) + "\n")

    def make_folders(self) -> None:
        """Make the folder with its parts, and check that it can be written; FolderUnusable when it cannot."""
        try:
            for path in (self.path, self.logs, self.path / "data"):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(self.path / ".write-test", "ok")
            (self.path / ".write-test").unlink()
        except OSError as error:
            raise FolderUnusable(
                f"the data folder {self.path} cannot be written: {error.strerror}. Nothing was started. "
                "Free some space or correct its permissions, or choose another folder with --data."
            ) from error

    def _who_runs(self) -> str:
        owner = self.read_record().get("supervisor") or {}
        pid = f" (supervisor pid {owner['pid']})" if "pid" in owner else ""
        return (
            f"a stack runs on {self.path} already{pid}; nothing was started. `make status` shows it, `make down` "
            "stops it; for a second stack give another folder with --data."
        )


def _take_lock(lock: TextIO) -> bool:
    """Take the lock; a few tries, because `is_claimed` of another process holds it for a moment."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)
        else:
            return True
    return False


def read_json(path: Path) -> Any:
    """The value in a JSON file; None when there is no such file or a crash of the machine left it unreadable."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


MARKER = "# --- your own settings go below this line; the stack keeps them ---"
_HEADER = "# Written by the one-machine stack at every start. Private: it holds passwords."


def write_settings(path: Path, settings: Mapping[str, str]) -> None:
    """Write the file, readable by its owner only, with the user's own lines kept."""
    lines = [
        _HEADER,
        *(f"{name}={_quote_value(value)}" for name, value in settings.items()),
        "",
        MARKER,
        *_read_own_lines(path),
    ]
    write_private(path, "\n".join(lines) + "\n")


def _read_own_lines(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return []
    return text.split(MARKER, 1)[1].strip("\n").splitlines() if MARKER in text else []


def _quote_value(value: str) -> str:
    """A value as the settings reader takes it."""
    if value and all(letter.isalnum() or letter in "._-:/@%+=,~" for letter in value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
