"""Audits from outside the system: the ledger, balances against the services, leaks between agents, secrets."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import psutil
import redis
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from agentstate.memory.search.chunks import point_id
from agentstate.money.ledger.postings import Bucket, balance_service
from agentstate.money.ledger.writer import hash_entry
from agentstate.runtime import Runtime
from agentstate.store.store import Store
from agentstate.store.tables import accounts, entries, memories, metadata
from deploy.local.demo.agents import make_secret_word
from deploy.local.demo.faults import PLANTED_AGENT
from deploy.local.demo.findings import Balance, RedisKey
from deploy.local.stack.folder import Folder
from deploy.local.stack.ownership import find_processes
from deploy.local.stack.table import SERVICES_KEY

_FREE = (Bucket.AVAILABLE, Bucket.SUSPENSE, Bucket.IN_FLIGHT)
REWRITES = ("UPDATE entries SET amount = amount + 1", "DELETE FROM entries", "DELETE FROM ledger_transactions")
"""Statements that the database must refuse."""


def find_ledger_faults(connection: Connection) -> list[str]:
    """Transactions that do not sum to zero in a currency, and entries that do not continue their account's chain."""
    unbalanced = (
        sa.select(entries.c.txn_id, accounts.c.currency)
        .join(accounts, accounts.c.id == entries.c.account_id)
        .group_by(entries.c.txn_id, accounts.c.currency)
        .having(sa.func.sum(entries.c.amount) != 0)
    )
    found = [f"transaction {row.txn_id} is not zero in {row.currency}" for row in connection.execute(unbalanced)]
    chains: dict[Any, list[Any]] = defaultdict(list)
    for row in connection.execute(sa.select(entries).order_by(entries.c.account_id, entries.c.seq)):
        chains[row.account_id].append(row)
    for account in connection.execute(sa.select(accounts)):
        head, balance, name = None, 0, f"{account.service}/{account.bucket} of {account.agent_id}"
        for number, row in enumerate(chains[account.id], 1):
            balance += row.amount
            head = hash_entry(
                head, account=account.id, seq=number, txn=row.txn_id, amount=row.amount, balance_after=balance,
                recorded_at=row.recorded_at,
            )  # fmt: skip
            if (row.seq, row.balance_after, bytes(row.hash)) != (number, balance, head):
                found.append(f"{name}: entry {row.seq} does not continue the chain")
                break
        else:
            ends = (account.version, account.balance, account.head or b"")
            if ends != (len(chains[account.id]), balance, head or b""):
                found.append(f"{name}: the account's head is not that of its entries")
    return found


def find_accepted_rewrites(store: Store) -> list[str]:
    """Changes of written entries that the database accepts; they are rolled back."""
    accepted = []
    for statement in REWRITES:
        with store.engine.connect() as connection, suppress(DBAPIError):
            connection.execute(sa.text(statement))
            accepted.append(statement)
            connection.rollback()
    return accepted


def compare_balances(connection: Connection, truth: Mapping[str, Any]) -> list[Balance]:
    """Return every balance of every agent: the sum of its entries, and the service's own amount."""
    table = accounts.c
    statement = (
        sa.select(table.agent_id, table.service, table.bucket, sa.func.sum(entries.c.amount).label("minor"))
        .join(entries, entries.c.account_id == table.id)
        .group_by(table.agent_id, table.service, table.bucket)
    )
    booked: dict[tuple[str, str], int] = defaultdict(int)
    for row in connection.execute(statement):
        if row.bucket in _FREE:
            booked[row.agent_id, balance_service(row.service)] += int(row.minor)
        elif row.bucket == Bucket.ESCROW_LOCKED:
            booked[row.agent_id, "escrow locked"] += int(row.minor)
    found = []
    for agent, known in sorted(truth["agents"].items()):
        if agent != PLANTED_AGENT:
            true = {
                name: known["accounts"].get(name, {"micros": 0})["micros"] for name in ("casino", "trading", "domains")
            }
            true |= {"wallet": known["wallet"]["micros"], "escrow locked": known["escrow_locked"]["micros"]}
            found += [
                Balance(agent_id=agent, account=account, books=booked.get((agent, account), 0), truth=int(micros))
                for account, micros in true.items()
            ]
    return found


OUR_PREFIX = "as:"

_PAGE = 500


def find_leaks(runtime: Runtime, agents: Sequence[str], seed: int) -> tuple[list[str], int]:
    """Let each agent recall its neighbour's secret; return the leaks and the number of searches."""
    found = []
    for agent, other in zip(agents, [*agents[1:], agents[0]], strict=True):
        if agent == other:
            continue
        word = make_secret_word(other, seed)
        hits = runtime.memory.of(agent).recall(f"code word of the vault {word}", 10)
        found += [f"{agent} recalled {other}'s secret" for hit in hits if word in hit.content]
    return found, len(agents) if len(agents) > 1 else 0


def find_index_leaks(runtime: Runtime) -> tuple[list[str], int]:
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


def read_secrets(folder: Folder) -> list[str]:
    """Every secret of the stack, as text."""
    known: Mapping[str, str] = json.loads((folder.path / "secrets.json").read_text("utf-8"))
    return [*known.values(), SERVICES_KEY]


def list_places(runtime: Runtime, folder: Folder, flower_texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
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
                "\n".join(_read_value(client, key) for key in client.scan_iter()),
            )
    yield from flower_texts.items()
    lines = []
    for process in find_processes(str(folder.read_record()["tag"])):
        with suppress(psutil.Error):  # it has just ended
            lines.append(" ".join(process.cmdline()))
    yield "command lines", "\n".join(lines)


def find_secrets(secrets: Sequence[str], where: Iterator[tuple[str, str]]) -> tuple[list[str], int]:
    """The list_places in which any of `secrets` is, and how many list_places were looked at."""
    found, looked = [], 0
    for name, text in where:
        looked += 1
        if any(secret in text for secret in secrets):
            found.append(name)
    return found, looked


def list_our_keys(runtime: Runtime) -> list[RedisKey]:
    """Every key of ours: all of the state's database, and those with our prefix beside Celery's queues."""
    found = []
    databases = {runtime.settings.redis_url: "*", runtime.settings.broker_url: f"{OUR_PREFIX}*"}
    for url, pattern in databases.items():
        with redis.Redis.from_url(url) as client:
            for key in client.scan_iter(match=pattern, count=500):
                ttl = int(client.ttl(key))
                if ttl != -2:  # noqa: PLR2004 it expired in between
                    found.append(RedisKey(name=key.decode(errors="replace"), ttl_s=ttl))
    return found


def _read_value(client: redis.Redis, key: Any) -> str:
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
