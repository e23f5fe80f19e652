"""A Redis server of a test's own, with options that the shared one does not have."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.local.servers.redis_server import find_redis
from deploy.local.stack.ports import choose_port


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[str]:
    """A Redis server of its own with these options; its URL."""
    port = choose_port("redis", asked=None, kept=None, preferred=None, taken=())
    command = [
        str(find_redis()),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(folder),
        "--save",
        "",
        *options,
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        url = f"redis://127.0.0.1:{port}/0"
        try:
            wait_for(url)
            yield url
        finally:
            # One whose last snapshot failed refuses to stop.
            server.kill()


def wait_for(url: str) -> None:
    with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0)) as client:
        for _ in range(500):
            try:
                client.ping()
            except redis.RedisError:
                time.sleep(0.01)
            else:
                return
    raise AssertionError(f"no server came up at {url}")
