"""Looking for what must not be there: one agent's memories at another, and secrets anywhere but in settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import psutil
import redis
import sqlalchemy as sa

from agentstate.memory.search.chunks import point_id
from agentstate.runtime import Runtime
from agentstate.store.tables import memories, metadata
from deploy.local.demo import sentences
from deploy.local.demo.facts import KeyFact
from deploy.local.stack.folder import Folder
from deploy.local.stack.ownership import find_processes
from deploy.local.stack.table import SERVICES_KEY

OUR_PREFIX = "as:"

_PAGE = 500


def leaked(runtime: Runtime, agents: Sequence[str], seed: int) -> tuple[list[str], int]:
    """Where an agent's recall shows a memory of its neighbour, asked for by the neighbour's secret; and how many."""
    found = []
    for agent, other in zip(agents, [*agents[1:], agents[0]], strict=True):
        if agent == other:
            continue
        word = sentences.secret_word(other, seed)
        hits = runtime.memory.of(agent).recall(f"code word of the vault {word}", 10)
        found += [f"{agent} recalled {other}'s secret" for hit in hits if word in hit.content]
    return found, len(agents) if len(agents) > 1 else 0


def index_leaks(runtime: Runtime) -> tuple[list[str], int]:
    """Points of the index that carry another agent than their memory's row; and how many points were looked at."""
    with runtime.store.read_connection() as connection:
        rows = connection.execute(sa.select(memories.c.id, memories.c.agent_id, memories.c.points)).all()
    # A long memory has several.
    owners = {point_id(row.id, number): row.agent_id for row in rows for number in range(max(row.points, 1))}
    found, looked, start = [], 0, None
    while True:
        points, start = runtime.qdrant.scroll(runtime.index.space, limit=_PAGE, offset=start, with_payload=True)
        looked += len(points)
        for point in points:
            owner, agent = owners.get(UUID(str(point.id))), (point.payload or {}).get("agent_id")
            found += (
                [f"point {point.id} is {agent}'s in the index and {owner}'s in the store"] if agent != owner else []
            )
        if start is None:
            return found, looked


def secrets_of(folder: Folder) -> list[str]:
    """Every secret of the stack, as text."""
    known: Mapping[str, str] = json.loads((folder.path / "secrets.json").read_text("utf-8"))
    return [*known.values(), SERVICES_KEY]


def places(runtime: Runtime, folder: Folder, flower_texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Everything in which no secret may be, by name: logs, tables, Redis, Flower, and the command lines."""
    for path in sorted(folder.logs.glob("*.log")):
        yield f"log of {path.stem}", path.read_text("utf-8", errors="replace")
    with runtime.store.read_connection() as connection:
        for table in metadata.sorted_tables:
            rows = connection.execute(sa.select(table))
            yield f"table {table.name}", "\n".join(str(tuple(row)) for row in rows)
    for url in (runtime.settings.redis_url, runtime.settings.broker_url):
        with redis.Redis.from_url(url) as client:
            yield (
                f"Redis database {url.rpartition('/')[2]}",
                "\n".join(_value(client, key) for key in client.scan_iter()),
            )
    yield from flower_texts.items()
    processes = find_processes(str(folder.read_record()["tag"]))
    yield "command lines", "\n".join(" ".join(_command(process)) for process in processes)


def secrets_found(secrets: Sequence[str], where: Iterator[tuple[str, str]]) -> tuple[list[str], int]:
    """The places in which any of `secrets` is, and how many places were looked at."""
    found, looked = [], 0
    for name, text in where:
        looked += 1
        if any(secret in text for secret in secrets):
            found.append(name)
    return found, looked


def our_keys(runtime: Runtime) -> list[KeyFact]:
    """Every key of ours: all of the state's database, and those with our prefix beside Celery's queues."""
    found = []
    databases = {runtime.settings.redis_url: "*", runtime.settings.broker_url: f"{OUR_PREFIX}*"}
    for url, pattern in databases.items():
        with redis.Redis.from_url(url) as client:
            for key in client.scan_iter(match=pattern, count=500):
                ttl = int(client.ttl(key))
                if ttl != -2:  # noqa: PLR2004 it expired in between
                    found.append(KeyFact(name=key.decode(errors="replace"), ttl_s=ttl))
    return found


def _value(client: redis.Redis, key: Any) -> str:
    """A key with its value, as text."""
    readers: dict[Any, Callable[[], Any]] = {
        b"string": lambda: client.get(key),
        b"hash": lambda: client.hgetall(key),
        b"list": lambda: client.lrange(key, 0, -1),
        b"set": lambda: client.smembers(key),
        b"zset": lambda: client.zrange(key, 0, -1),
        b"stream": lambda: client.xrange(key),
    }
    return f"{key!r} {readers.get(client.type(key), lambda: '')()!r}"


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
