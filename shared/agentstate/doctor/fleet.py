"""The check of workers: who answers, and whether every queue is served."""

from __future__ import annotations

from agentstate.doctor.finding import Finding, fail_finding, ok_finding, warn_finding
from agentstate.doctor.system import System
from agentstate.jobs.broker import list_serving_workers
from agentstate.jobs.spec import QUEUES

_START = "Start workers: `make up` on one machine, else `python -m workers worker --queues ...`."


def check_workers(system: System) -> Finding:
    """Whether workers answer over the broker and serve all queues."""
    return assess_workers(workers_by_name(system))


def workers_by_name(system: System) -> dict[str, list[str]]:
    """The queues of every worker that answers; raises RedisUnavailable when the broker is away."""
    with system.connect_redis(system.settings.broker_url) as client:
        client.ping()
    return list_serving_workers(system.settings, timeout_s=system.workers_timeout_s)


def assess_workers(found: dict[str, list[str]]) -> Finding:
    """The finding about these workers."""
    if not found:
        return fail_finding("no worker answers", f"{_START} What is accepted meanwhile waits in the durable store.")
    unserved = [queue for queue in QUEUES if not any(queue in served for served in found.values())]
    told = f"{len(found)} alive: {', '.join(sorted(found))}"
    if unserved:
        return warn_finding(
            f"{told}; nobody who answered serves {', '.join(unserved)}",
            f"{_START} A worker with one process does not answer while it is busy: ask again first.",
        )
    return ok_finding(told)
