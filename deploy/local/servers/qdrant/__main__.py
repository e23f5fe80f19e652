"""The command `python -m deploy.local.servers.qdrant`: own one data folder and serve it until told to stop."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import sys
from pathlib import Path
from typing import Any

import click

from agentstate.errors import AgentStateError, ConfigurationError
from deploy.local.servers.qdrant.server import Owner, OwnerOptions


def _check_loopback(_context: click.Context, _parameter: click.Parameter, host: str) -> str:
    address = "127.0.0.1" if host == "localhost" else host
    try:
        if ipaddress.ip_address(address).is_loopback:
            return address
    except ValueError:
        pass
    raise click.BadParameter(
        f"{host} is not a loopback address. This engine serves one machine only; "
        "to be reached from others, run a Qdrant server."
    )


def _read_key(path: Path | None) -> str | None:
    if path is None:
        return None
    key = path.read_text(encoding="utf-8").strip()
    if not key:
        raise ConfigurationError(f"The key file {path} is empty; write the key into it, or leave the option out.")
    return key


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder that holds the collections.")
@click.option("--host", default="127.0.0.1", show_default=True, callback=_check_loopback, help="A loopback address.")
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="Port; 0 takes a free one and prints it.")
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the key that callers must send.",
)
@click.option(
    "--flush-seconds",
    type=click.FloatRange(min=0.05, max=60),
    default=1.0,
    show_default=True,
    help="How often changes are synced to the disk; only a power failure can lose what came after.",
)
@click.option("--optimize", is_flag=True, help="Reclaim deleted space before serving; can take minutes.")
def main(*, api_key_file: Path | None, **options: Any) -> None:
    """Serve the Qdrant engine of one machine until SIGTERM or Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        owner = Owner(OwnerOptions(api_key=_read_key(api_key_file), **options))
        asyncio.run(owner.serve())
    except (AgentStateError, OSError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
