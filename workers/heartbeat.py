"""Liveness: a thread touches a file, and a check looks at the file's age.

A check by message would cost a second of CPU and fail while the broker is away, when a restart helps nobody.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

EVERY_S = 5.0
STALE_AFTER_S = 60.0
ANSWER_WITHIN_S = 3.0
FILE_VARIABLE = "WORKERS_HEARTBEAT_FILE"


class Heartbeat:
    """Touches `path` every five seconds until stopped; without a path it does nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stop = threading.Event()

    @classmethod
    def from_environment(cls) -> Heartbeat:
        """A heartbeat into the file that `WORKERS_HEARTBEAT_FILE` names."""
        named = os.environ.get(FILE_VARIABLE)
        return cls(Path(named) if named else None)

    def touch_file(self) -> None:
        """Touch the file once, for a process that calls this from its own loop."""
        if self._path is not None:
            self._path.touch()

    def start(self) -> None:
        """Begin; the first touch is made before this returns."""
        if self._path is not None:
            self.touch_file()
            threading.Thread(target=self._touch_periodically, args=(self._path,), name="heartbeat", daemon=True).start()

    def stop(self) -> None:
        """End and remove the file."""
        self._stop.set()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _touch_periodically(self, path: Path) -> None:
        while not self._stop.wait(EVERY_S):
            path.touch()


def heartbeat_age_s(path: Path) -> float | None:
    """Seconds since the last touch; None when there is no file."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return None


def probe_url(url: str) -> tuple[bool, str]:
    """Return whether `url` answers with success within three seconds, and a description of the answer."""
    from http.client import HTTPException
    from urllib.request import ProxyHandler, build_opener

    try:
        # No proxy: the process asked is on this machine, whatever the environment says of others.
        with build_opener(ProxyHandler({})).open(url, timeout=ANSWER_WITHIN_S) as response:
            return True, f"{url} answered {response.status}"
    except (OSError, HTTPException, ValueError) as error:
        return False, f"{url}: {error}"
