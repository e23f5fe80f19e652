"""The process table of the one-machine stack: its processes in start order, with their commands and settings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from deploy.local.servers import postgres_server, redis_server
from deploy.local.servers.postgres_server import PostgresServer, find_postgres
from deploy.local.servers.redis_server import RedisServer, find_redis
from deploy.local.stack.folder import ROOT, Folder, write_private
from deploy.local.stack.ports import LOOPBACK, choose_port
from deploy.local.stack.spec import ProcessSpec, file_is_there, http_answers

SERVERS = (redis_server.NAME, postgres_server.NAME, "qdrant", "sandbox")
EVERYTHING = (*SERVERS, "migrate", "worker-io", "worker-money", "beat", "flower")
"""All names that a selection may hold, in start order; `worker-money` stands for all of its numbered processes."""

IO_QUEUES = "embedding,summarization,cache"
"""Work that waits for somebody else: one process with threads."""
MONEY_QUEUES = "reconciliation,effects,snapshots,housekeeping"
"""Work on the books: single-threaded processes, so that a stop never waits for a pool."""

PREFERRED_PORTS = {"flower": 5555}
"""Ports that people expect. The servers have none, so that an installed one is never mistaken for ours."""

HEARTBEAT_VARIABLE = "WORKERS_HEARTBEAT_FILE"
"""Environment variable with the file that a worker or beat touches while it lives."""
BROKER_DATABASE, STATE_DATABASE = 0, 1
"""Numbered Redis databases of the Celery queues and of everything else."""
SERVICES_KEY = "pf_test_local"
"""What the sandbox takes for a key."""

SETTINGS_OF = {
    "redis": ("AGENTSTATE_REDIS_URL", "AGENTSTATE_BROKER_URL"),
    "postgres": ("AGENTSTATE_DATABASE_URL",),
    "qdrant": ("AGENTSTATE_QDRANT_URL", "AGENTSTATE_QDRANT_API_KEY"),
    "sandbox": ("AGENTSTATE_SERVICES_URL", "AGENTSTATE_SERVICES_API_KEY", "AGENTSTATE_EFFECTS_SECRET"),
    "flower": ("AGENTSTATE_FLOWER_PORT", "AGENTSTATE_FLOWER_BASIC_AUTH"),
}
"""Which settings lead to which process."""

_STAGE = dict.fromkeys(SERVERS, 0) | {"migrate": 1, "worker-io": 2, "worker-money": 2, "beat": 2, "flower": 2}


@dataclass(frozen=True, kw_only=True)
class StackChoices:
    """The user's choices about a stack."""

    only: tuple[str, ...] = EVERYTHING
    """Names out of `EVERYTHING`."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Port by process name; the others are found."""
    money_workers: int = 2
    io_threads: int = 8
    seed: int = 7
    """Seed of the sandbox's chance."""
    redis_server: str | None = None
    postgres_bin: Path | None = None


