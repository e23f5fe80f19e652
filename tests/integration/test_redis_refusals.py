"""A Redis that answers and refuses is as away as one that is silent: everything goes on, and errors are ours."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from agentstate.agent import Fleet
from agentstate.doctor.redis_server import check_version
from agentstate.doctor.system import System
from agentstate.errors import AgentStateError, ConfigurationError, RedisUnavailable
from agentstate.jobs.broker import BrokerWakeUpSender, make_app
from agentstate.memory.episodes import recent
from agentstate.runtime import Runtime
from agentstate.settings import Settings
from agentstate.store.redis_client import redis_unavailable
from tests.stubs.proxy import Proxy
from tests.stubs.redis_server import redis_server
from workers.readiness import require_usable_broker


def _run_out_of_disk(client: redis.Redis, folder: Path) -> None:
    """A snapshot that failed, as on a full disk: writes are refused until one succeeds."""
    client.config_set("save", "3600 1")
    client.config_set("stop-writes-on-bgsave-error", "yes")
    client.set("something", "new")
    # A folder in its place: the snapshot cannot be put there.
    (folder / "dump.rdb").mkdir()
    client.bgsave()
    for _ in range(2_000):
        if client.info("persistence")["rdb_last_bgsave_status"] == "err":
            return
    raise AssertionError("the snapshot did not fail")


LACKS = ("-zadd", "-evalsha", "-eval", "-set", "-zrevrangebyscore", "-hset", "-xadd")
REFUSALS: dict[str, tuple[str, Callable[[redis.Redis, Path], Any]]] = {
    "MISCONF": ("free some space", _run_out_of_disk),
    "OOM": ("maxmemory", lambda client, _: client.config_set("maxmemory", "1")),
    "READONLY": ("primary", lambda client, _: client.replicaof("127.0.0.1", "1")),
    "NOPERM": ("right to the command", lambda client, _: client.execute_command("ACL", "SETUSER", "default", *LACKS)),
    "CLUSTERDOWN": ("Redis Cluster", lambda client, _: None),
}  # fmt: skip


@pytest.fixture(params=sorted(REFUSALS))
def refusing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The URL of a server that refuses what we want, and what its error says."""
    name = request.param
    remedy, refuse = REFUSALS[name]
    options = ("--cluster-enabled", "yes") if name == "CLUSTERDOWN" else ()
    folder = tmp_path / "redis"
    folder.mkdir()
    with redis_server(folder, *options) as url:
        with redis.Redis.from_url(url) as client:
            refuse(client, folder)
        yield url, remedy


