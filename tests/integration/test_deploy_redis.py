"""Redis as docker-compose.yml sets it, with the users that scripts/secrets makes, as a real server."""

from __future__ import annotations

import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from celery import Celery
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry

from agentstate.jobs.broker import BrokerWakeUpSender, make_app
from agentstate.jobs.kinds import BULK
from agentstate.jobs.wake_ups import WakeUp
from agentstate.settings import Settings
from deploy.local.servers.redis_server import find_redis
from deploy.local.stack.ports import LOOPBACK, choose_port

ROOT = Path(__file__).parents[2]
QUEUE = "housekeeping.0"
MAXMEMORY_MB = 8


@dataclass(frozen=True)
class Server:
    port: int
    secrets: Path

    def url(self, name: str, database: int = 0) -> str:
        """The address that scripts/secrets wrote, for this server."""
        address = (self.secrets / name).read_text("utf-8").rsplit("@", 1)[0]
        return f"{address}@{LOOPBACK}:{self.port}/{database}"

    def client(self, url: str) -> redis.Redis:
        return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), decode_responses=True)


def configured(port: int, folder: Path, secrets: Path) -> Path:
    """The mounted file, with what the container gives it put here: port, folder, users, and less memory."""
    text = (ROOT / "deploy/redis/redis.conf").read_text("utf-8")
    for old, new in {
        "port 6379": f"port {port}",
        "bind * -::*": f"bind {LOOPBACK}",
        "dir /data": f"dir {folder}",
        "aclfile /run/secrets/redis_users.acl": f"aclfile {secrets}/redis_users.acl",
        "maxmemory 384mb": f"maxmemory {MAXMEMORY_MB}mb",
    }.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "redis.conf"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="agentstate-redis-") as given:
        folder = Path(given)
        secrets = folder / "secrets"
        subprocess.run([ROOT / "scripts/secrets", secrets], check=True, capture_output=True, timeout=60)
        port = choose_port("redis", asked=None, kept=None, preferred=None, taken=())
        process = subprocess.Popen(
            [find_redis(), configured(port, folder, secrets)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if "Ready to accept connections" in line:
                    break
            else:
                pytest.fail("".join(said))
            yield Server(port, secrets)
        finally:
            process.terminate()
            process.communicate(timeout=30)


@pytest.fixture
def workers(server: Server) -> Iterator[redis.Redis]:
    with server.client(server.url("agentstate_broker_url")) as client:
        client.delete(*list(client.scan_iter()) or ["nothing"])
        yield client


@pytest.fixture
def agents(server: Server) -> Iterator[redis.Redis]:
    with server.client(server.url("agents_broker_url")) as client:
        yield client


def test_nobody_gets_in_without_a_name(server: Server) -> None:
    with server.client(f"redis://{LOOPBACK}:{server.port}/0") as client, pytest.raises(AuthenticationError):
        client.ping()
    with (
        server.client(f"redis://agents:wrong@{LOOPBACK}:{server.port}/0") as client,  # pragma: allowlist secret
        pytest.raises(AuthenticationError),
    ):
        client.ping()


def test_the_health_check_may_ping_and_nothing_else(server: Server) -> None:
    with server.client(f"redis://health:none@{LOOPBACK}:{server.port}/0") as client:  # pragma: allowlist secret
        assert client.ping()
        for command in (["INFO"], ["GET", "x"], ["LLEN", QUEUE], ["CONFIG", "GET", "maxmemory"]):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command)


def test_agents_can_submit_by_plain_celery_and_by_our_application(server: Server, workers: redis.Redis) -> None:
    url = server.url("agents_broker_url")
    words = {"key": "one", "kind": "cache.refresh", "payload": {"service": "casino"}, "agent_id": "ag_1"}
    with Celery(broker=url, set_as_current=False) as plain:
        plain.send_task("agentstate.jobs.submit", kwargs=words, queue=QUEUE, ignore_result=True)
    settings = Settings.load(database_url="sqlite:///unused.db", broker_url=url)
    with make_app(settings) as ours:
        ours.send_task("agentstate.jobs.submit", kwargs=words)
    assert workers.llen(QUEUE) == 2


@pytest.mark.parametrize(
    "command",
    [
        ["FLUSHALL"],
        ["FLUSHDB"],
        ["KEYS", "*"],
        ["SCAN", "0"],
        ["GET", "as:{ag_1}:profile"],
        ["LRANGE", QUEUE, "0", "-1"],
        ["BRPOP", QUEUE, "1"],
        ["DEL", QUEUE],
        ["LPUSH", "effects.0", "x"],
        ["SADD", "_kombu.binding.effects.0", "x"],
        ["PUBLISH", "/0.celery.pidbox", "shutdown"],
        ["EVAL", "return 1", "0"],
        ["CONFIG", "GET", "maxmemory"],
        ["ACL", "LIST"],
        ["SHUTDOWN"],
    ],
    ids=" ".join,
)
def test_agents_can_do_nothing_else(agents: redis.Redis, command: list[str]) -> None:
    with pytest.raises(NoPermissionError):
        agents.execute_command(*command)


def test_a_transaction_is_no_way_round(agents: redis.Redis) -> None:
    pipeline = agents.pipeline().lpush("effects.0", "x")
    with pytest.raises(NoPermissionError):
        pipeline.execute()


def test_workers_can_do_all_that_ours_does(server: Server, workers: redis.Redis) -> None:
    settings = Settings.load(database_url="sqlite:///unused.db", broker_url=server.url("agentstate_broker_url"))
    waker = BrokerWakeUpSender(settings)
    waker.send_wake_ups([WakeUp("agentstate.cache.refresh", "cache", 1, uuid.uuid4())])
    kind = next(iter(BULK))
    waker.send_bulk_wake_up(kind)
    waker.clear_bulk_wake_up(kind)
    assert waker.count_waiting("cache", 1) == 1
    assert workers.llen(f"{BULK[kind].queue}.0") == 1
    assert workers.config_get("maxmemory-policy") == {"maxmemory-policy": "volatile-ttl"}
    assert workers.info("persistence")["aof_enabled"] == 1


@pytest.mark.parametrize(
    "command",
    [["FLUSHALL"], ["KEYS", "*"], ["CONFIG", "SET", "maxmemory", "1"], ["SHUTDOWN"], ["ACL", "LIST"]],
    ids=" ".join,
)
def test_workers_cannot_administer(workers: redis.Redis, command: list[str]) -> None:
    with pytest.raises(NoPermissionError):
        workers.execute_command(*command)


def test_under_memory_pressure_the_queues_stay_and_what_has_a_lifetime_goes(workers: redis.Redis) -> None:
    for number in range(200):
        workers.lpush("effects.0", f"message {number}")
    before = workers.info("stats")["evicted_keys"]
    for number in range(MAXMEMORY_MB * 40):
        workers.set(f"as:{{ag_{number}}}:episodes", "x" * 50_000, ex=600 + number)
    assert workers.info("stats")["evicted_keys"] > before
    assert workers.llen("effects.0") == 200
    workers.delete(*list(workers.scan_iter(match="as:*")))
