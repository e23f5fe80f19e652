"""Ports on loopback: which ones to take, and whether one is free.

Ports are taken from below the range out of which the kernel gives outgoing connections theirs. A server port
inside that range can be lost while its server is restarted: a client that keeps connecting to it may be given
that very port as its own.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Collection
from pathlib import Path

import psutil

from deploy.local.stack.errors import PortTaken

LOOPBACK = "127.0.0.1"
FIRST, LAST = 18_000, 32_000
"""Where free ports are looked for; Linux gives outgoing connections 32768 and up, macOS 49152 and up."""

_KERNEL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES = 2_000


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES, errno.EPERM}:
                return False
            raise
    return True


def describe_listener(port: int) -> str:
    """Return the program that listens on `port`, such as `python (pid 4711)`, as far as the kernel tells."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        pass
    return "another program"


def choose_port(
    name: str, *, asked: int | None, kept: int | None, preferred: int | None, taken: Collection[int]
) -> int:
    """A port for `name`: the one asked for, else the one it had before, else the preferred one, else any free one.

    Args:
        name: process that will listen, for the message.
        asked: port that the user wants; only this one will do.
        kept: port that the process had when the stack ran last.
        preferred: port that people expect, taken when it is free.
        taken: ports already given to other processes of this stack.

    Raises:
        PortTaken: the port asked for is in use, or none is free.
    """
    if asked is not None:
        if asked in taken:
            raise PortTaken(
                f"port {asked} was asked for twice, the second time for {name}. Nothing was started. Give each its own."
            )
        if not is_free(asked):
            raise PortTaken(
                f"port {asked} for {name} is taken by another program. Nothing was started. "
                f"End that program, or choose another port with --{name}-port, "
                "or leave the option out: a free one is found."
            )
        return asked
    for known in (kept, preferred):
        if known is not None and known not in taken and is_free(known):
            return known
    # A port below the range from which the kernel takes ports for outgoing connections.
    last = min(LAST, _first_outgoing_port() - 1)
    first = FIRST if last > FIRST else 1_024
    for _ in range(_TRIES):
        port = random.randint(first, last)  # noqa: S311 not a secret
        if port not in taken and is_free(port):
            return port
    raise PortTaken(
        f"no free port for {name} between {first} and {last}. Nothing was started. End some programs that listen there."
    )


def _first_outgoing_port() -> int:
    try:
        return int(_KERNEL_RANGE.read_text("ascii").split()[0])
    except OSError:
        return LAST + 1
