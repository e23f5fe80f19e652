"""`agentstate index rebuild` as a real process, killed with SIGKILL at every turn of its way.

Search answers all the while, the same command again goes on where it was, and in the end each memory is there once.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from agentstate.memory.facts.records import NewMemory
from agentstate.memory.index.qdrant_index import memories_in
from agentstate.memory.index.verify import IndexVerifier
from agentstate.runtime import Runtime
from agentstate.settings import PREFIX, Settings
from agentstate.store.tables import index_builds, memories
from tests.stubs.provider_server import ProviderServer
from tests.stubs.turnstile import Turnstile

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
COUNT, SLICE = 60, 10
CONTENTS = [f"fact {n}" for n in range(COUNT)]
_numbers = itertools.count(1)

COMMANDS = """
import json, os, sys
import agentstate.memory.index.rebuild, agentstate.memory.index.verify, qdrant_client
import agentstate.providers.embedding.openai_embedder
from agentstate.cli.root import cli

for line in sys.stdin:
    *words, answer = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(answer, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        cli(words, prog_name="agentstate")
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Starts each command as a process of its own, which need not import everything again."""


@dataclass
class Shop:
    """An index with a turnstile before it, and commands that are started as processes."""

    runtime: Runtime
    turnstile: Turnstile
    provider: ProviderServer
    starter: Any
    answer: Path

    def command(self, *words: str, deadly: tuple[str, str, int, bool] | None = None) -> dict[str, Any]:
        """Run `agentstate index ...`; its document, unless it was killed as it was to be."""
        self.turnstile.written.clear()
        self.turnstile.deadly, self.turnstile.client = deadly, Future()
        self.starter.stdin.write(json.dumps(["index", *words, "--json", str(self.answer)]) + "\n")
        self.starter.stdin.flush()
        self.turnstile.client.set_result(int(self.starter.stdout.readline()))
        code = int(self.starter.stdout.readline())
        assert code == (-signal.SIGKILL if deadly else 0)
        return {} if deadly else json.loads(self.answer.read_text())

    @property
    def written(self) -> int:
        """Points that the last command wrote."""
        return sum(count for _, count in self.turnstile.written)

    def noted(self) -> int:
        """Memories that the build under way has noted as written."""
        with self.runtime.store.read_connection() as connection:
            return connection.execute(sa.select(index_builds.c.written)).scalar_one()

    def paid(self) -> int:
        """Texts of memories that the provider embedded, each as often as it did."""
        given = [text for seen in self.provider.seen for text in seen.body["input"]]
        return sum(text in CONTENTS for text in given)

    def finds(self) -> bool:
        """Whether recall finds a memory by its meaning and by its words."""
        found = self.runtime.memory.of("a").recall(f"the fact {COUNT - 1}")
        return bool(found) and {"dense", "keyword"} <= set(found.retrievers) and not found.degraded

    def sound(self, runtime: Runtime) -> bool:
        """Whether the index of `runtime` has each memory once, and there is nothing else."""
        with runtime.store.read_connection() as connection:
            stored = Counter(connection.execute(sa.select(memories.c.id)).scalars())
        with runtime.index.collections.open_ready_client() as client:
            points = Counter(memories_in(client, runtime.index.space))
        return points == stored and IndexVerifier(runtime.store, runtime.index).compare_all(repair=False).is_sound


@pytest.fixture
def shop(settings: Settings, settings_env: dict[str, str], tmp_path: Path) -> Iterator[Shop]:
    with ProviderServer() as provider, Turnstile(urlsplit(settings.qdrant_url).port or 0) as turnstile:
        changes: dict[str, Any] = {
            "embedder": "openai",
            "embedding_model": f"killed-{os.getpid()}-{next(_numbers)}",
            "embedding_batch": SLICE,
            "openai_base_url": f"{provider.url}/v1",
            "openai_api_key": "pf_test_openai",  # pragma: allowlist secret
        }
        runtime = Runtime(Settings.load(**{**settings.model_dump(exclude_none=True), **changes}))
        env = settings_env | {PREFIX + name.upper(): str(value) for name, value in changes.items()}
        env |= {PREFIX + "QDRANT_URL": turnstile.url, "PYTHONPATH": f"{ROOT / 'shared'}:{ROOT}"}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with (
            closing(runtime),
            subprocess.Popen([sys.executable, "-c", COMMANDS], cwd=ROOT, env=env, **pipes) as starter,
        ):
            runtime.memory.remember_many([NewMemory(agent_id="a", content=content) for content in CONTENTS])
            runtime.embedding.run_until_idle()
            yield Shop(runtime, turnstile, provider, starter, tmp_path / "answer.json")
            for name in runtime.index.collections.list_generations():
                runtime.index.collections.drop_collection(name)


def test_a_rebuild_that_is_killed_at_every_turn_goes_on_and_ends_whole(shop: Shop) -> None:
    place = shop.runtime.index.collections
    first = place.list_generations()
    upsert, alias, removal = r"/collections/[^/]+/points\?", "/collections/aliases", r"/collections/[^/?]+--1(\?|$)"
    # The fourth slice is written, and not noted: three are kept.
    shop.command("rebuild", deadly=("PUT", upsert, 4, True))
    assert (shop.noted(), place.current_collection(), shop.finds()) == (3 * SLICE, first[0], True)
    # All are written, and the switch does not come.
    shop.command("rebuild", deadly=("POST", alias, 1, False))
    assert (shop.written, shop.noted(), place.current_collection(), shop.finds()) == (
        COUNT - 3 * SLICE,
        COUNT,
        first[0],
        True,
    )
    # It was switched, and the old collection stays.
    shop.command("rebuild", deadly=("DELETE", removal, 1, False))
    assert (shop.written, len(place.list_generations()), shop.finds()) == (0, 2, True)
    assert place.current_collection() != first[0]
    build = shop.command("rebuild")["build"]
    assert (shop.written, build["resumed"], build["earlier"], build["written"]) == (0, True, COUNT, COUNT)
    assert place.list_generations() == [build["collection"]] == [place.current_collection()]
    assert shop.finds()
    assert shop.sound(shop.runtime)
    assert shop.paid() == COUNT, "no vector was paid for again"
