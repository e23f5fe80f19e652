"""The index filled anew and moved to another model by the real commands, which are killed at random, as the engine is.

Somebody searches all the while. The same command is given again until it comes to its end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Self
from uuid import UUID

import sqlalchemy as sa

from agentstate.errors import AgentStateError
from agentstate.memory.facts.records import NewMemory
from agentstate.runtime import Runtime
from agentstate.settings import ENV_FILE_VARIABLE
from agentstate.store.tables import index_builds
from deploy.local.stack.folder import ROOT
from deploy.local.stack.results import Row, at_least, equal_to
from tests.chaos.driver import Say
from tests.chaos.memory import audit
from tests.chaos.world import World

LONGEST_S = 0.3
"""Something is killed at most so long after the build has come to the point that was drawn."""
LOOKS_EVERY_S = 0.01
OTHER_MODEL = "chaos-2"


@dataclass
class Siege:
    """One command that is killed again and again, and what was seen of it."""

    world: World
    runtime: Runtime
    space: str
    """The name of the vector space that is filled."""
    words: tuple[str, ...]
    draw: random.Random
    kills: int = 0
    engine_kills: int = 0
    failed: int = 0
    """Runs that the engine's death ended."""
    builds: set[str] = field(default_factory=set)
    """Every collection that was seen being filled."""
    forgotten: int = 0
    """Memories that one run had noted as written, and the next began without."""

    def until_done(self, kills: int, total: int) -> dict[str, Any]:
        """Give the command until it ends well; its document.

        It and the engine die in turn, so many times each, where the draw has it on the way through `total` memories;
        the last time about when the collections change places.
        """
        points = [*sorted(self.draw.randrange(total) for _ in range(2 * kills - 1)), total]
        while True:
            noted = self._noted()
            told = self._once(points)
            if told is None and self._is_done():
                told = {"build": {"written": self._noted(), "earlier": noted}, "compared": {"missing": 0}}
            if told is not None:
                self.forgotten += max(noted - told["build"]["earlier"], 0)
                return told
            self.forgotten += max(noted - self._noted(), 0)

    def _once(self, points: list[int]) -> dict[str, Any] | None:
        line = [sys.executable, "-m", "agentstate", "index", *self.words, "--json"]
        env = os.environ | {ENV_FILE_VARIABLE: str(self.world.folder.env_file)}
        env["PYTHONPATH"] = f"{ROOT / 'shared'}:{ROOT}"
        with subprocess.Popen(line, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while points and process.poll() is None:
                time.sleep(LOOKS_EVERY_S)
                if self._noted() >= points[0] and self.builds:
                    time.sleep(self.draw.uniform(0, LONGEST_S))
                    self._kill(process, engine=len(points) % 2 == 1)
                    del points[0]
                    break
            out, _ = process.communicate()
        if process.returncode == 0:
            return dict(json.loads(out))
        self.failed += process.returncode > 0
        return None

    def _kill(self, process: subprocess.Popen[bytes], *, engine: bool) -> None:
        if not engine:
            process.kill()
            self.kills += process.wait() == -signal.SIGKILL
            return
        self.world.kill_and_wait("qdrant")
        self.engine_kills += 1

    def _noted(self) -> int:
        """How many memories the build has noted as written."""
        rows = self._rows()
        self.builds |= {row.collection for row in rows}
        return max((row.written for row in rows), default=0)

    def _is_done(self) -> bool:
        """Whether a command that was killed had come to its end just before."""
        return any(row.state == "serving" for row in self._rows())

    def _rows(self) -> Sequence[sa.Row[Any]]:
        query = sa.select(index_builds).where(index_builds.c.space == self.space)
        with self.runtime.store.read_connection() as connection:
            return connection.execute(query).all()


class Searching:
    """Somebody who asks for one memory after the other, in a thread of its own."""

    def __init__(self, runtime: Runtime, acknowledged: dict[UUID, NewMemory], seed: int) -> None:
        self._runtime, self._items = runtime, list(acknowledged.items())
        self._draw = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.asked = 0
        self.not_found = 0
        self.by_words_alone = 0
        """Answers without the index, while the engine was dead."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.05):
            memory, item = self._draw.choice(self._items)
            self.asked += 1
            try:
                found = self._runtime.memory.of(item.agent_id).recall(item.content.split()[0], 10)
            except AgentStateError:
                self.not_found += 1
                continue
            self.by_words_alone += found.degraded is not None
            self.not_found += all(hit.id != memory for hit in found)


def rows(
    world: World, runtime: Runtime, acknowledged: dict[UUID, NewMemory], *, kills: int, seed: int,
    say: Say,
) -> Iterator[Row]:  # fmt: skip
    """Rebuild and switch the model, killed so many times each; what was found."""
    other = runtime.settings.model_copy(update={"embedding_model": OTHER_MODEL})
    with closing(Runtime(other)) as moved:
        for verb, words, after in (
            ("rebuild", ("rebuild",), runtime),
            ("switch-model", ("switch-model", "--model", OTHER_MODEL), moved),
        ):
            siege = Siege(world, runtime, after.index.space, words, random.Random(seed))
            with Searching(runtime, acknowledged, seed) as searching:
                told = siege.until_done(kills, len(acknowledged))
            say(f"{verb}: killed {siege.kills} times, and the engine {siege.engine_kills} times")
            # What the engine had lost, if anything, is with the workers again.
            found = [*_of(siege, searching, told, after), *audit.rows(after, acknowledged, seed)]
            yield from (replace(row, name=f"{verb}: {row.name}") for row in found)


def _of(siege: Siege, searching: Searching, told: dict[str, Any], after: Runtime) -> Iterator[Row]:
    build, compared = told["build"], told["compared"]
    yield Row("kill -9 of the command", siege.kills, "kills")
    yield Row("kill -9 of the engine", siege.engine_kills, "kills", reference=f"{siege.failed} runs ended by it")
    yield equal_to("begun anew", len(siege.builds) - 1, 0, "times")
    yield equal_to("written, noted, and not gone on from", siege.forgotten, 0, "memories")
    yield Row(
        "written by the last run", build["written"] - build["earlier"], "memories", reference=f"of {build['written']:,}"
    )
    yield equal_to("found missing when it was switched", compared["missing"], 0, "memories")
    yield equal_to("collections left over", len(after.index.collections.list_generations()) - 1, 0, "collections")
    yield at_least(
        "searches meanwhile", searching.asked, 1, "searches", reference=f"{searching.by_words_alone} by words"
    )
    yield equal_to("not found meanwhile", searching.not_found, 0, "searches")
