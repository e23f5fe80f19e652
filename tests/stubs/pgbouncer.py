"""Debian's pgbouncer before a Postgres server; see `tests.stubs.debian`."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local.servers.postgres_server import identity_for
from deploy.local.stack.ports import choose_port
from tests.stubs.debian import pgbouncer_program


@contextmanager
def pgbouncer(url: str, folder: Path, *, mode: str = "transaction", ignored: str = "") -> Iterator[str]:
    """A pooler in `mode` before the server of `url`; the URL that leads through it.

    Args:
        url: leads to a database, with its user and password.
        folder: for its settings and its log.
        mode: transaction or session.
        ignored: start-up parameters that it takes without a word, beside those that it knows.
    """
    address = urlsplit(url.replace("postgresql+psycopg://", "postgresql://"))
    port = choose_port("pgbouncer", asked=None, kept=None, preferred=None, taken=())
    program, environment = pgbouncer_program()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"""
[databases]
* = host={address.hostname} port={address.port} user={address.username} password={address.password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
max_client_conn = 400
default_pool_size = 4
logfile = {folder / "pgbouncer.log"}
{f"ignore_startup_parameters = {ignored}" if ignored else ""}
""",
        "utf-8",
    )
    # Like Postgres it refuses root; which way out there is does not depend on the program.
    prefix = identity_for(Path("/bin/true"), folder).prefix
    running = subprocess.Popen([*prefix, program, "-q", settings], env={**os.environ, **environment})
    try:
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert running.poll() is None, (folder / "pgbouncer.log").read_text()
            time.sleep(0.02)
        yield url.replace(f":{address.port}/", f":{port}/")
    finally:
        running.terminate()
        running.wait(timeout=20)
