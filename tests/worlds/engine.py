"""A real engine process on a free port, driven by the real client."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient, models

ROOT = Path(__file__).parents[2]
DIM = 8


class EngineProcess:
    """One `python -m deploy.local.servers.qdrant` and a client for it."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.log = data.with_suffix(".log")
        command = [sys.executable, "-m", "deploy.local.servers.qdrant", "--data", str(data), *arguments]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'shared'}{os.pathsep}{ROOT}"}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.url = self._announced()
        self.client = self.new_client()

    def _announced(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        if found is None:
            self.process.wait(10)
            self.process.stdout.close()
            raise AssertionError(f"The engine did not start: {self.log.read_text()}")
        return found.group(0)

    def new_client(self, **options: Any) -> QdrantClient:
        options = {"check_compatibility": False, "limits": httpx.Limits(max_keepalive_connections=4)} | options
        return QdrantClient(url=self.url, timeout=20, **options)

    def raw(self, method: str, path: str, **options: Any) -> httpx.Response:
        return httpx.request(method, self.url + path, timeout=20, **options)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(20)
        self.client.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


StartEngine = Callable[..., EngineProcess]


@pytest.fixture(scope="session")
def start_engine() -> Iterator[StartEngine]:
    started: list[EngineProcess] = []

    def start(data: Path, *arguments: str) -> EngineProcess:
        started.append(EngineProcess(data, "--port", "0", *arguments))
        return started[-1]

    yield start
    for engine in started:
        engine.stop()


@pytest.fixture(scope="session")
def engine(start_engine: StartEngine, tmp_path_factory: pytest.TempPathFactory) -> EngineProcess:
    return start_engine(tmp_path_factory.mktemp("qdrant") / "data")


def make_memories(client: QdrantClient, name: str = "memories") -> str:
    """A collection as the library makes it: tenant index first, text index with scoring, no global graph."""
    client.create_collection(
        name,
        vectors_config={"dense": models.VectorParams(size=DIM, distance=models.Distance.COSINE)},
        hnsw_config=models.HnswConfigDiff(m=0, payload_m=16),
    )
    tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
    text = models.TextIndexParams(type=models.TextIndexType.TEXT, scoring=True)
    kinds: dict[str, Any] = {"agent": tenant, "text": text, "at": "datetime", "version": "integer", "price": "float"}
    for field, kind in kinds.items():
        client.create_payload_index(name, field, kind)
    return name


@pytest.fixture(scope="session")
def make_collection() -> Callable[..., str]:
    return make_memories
