"""Programs of Debian that a test needs and a machine may lack: fetched by apt without root, and unpacked in a cache."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "agentstate-tests"
LIBRARIES = f"usr/lib/{platform.machine()}-linux-gnu"


def unpack_packages(*packages: str) -> Path:
    """Return a folder with the files of Debian packages."""
    folder = CACHE / packages[0]
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as made:
            _download_packages(packages, Path(made))
            for package in Path(made).glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", package, f"{made}/root"], check=True, capture_output=True, timeout=60)
            try:
                Path(made, "root").rename(folder)
            except OSError:  # another test process was faster
                assert folder.exists()
    return folder


def _download_packages(packages: tuple[str, ...], folder: Path) -> None:
    """Download packages by apt; a machine whose package lists were never read, or are old, reads them first."""
    command = ["apt-get", "download", *packages]
    if subprocess.run(command, cwd=folder, check=False, capture_output=True, timeout=120).returncode != 0:
        subprocess.run(["apt-get", "update"], check=False, capture_output=True, timeout=300)
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"apt cannot download {' '.join(packages)}: {done.stderr}"


def pgbouncer_program() -> tuple[Path, dict[str, str]]:
    """Return pgbouncer, and what its environment needs."""
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is not None:
        return Path(found), {}
    root = unpack_packages("pgbouncer", "libevent-2.1-7", "libc-ares2")
    return root / "usr/sbin/pgbouncer", {"LD_LIBRARY_PATH": str(root / LIBRARIES)}


def faked_clock(file: Path, folder: Path) -> dict[str, str]:
    """Return the environment of a process whose wall clock is off by what `file` says, such as `-3600s`.

    Args:
        file: is read at each look at the clock.
        folder: for a module of ours that Python loads first.
    """
    library = unpack_packages("libfaketime") / LIBRARIES / "faketime/libfaketimeMT.so.1"
    # The library lets the monotonic clock alone, but makes a sleep by it fail.
    sleep = "import select, time\n\ntime.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"
    (folder / "sitecustomize.py").write_text(sleep, "utf-8")
    return {
        "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}",
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
