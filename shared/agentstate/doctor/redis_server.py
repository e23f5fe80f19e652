"""Checks of a Redis server (version, eviction, persistence), and of the workers that answer over the broker."""

from __future__ import annotations

from typing import Any

from agentstate.doctor.finding import Finding, fail_finding, ok_finding, warn_finding
from agentstate.doctor.system import System
from agentstate.errors import AgentStateError
from agentstate.jobs.broker import list_serving_workers
from agentstate.jobs.spec import QUEUES

OLDEST = (7, 0)
"""Oldest Redis whose commands are enough; every Valkey is newer."""

_START = "Start workers: `make up` on one machine, else `python -m workers worker --queues ...`."


def check_version(system: System, url: str) -> Finding:
    """Check that the server answers, in a supported version."""
    try:
        info = system.read_redis_info(url)
    except AgentStateError as error:
        return fail_finding(error.message, "Start Redis, and check its URL. `make up` starts one on this machine.")
    name, number = _name_and_version(info)
    if name == "Redis" and tuple(int(part) for part in number.split(".")[:2]) < OLDEST:
        return fail_finding(f"{name} {number}", "Use Redis 7.0 or newer, or any Valkey.")
    if info.get("redis_mode") == "cluster" or int(info.get("cluster_enabled", 0)):
        remedy = "Name a single server, with a replica for fail-over: transactions and queues span several slots."
        return fail_finding(f"{name} {number}, a Redis Cluster, which cannot be used", remedy)
    return ok_finding(f"{name} {number}")


def _name_and_version(info: dict[str, Any]) -> tuple[str, str]:
    if "valkey_version" in info:
        return "Valkey", str(info["valkey_version"])
    return "Redis", str(info.get("redis_version", "0.0"))


def check_eviction(system: System, url: str) -> Finding:
    """Check that the server does not evict queued messages or profiles when memory runs short."""
    info = system.read_redis_info(url)
    policy = str(info.get("maxmemory_policy", "unknown"))
    limit = int(info.get("maxmemory", 0))
    found = f"maxmemory-policy {policy}, " + (f"maxmemory {limit / 1024**2:,.0f} MB" if limit else "no memory limit")
    if policy == "noeviction" or policy.startswith("volatile-"):
        return ok_finding(found)
    if policy.startswith("allkeys-"):
        remedy = "Set maxmemory-policy to noeviction or volatile-ttl: allkeys policies evict queued wake-ups."
        return fail_finding(found, remedy)
    return warn_finding(found, "Make sure that maxmemory-policy is noeviction or volatile-ttl.")


def check_persistence(system: System, url: str) -> Finding:
    """Check that the append-only file is on and can be written."""
    info = system.read_redis_info(url)
    if not int(info.get("aof_enabled", 0)):
        remedy = "Set appendonly yes: without it a restart forgets episodes and live state (durable facts are kept)."
        return warn_finding("append-only file off", remedy)
    if info.get("aof_last_write_status", "ok") != "ok":
        return fail_finding(
            "append-only file on, but its last write failed", "Look for a full or broken disk of Redis."
        )
    return ok_finding("append-only file on")


def check_workers(system: System) -> Finding:
    """Check that workers answer over the broker and serve all queues."""
    return assess_workers(workers_by_name(system))


def workers_by_name(system: System) -> dict[str, list[str]]:
    """Return the queues of every worker that answers; raise RedisUnavailable when the broker does not."""
    with system.connect_redis(system.settings.broker_url) as client:
        client.ping()
    return list_serving_workers(system.settings, timeout_s=system.workers_timeout_s)


def assess_workers(found: dict[str, list[str]]) -> Finding:
    """Return the finding about the workers' queues."""
    if not found:
        return fail_finding("no worker answers", f"{_START} Jobs submitted meanwhile wait in the durable store.")
    unserved = [queue for queue in QUEUES if not any(queue in served for served in found.values())]
    told = f"{len(found)} alive: {', '.join(sorted(found))}"
    if unserved:
        return warn_finding(
            f"{told}; no worker that answered serves {', '.join(unserved)}",
            f"{_START} A worker with one process does not answer while it is busy: check again first.",
        )
    return ok_finding(told)
