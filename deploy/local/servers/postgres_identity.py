"""The user that Postgres runs as: it refuses root, and a user id without a name, common in containers.

Two ways out, the gentler first, each tried before it is used: a user namespace in which we are `nobody` (no file
changes hands), and for root, where those are forbidden as in many containers, the id `nobody` with the one
capability to pass through root's folders.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deploy.local.stack.errors import ServerMissing

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
        if _is_usable(identity, program, folder):
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


def _is_usable(identity: Identity, program: Path, folder: Path) -> bool:
    identity.hand_over(folder)
    script = '"$0" --version >/dev/null && test -w "$1" && test "$(id -u)" != 0'
    command = [*identity.prefix, "sh", "-c", script, str(program), str(folder)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=20)  # noqa: S603 our own command
    return done.returncode == 0
