"""The command lines of Celery's programs, with the options that our guarantees rest on.

What costs time to import is imported where it is used: health checks go through here every few seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

from agentstate.errors import InvalidInput

POOLS = ("threads", "solo", "prefork")
SCHEDULER = "workers.beat:HeartbeatScheduler"


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


def beat_command(*, schedule_file: Path, log_level: str) -> list[str]:
    """The command of beat. Its file holds only when it last fired; losing it is harmless."""
    options = ["--scheduler", SCHEDULER, "--schedule", str(schedule_file), "--loglevel", log_level, "--pidfile="]
    return [*_celery_command("schedules.app"), "beat", *options]


def flower_command(*, port: int, address: str) -> list[str]:
    """The command of Flower, read-only. It takes its password from the environment, where no process list shows it."""
    options = ["--read_only=true", f"--port={port}", f"--address={address}", "--max_tasks=20000"]
    return [*_celery_command("tasks.app"), "flower", *options]


def _celery_command(application: str) -> list[str]:
    return [sys.executable, "-m", "celery", "--app", application, "--quiet"]