class ProcessTable:
    """The processes of one data folder, with ports chosen and secrets made. Reading `specs` starts nothing."""

    def __init__(self, folder: Folder, tag: str, choices: StackChoices) -> None:
        self._folder, self._tag, self._choices = folder, tag, choices
        kept = self._folder.read_record().get("ports", {})
        ports: dict[str, int] = {}
        for name in (*SERVERS, "flower"):
            if name in self:
                ports[name] = choose_port(
                    name,
                    asked=self._choices.ports.get(name),
                    kept=kept.get(name),
                    preferred=PREFERRED_PORTS.get(name),
                    taken=ports.values(),
                )
        self.ports = ports

    def __contains__(self, name: str) -> bool:
        """Whether the process is in the selection."""
        return name in self._choices.only

    @cached_property
    def redis(self) -> RedisServer:
        """The Redis server."""
        return RedisServer(self._folder, self._tag, self.ports["redis"], find_redis(self._choices.redis_server))

    @cached_property
    def postgres(self) -> PostgresServer:
        """The Postgres server."""
        return PostgresServer(
            self._folder, self._tag, self.ports["postgres"], find_postgres(self._choices.postgres_bin)
        )

    @cached_property
    def settings(self) -> dict[str, str]:
        """`AGENTSTATE_*` settings that lead to the selected servers."""
        secret = self._folder.get_secret
        values: dict[str, Callable[[], tuple[str, ...]]] = {
            "redis": lambda: (self.redis.url(STATE_DATABASE), self.redis.url(BROKER_DATABASE)),
            "postgres": lambda: (self.postgres.url(),),
            "qdrant": lambda: (self.urls["qdrant"], secret("qdrant_api_key")),
            "sandbox": lambda: (f"{self.urls['sandbox']}/api/v1", SERVICES_KEY, secret("effects_secret")),
            "flower": lambda: (str(self.ports["flower"]), f"agent:{secret('flower_password')}"),
        }
        return {
            setting: value
            for name, settings in SETTINGS_OF.items()
            if name in self
            for setting, value in zip(settings, values[name](), strict=True)
        }

    @cached_property
    def urls(self) -> dict[str, str]:
        """Addresses without secrets, for people."""
        schemes = {"redis": "redis", "postgres": "postgresql"}
        return {name: f"{schemes.get(name, 'http')}://{LOOPBACK}:{port}" for name, port in self.ports.items()}

    def process_specs(self) -> list[ProcessSpec]:
        """The selected processes in start order."""
        makers: dict[str, Callable[[], list[ProcessSpec]]] = {
            "redis": lambda: [self.redis.process_spec()],
            "postgres": lambda: [self.postgres.process_spec()],
            "qdrant": self._qdrant_spec,
            "sandbox": lambda: [
                self._http_server_spec("sandbox", "sandbox", "/healthz", "--seed", str(self._choices.seed))
            ],
            "migrate": lambda: [self._python_spec("migrate", "agentstate", "migrate", once=True)],
            "worker-io": self._io_worker_spec,
            "worker-money": self._money_worker_specs,
            "beat": self._beat_spec,
            "flower": self._flower_spec,
        }
        return [spec for name in EVERYTHING if name in self for spec in makers[name]()]

    def _qdrant_spec(self) -> list[ProcessSpec]:
        key = self._folder.data_of("qdrant").with_name("qdrant.key")
        spec = self._http_server_spec("qdrant", "servers.qdrant", "/readyz", "--api-key-file", str(key))
        return [replace(spec, prepare=lambda: write_private(key, self._folder.get_secret("qdrant_api_key") + "\n"))]

    def _http_server_spec(self, name: str, module: str, health: str, *arguments: str) -> ProcessSpec:
        port = self.ports[name]
        data = ("--data", str(self._folder.data_of(name)), "--host", LOOPBACK, "--port", str(port))
        ready = http_answers(f"{self.urls[name]}{health}")
        return self._python_spec(name, f"deploy.local.{module}", *data, *arguments, ready=ready, port=port)

    def _io_worker_spec(self) -> list[ProcessSpec]:
        threads = str(self._choices.io_threads)
        arguments = ("--queues", IO_QUEUES, "--pool", "threads", "--concurrency", threads, "--name", "io")
        return [self._worker_spec("worker-io", *arguments)]

    def _money_worker_specs(self) -> list[ProcessSpec]:
        return [
            self._worker_spec(f"worker-money-{n}", "--queues", MONEY_QUEUES, "--pool", "solo", "--name", f"money-{n}")
            for n in range(1, self._choices.money_workers + 1)
        ]

    def _worker_spec(self, name: str, *arguments: str) -> ProcessSpec:
        return self._heartbeat_spec(name, "worker", *arguments)

    def _beat_spec(self) -> list[ProcessSpec]:
        return [self._heartbeat_spec("beat", "beat")]

    def _heartbeat_spec(self, name: str, *command: str) -> ProcessSpec:
        """A process that touches a file when it is ready, and from then on."""
        heartbeat = self._folder.data_of(name) / "heartbeat"
        spec = self._python_spec(name, "workers", *command, ready=file_is_there(heartbeat))
        return replace(
            spec, env={HEARTBEAT_VARIABLE: str(heartbeat)}, prepare=lambda: heartbeat.unlink(missing_ok=True)
        )

    def _flower_spec(self) -> list[ProcessSpec]:
        ready = http_answers(f"{self.urls['flower']}/healthcheck")
        return [self._python_spec("flower", "workers", "flower", ready=ready, port=self.ports["flower"])]

    def _python_spec(self, process: str, module: str, *arguments: str, **options: object) -> ProcessSpec:
        stage = _STAGE["worker-money" if process.startswith("worker-money") else process]
        command = (sys.executable, "-m", module, *arguments)
        return ProcessSpec(name=process, command=command, stage=stage, **options)  # type: ignore[arg-type] # fields of ProcessSpec


def python_path(inherited: str | None) -> str:
    """Return a `PYTHONPATH` with which processes find this tree, also beside an installed package."""
    own = [str(ROOT / "shared"), str(ROOT)]
    return ":".join([*own, *(part for part in (inherited or "").split(":") if part and part not in own)])
