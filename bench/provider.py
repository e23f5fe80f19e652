"""A provider of embeddings on loopback, as a program of its own: slow by so many milliseconds, bad at a given rate.

`python -m bench.provider --latency-ms 20 --fails 0.2` prints its URL. It speaks `/v1/embeddings` and counts on
`/stats`: calls, texts, and texts for which it was paid more than once.
"""

from __future__ import annotations

import hashlib
import json
import random
import signal
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import click

from deploy.local.stack.loopback import LoopbackHandler, LoopbackServer

WIDTH = 64
RETRY_AFTER_S = 0.5
FAULTS = ("429", "500", "reset", "short", "narrow")


class EmbeddingProvider(LoopbackServer):
    """The provider with its counts."""

    def __init__(self, latency_s: float, fails: float, seed: int) -> None:
        super().__init__(_Handler)
        self._latency_s, self._fails = latency_s, fails
        self._draw, self._lock = random.Random(seed), threading.Lock()  # noqa: S311 no secret
        self._calls: Counter[str] = Counter()
        self._paid: Counter[bytes] = Counter()

    def draw_fault(self) -> str | None:
        """Return the fault of the next call, after its time has passed; None for a good call."""
        time.sleep(self._latency_s)
        with self._lock:
            found = self._draw.choice(FAULTS) if self._draw.random() < self._fails else None
            self._calls[found or "well"] += 1
        return found

    def note_paid(self, texts: list[str]) -> None:
        """Note texts that were answered well."""
        with self._lock:
            self._paid.update(hashlib.sha256(text.encode()).digest() for text in texts if text not in _QUESTIONS)

    def read_counts(self) -> dict[str, Any]:
        """Return the counts so far."""
        with self._lock:
            twice = sum(1 for count in self._paid.values() if count > 1)
            return {"calls": self._calls.total(), "by_fault": self._calls, "texts": len(self._paid), "twice": twice}


class _Handler(LoopbackHandler, BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_json(self.stub.read_counts())

    def do_POST(self) -> None:
        texts = json.loads(self.read_content())["input"]
        fault = self.stub.draw_fault()
        if fault == "reset":
            self.close_connection = True
        elif fault in {"429", "500"}:
            asks = {"retry-after": str(RETRY_AFTER_S)} if fault == "429" else {}
            self.send_json({"error": {"message": "planned"}}, int(fault), asks)
        else:
            vectors = [_make_vector(text) for text in texts]
            if fault == "short":
                vectors.pop()
            if fault == "narrow":
                vectors[-1] = vectors[-1][: WIDTH // 4]
            if fault is None:
                self.stub.note_paid(texts)
            self.send_json(
                {
                    "object": "list",
                    "model": "loopback",
                    "data": [
                        {"object": "embedding", "index": index, "embedding": vector}
                        for index, vector in enumerate(vectors)
                    ],
                    "usage": _USAGE,
                }
            )


_QUESTIONS = {"memory", "width"}
"""Asked to learn something of the provider, not paid for a memory."""
_USAGE = {"prompt_tokens": 1, "total_tokens": 1}


def _make_vector(text: str) -> list[float]:
    digest = hashlib.shake_256(text.encode()).digest(2 * WIDTH)
    return [value / 32_768 for value in struct.unpack(f"<{WIDTH}h", digest)]


@contextmanager
def start_provider(*, latency_ms: float, fails: float = 0.0, seed: int = 7) -> Iterator[str]:
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


def fetch_counts(url: str) -> dict[str, Any]:
    """Fetch the counts of the provider at `url`."""
    with urllib.request.urlopen(f"{url}/stats", timeout=30) as answer:  # noqa: S310 on this machine
        return dict(json.load(answer))


@click.command()
@click.option("--latency-ms", type=float, default=20.0, show_default=True, help="How long every call takes.")
@click.option("--fails", type=float, default=0.0, show_default=True, help="Share of calls that go wrong.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of the faults.")
def main(*, latency_ms: float, fails: float, seed: int) -> None:
    """Serve until killed; the first line of output is the URL."""
    with EmbeddingProvider(latency_ms / 1_000, fails, seed) as server:
        click.echo(server.url)
        signal.pause()


if __name__ == "__main__":
    main()
