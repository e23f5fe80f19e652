"""The command line of worker processes. Settings come from `AGENTSTATE_*`, as everywhere.

They are imported where they are used: `health` runs every few seconds beside each process and must cost little.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from agentstate.errors import AgentStateError, ConfigurationError, InvalidInput
from workers.heartbeat import FILE_VARIABLE, STALE_AFTER_S, heartbeat_age_s, probe_url

if TYPE_CHECKING:
    from agentstate.settings import Settings


POOLS = ("threads", "solo", "prefork")
SCHEDULER = "workers.beat:BeatScheduler"


def worker_command(
    queues: list[str], *, pool: str, concurrency: int, name: str, lanes: int, log_level: str
) -> list[str]:
    """The command of one worker process that serves every lane of `queues`.

    `threads` is for work that waits for others, `solo` for money: prefork stalls when it is asked to stop, and several
    solo processes run about twice its tasks per second.
    """
    from agentstate.jobs.spec import QUEUES
    from agentstate.jobs.wake_ups import lane_queues

    unknown = sorted(set(queues) - set(QUEUES))
    if unknown:
        raise InvalidInput(f"there is no queue {', '.join(unknown)}; there are {', '.join(QUEUES)}.")
    served = [lane for queue in queues for lane in lane_queues(queue, lanes)]
    options = ["--pool", pool, "--hostname", f"{name}@%h", "--loglevel", log_level, "--queues", ",".join(served)]
    if pool != "solo":
        options += ["--concurrency", str(concurrency)]
    return [*_celery_command("workers.app"), "worker", "--without-gossip", "--without-mingle", "--events", *options]


def beat_command(*, log_level: str) -> list[str]:
    """Return the command of beat."""
    options = ["--scheduler", SCHEDULER, "--loglevel", log_level, "--pidfile="]
    return [*_celery_command("schedules.app"), "beat", *options]


def flower_command(*, port: int, address: str) -> list[str]:
    """The command of Flower, read-only. It takes its password from the environment, where no process list shows it."""
    options = ["--read_only=true", f"--port={port}", f"--address={address}", "--max_tasks=20000"]
    return [*_celery_command("tasks.app"), "flower", *options]


def _celery_command(application: str) -> list[str]:
    return [sys.executable, "-m", "celery", "--app", application, "--quiet"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Start a worker, beat or Flower, or ask whether a worker is well."""


@cli.command()
@click.option("--queues", required=True, help="Queues to serve, separated by commas.")
@click.option("--pool", type=click.Choice(POOLS), default="threads", show_default=True, help="Kind of pool.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=8, show_default=True, help="Tasks at once.")
@click.option("--name", default="worker", show_default=True, help="Name of this worker, unique per machine.")
def worker(queues: str, pool: str, concurrency: int, name: str) -> None:
    """Run a worker for some queues until it is asked to stop; running jobs are finished first.

    While the store's schema is another one than this version's, it waits: it takes no work and is not ready.
    """
    from workers.logs import set_up_logging
    from workers.readiness import wait_for_schema

    settings = _load_serving_settings()
    set_up_logging(settings.log_level, as_json=settings.log_json)
    wait_for_schema(settings)
    # Several workers share the cores: BLAS threads of each would wait for one another. Read when NumPy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _run_celery(
        worker_command(
            queues.split(","),
            pool=pool,
            concurrency=concurrency,
            name=name,
            lanes=settings.lanes,
            log_level=settings.log_level,
        )
    )


@cli.command()
def beat() -> None:
    """Run beat, which fires the schedules. One is enough; two do no harm."""
    settings = _load_serving_settings()
    _run_celery(beat_command(log_level=settings.log_level))


@cli.command()
@click.option("--address", default="127.0.0.1", show_default=True, help="Address to listen on.")
def flower(address: str) -> None:
    """Run Flower, read-only and behind a password."""
    settings = _load_settings()
    if settings.flower_basic_auth is None:
        raise ConfigurationError("AGENTSTATE_FLOWER_BASIC_AUTH is not set; give it as user:password.")
    os.environ["FLOWER_BASIC_AUTH"] = settings.flower_basic_auth.get_secret_value()
    _run_celery(flower_command(port=settings.flower_port, address=address))


@cli.command()
@click.option("--file", "path", type=click.Path(path_type=Path), envvar=FILE_VARIABLE, help="Heartbeat file.")
@click.option(
    "--stale-after",
    type=click.FloatRange(min=1),
    default=STALE_AFTER_S,
    show_default=True,
    help="Age of the file, in seconds, from which its process counts as stuck.",
)
@click.option("--url", help="Ask this address instead of a file: Flower's /healthcheck.")
def health(path: Path | None, stale_after: float, url: str | None) -> None:
    """Exit with 0 when the process that touches the file, or that answers at the address, is well, with 1 if not."""
    if url is not None:
        well, found = probe_url(url)
    elif path is not None:
        age = heartbeat_age_s(path)
        well = age is not None and age < stale_after
        found = "no heartbeat" if age is None else f"last heartbeat {age:.0f} s ago"
    else:
        raise click.UsageError(f"name a file by --file or {FILE_VARIABLE}, or an address by --url.")
    click.echo(found)
    sys.exit(0 if well else 1)


def main() -> None:
    """Run the command; an error of ours becomes one line and exit code 1."""
    try:
        cli(prog_name="python -m workers")
    except AgentStateError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def _load_settings() -> Settings:
    from agentstate.settings import Settings

    return Settings.load()


def _load_serving_settings() -> Settings:
    """Return the settings; refuse a broker that may lose queues. One that does not answer yet is accepted."""
    from workers.readiness import require_usable_broker

    settings = _load_settings()
    require_usable_broker(settings)
    return settings


def _run_celery(command: list[str]) -> NoReturn:
    # Celery runs in this very process, so that signals reach it, nothing stands between it and its supervisor, and
    # what was imported for the settings is not imported a second time. Its own path comes first, as under `-m celery`.
    from celery import __main__ as celery

    sys.argv = [str(celery.__file__), *command[3:]]
    celery.main()
    sys.exit()