def test_everything_goes_on_while_redis_refuses(
    refusing: tuple[str, str], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, remedy = refusing
    monkeypatch.setattr(recent, "REST_S", 0.0)
    settings = Settings.load(database_url=database_url, redis_url=url, broker_url=url, embedder="lexical")
    runtime = Runtime(settings)
    agent = Fleet(runtime).agent("ag_refused")
    for n in range(3):
        agent.episodes.record("bet", {"n": n})
        agent.profile.set_field("mood", n)
        agent.updates.publish_update("moved", n)
        agent.memory.remember(f"The vault opens at {n}")
        agent.jobs.submit("cache.refresh", {"service": "casino"}, dedupe_key=f"k{n}")
    assert [episode.payload["n"] for episode in agent.episodes.get_recent(10)] == [2, 1, 0]
    assert agent.profile.get_field("mood") == 2
    assert [update.value for update in agent.updates.read_since(0)] == [0, 1, 2]
    with pytest.raises(RedisUnavailable, match=remedy):
        _drop_copy(runtime)
    runtime.close()


def _drop_copy(runtime: Runtime) -> None:
    copies = recent.RecentEpisodes(runtime.redis)
    copies.push_episodes("ag_x", [], 1, kept=10)
    copies.fill_copy("ag_x", list)
    copies.drop_copy("ag_x")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (redis.exceptions.BusyLoadingError("LOADING Redis is loading the dataset in memory"), "LOADING"),
        (redis.exceptions.MovedError("1234 127.0.0.1:7001"), "1234"),
        (redis.exceptions.NoPermissionError("this user has no permissions to run the 'zadd' command"), "'zadd'"),
        (redis.exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"), "free some space"),
        (redis.exceptions.ResponseError("MOVED 1234 127.0.0.1:7001"), "Redis Cluster"),
        (redis.exceptions.TimeoutError("Timeout reading from socket"), "does not answer"),
        (redis.exceptions.AuthenticationError("invalid username-password pair"), "password"),
        (redis.exceptions.ConnectionError(""), "ConnectionError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_of_redis_says_what_it_was_and_what_to_do(error: redis.RedisError, told: str) -> None:
    found = redis_unavailable(error, "durable state is unaffected.")
    assert told in found.message
    assert found.message.endswith("durable state is unaffected.")
    assert found.retryable


def test_a_cluster_is_refused_by_settings_workers_and_doctor(tmp_path: Path) -> None:
    for scheme in ("redis+cluster", "rediscluster"):
        with pytest.raises(ConfigurationError, match="Redis Cluster cannot be used"):
            Settings.load(database_url="sqlite:///x.db", redis_url=f"{scheme}://h:1/0")
    with redis_server(tmp_path, "--cluster-enabled", "yes") as url:
        settings = Settings.load(database_url="sqlite:///x.db", redis_url=url, broker_url=url)
        with pytest.raises(ConfigurationError, match="Redis Cluster"):
            require_usable_broker(settings)
        with System(lambda: settings, env_file=None, workers_timeout_s=0) as system:
            finding = check_version(system, url)
        assert (str(finding.verdict), "Redis Cluster" in finding.found) == ("fail", True)


# TLS


class TlsProxy(Proxy):
    """A server with a certificate before Redis; counts what was sent to it in clear."""

    def __init__(self, port: int, certificate: Path, key: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self.read = bytearray()
        super().__init__("127.0.0.1", port)

    def _serve(self, client: Any) -> None:
        with suppress(OSError):
            super()._serve(self._context.wrap_socket(client, server_side=True))

    def _pump(self, source: Any, target: Any) -> None:
        if isinstance(source, ssl.SSLSocket):
            with suppress(OSError):
                while data := source.recv(65_536):
                    self.read += data
                    target.sendall(data)
        else:
            super()._pump(source, target)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """A certificate of this machine's name, and somebody else's; each with its key."""
    folder = tmp_path_factory.mktemp("tls")
    found = {}
    for name, subject, alternative in (
        ("ours", "localhost", "IP:127.0.0.1"),
        ("foreign", "evil.test", "DNS:evil.test"),
    ):
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={subject}"]
        command += ["-addext", f"subjectAltName={alternative}", "-out", str(certificate), "-keyout", str(key)]
        subprocess.run(command, check=True, capture_output=True)
        found[name] = (certificate, key)
    return found


def _ping_with_client(settings: Settings) -> None:
    runtime = Runtime(settings)
    try:
        runtime.redis.ping()
    finally:
        runtime.close()


def _connect_with_celery(settings: Settings) -> None:
    app = make_app(settings)
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
            connection.default_channel.client.ping()
    finally:
        app.close()


def _count_with_sender(settings: Settings) -> None:
    BrokerWakeUpSender(settings).count_waiting("cache", 0)


CLIENTS = [_ping_with_client, _connect_with_celery, _count_with_sender]


@pytest.mark.parametrize("connect", CLIENTS)
def test_a_server_with_somebody_elses_certificate_gets_no_password(
    redis_url: str, certificates: dict[str, tuple[Path, Path]], connect: Callable[[Settings], None], tmp_path: Path
) -> None:
    server = urlsplit(redis_url)
    for certificate, options in (
        ("foreign", ""),
        ("ours", ""),
        ("foreign", f"?ssl_ca_certs={certificates['foreign'][0]}"),
    ):
        with TlsProxy(server.port or 0, *certificates[certificate]) as wire:
            url = f"rediss://:{server.password}@127.0.0.1:{wire.port}/0{options}"
            settings = Settings.load(database_url=f"sqlite:///{tmp_path}/x.db", redis_url=url, broker_url=url)
            with pytest.raises(
                (redis.RedisError, OSError, AgentStateError, Exception), match=r"certificate|CERTIFICATE"
            ):
                connect(settings)
            assert bytes(wire.read) == b""


@pytest.mark.parametrize("connect", CLIENTS)
@pytest.mark.parametrize("spelling", ["", "&ssl_cert_reqs=CERT_REQUIRED", "&ssl_cert_reqs=required"])
def test_a_certificate_that_is_known_is_taken_in_either_spelling(
    redis_url: str,
    certificates: dict[str, tuple[Path, Path]],
    connect: Callable[[Settings], None],
    spelling: str,
    tmp_path: Path,
) -> None:
    server = urlsplit(redis_url)
    with TlsProxy(server.port or 0, *certificates["ours"]) as wire:
        url = f"rediss://:{server.password}@127.0.0.1:{wire.port}/0?ssl_ca_certs={certificates['ours'][0]}{spelling}"
        settings = Settings.load(database_url=f"sqlite:///{tmp_path}/x.db", redis_url=url, broker_url=url)
        connect(settings)
        assert b"AUTH" in bytes(wire.read) or b"HELLO" in bytes(wire.read)


def test_a_spelling_that_no_client_knows_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="ssl_cert_reqs is required"):
        Settings.load(database_url="sqlite:///x.db", redis_url="rediss://h:1/0?ssl_cert_reqs=maybe")
