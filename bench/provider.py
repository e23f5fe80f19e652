"""A provider of embeddings on loopback, as a program of its own: slow by so many milliseconds, bad at a given rate.

`python -m bench.provider --latency-ms 20 --fails 0.2` prints its URL. It speaks `/v1/embeddings` and counts on
`/stats`: calls, texts, and texts for which it was paid more than once.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import click

WIDTH = 64
RETRY_AFTER_S = 0.5
FAULTS = ("429", "500", "reset", "short", "narrow")


class Provider(ThreadingHTTPServer):
    """The server with its counts."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, latency_s: float, fails: float, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._latency_s, self._fails = latency_s, fails
        self._draw, self._lock = random.Random(seed), threading.Lock()  # noqa: S311 no secret
        self._calls: Counter[str] = Counter()
        self._paid: Counter[bytes] = Counter()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed meanwhile is part of the plan."""

    def fault(self) -> str | None:
        """What goes wrong with the next call, after its time has passed; None when nothing does."""
        time.sleep(self._latency_s)
        with self._lock:
            found = self._draw.choice(FAULTS) if self._draw.random() < self._fails else None
            self._calls[found or "well"] += 1
        return found

    def pay(self, texts: list[str]) -> None:
        """Note texts that were answered well."""
        with self._lock:
            self._paid.update(hashlib.sha256(text.encode()).digest() for text in texts if text not in _QUESTIONS)

    def stats(self) -> dict[str, Any]:
        """What was counted so far."""
        with self._lock:
            twice = sum(1 for count in self._paid.values() if count > 1)
            return {"calls": self._calls.total(), "by_fault": self._calls, "texts": len(self._paid), "twice": twice}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name
        """Nothing is printed."""

    def do_GET(self) -> None:
        self._answer(200, cast("Provider", self.server).stats())

    def do_POST(self) -> None:
        provider = cast("Provider", self.server)
        texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
        fault = provider.fault()
        if fault == "reset":
            self.close_connection = True
        elif fault in {"429", "500"}:
            self._answer(int(fault), {"error": {"message": "planned"}}, {"retry-after": str(RETRY_AFTER_S)})
        else:
            vectors = [_vector(text) for text in texts]
            if fault == "short":
                vectors.pop()
            if fault == "narrow":
                vectors[-1] = vectors[-1][: WIDTH // 4]
            if fault is None:
                provider.pay(texts)
            self._answer(200, {"object": "list", "model": "loopback", "data": _data(vectors), "usage": _USAGE})

    def _answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        sent = {"content-type": "application/json", "content-length": str(len(data))}
        for name, value in {**sent, **(headers if status == 429 and headers else {})}.items():  # noqa: PLR2004 429 asks
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


_QUESTIONS = {"memory", "width"}
"""Asked to learn something of the provider, not paid for a memory."""
_USAGE = {"prompt_tokens": 1, "total_tokens": 1}


def _data(vectors: list[list[float]]) -> list[dict[str, Any]]:
    return [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]


def _vector(text: str) -> list[float]:
    digest = hashlib.shake_256(text.encode()).digest(2 * WIDTH)
    return [value / 32_768 for value in struct.unpack(f"<{WIDTH}h", digest)]


@contextmanager
def provider(*, latency_ms: float, fails: float = 0.0, seed: int = 7) -> Iterator[str]:
    """A provider as a process of its own, while the block runs; gives its root URL."""
    options = ["--latency-ms", str(latency_ms), "--fails", str(fails), "--seed", str(seed)]
    command = [sys.executable, "-m", "bench.provider", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 this very module
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def stats(url: str) -> dict[str, Any]:
    """What the provider at `url` has counted."""
    with urllib.request.urlopen(f"{url}/stats", timeout=30) as answer:  # noqa: S310 on this machine
        return dict(json.load(answer))


@click.command()
@click.option("--latency-ms", type=float, default=20.0, show_default=True, help="How long every call takes.")
@click.option("--fails", type=float, default=0.0, show_default=True, help="Share of calls that go wrong.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of the faults.")
def main(*, latency_ms: float, fails: float, seed: int) -> None:
    """Serve until killed; the first line of output is the URL."""
    with Provider(latency_ms / 1_000, fails, seed) as server:
        click.echo(f"http://127.0.0.1:{server.server_address[1]}")
        server.serve_forever()


if __name__ == "__main__":
    main()
