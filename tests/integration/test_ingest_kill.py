"""A transcript taken in by the real command while everything around it is killed; and input that nobody should send."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from agentstate.cli.root import cli
from agentstate.memory.conversation import turns as turn_rows
from agentstate.memory.facts.counts import read_settling
from agentstate.memory.facts.service import EMBED_PENDING
from agentstate.runtime import Runtime
from agentstate.settings import PREFIX, Settings
from agentstate.store.store import Transaction
from agentstate.store.tables import jobs, memories, turns
from agentstate.store.tables.base import db_time
from deploy.local.stack.stack import Stack
from tests.stubs.proxy import Proxy
from tests.worlds.waiting import until

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
PATIENCE_S = 90.0
PATH = {"PYTHONPATH": f"{ROOT / 'shared'}:{ROOT}"}
COUNT, LATE = 600, 100
AGENTS = [f"ingest_{n}" for n in range(4)]
LAST_SESSION = "zz-late"
"""The session of one agent that only the last turns of the file, and so the second batch, belong to."""


def transcript(path: Path) -> Path:
    """600 turns of four agents, with what people say again and again."""
    lines = []
    for n in range(COUNT):
        agent = AGENTS[n % 4]
        late = n >= COUNT - LATE and agent == AGENTS[3]
        repeated = n % 10 == 0
        lines.append(
            {
                "agent": agent,
                "session": LAST_SESSION if late else f"s{n % 3}",
                "speaker": "Ann" if n % 2 else "Bo",
                "time": 1_790_000_000 + 60 * n,
                "text": "Yes, thank you."
                if repeated
                else f"On round {n} I put {n % 9}.50 USDC on {'heads' if n % 2 else 'tails'}.",
            }
        )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def command(env: dict[str, str], *words: str) -> subprocess.Popen[str]:
    """Start `agentstate`."""
    call = [sys.executable, "-m", "agentstate", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(call, cwd=ROOT, env={**os.environ, **env, **PATH}, stdout=pipe, stderr=pipe, text=True)


def run(env: dict[str, str], *words: str) -> tuple[int, str, str]:
    """Run `agentstate`: its exit code, output and errors."""
    with command(env, *words) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def count(runtime: Runtime, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
    with runtime.store.read_connection() as connection:
        query = sa.select(sa.func.count()).select_from(table).where(*conditions)
        return int(connection.execute(query).scalar_one())


@dataclass
class System:
    """Databases of this test's own, one worker that embeds, and a wire to the index."""

    runtime: Runtime
    env: dict[str, str]
    stack: Stack
    wire: Proxy

    def count(self, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
        return count(self.runtime, table, *conditions)

    def ingest(self, file: str) -> dict[str, Any]:
        code, out, err = run(self.env, "ingest", file, "--json")
        assert (code, err) == (0, "")
        told: dict[str, Any] = json.loads(out)
        return told

    @contextmanager
    def held(self, agent_id: str, session: str) -> Iterator[None]:
        """Whoever adds to this conversation waits for as long as this lasts."""
        with self.runtime.store.engine.connect() as connection, connection.begin() as transaction:
            turn_rows.lock_conversation(Transaction(connection), agent_id, session)
            yield
            transaction.rollback()

    def end_leases(self) -> None:
        """Let so much time pass that what is claimed now may be taken by another worker."""
        with self.runtime.store.transaction() as tx:
            tx.connection.execute(memories.update().where(memories.c.claim.is_not(None)).values(due_at=db_time(-1)))

    def settled(self) -> bool:
        """Whether all is searchable; if not, wake the workers, as the sweep does."""
        now = read_settling(self.runtime.store, AGENTS)
        if now.is_settled:
            return True
        self.runtime.jobs.wake_bulk(EMBED_PENDING)
        return False

    def indexed(self) -> Counter[UUID]:
        """The points of our agents in the index, one by one."""
        from qdrant_client.http import models

        ours = models.Filter(must=[models.FieldCondition(key="agent_id", match=models.MatchAny(any=AGENTS))])
        points, _ = self.runtime.qdrant.scroll(
            self.runtime.index.space, scroll_filter=ours, limit=10 * COUNT, with_payload=False
        )
        return Counter(UUID(str(point.id)) for point in points)


@pytest.fixture
def system(settings: Settings, settings_env: dict[str, str], fast_folder: Path) -> Iterator[System]:
    address = urlsplit(settings.qdrant_url)
    folder = Path(tempfile.mkdtemp(prefix="agentstate-test-", dir=fast_folder))
    with Proxy(str(address.hostname), int(address.port or 0)) as wire:
        by_wire = {**settings_env, f"{PREFIX}QDRANT_URL": f"http://127.0.0.1:{wire.port}"}
        runtime = Runtime(settings)
        try:
            with Stack(folder, only=("worker-io",), settings=by_wire) as workers:
                yield System(runtime, settings_env, workers, wire)
        finally:
            runtime.close()
            shutil.rmtree(folder, ignore_errors=True)


def test_command_and_worker_are_killed_half_way_and_every_turn_is_there_once(system: System, tmp_path: Path) -> None:
    file = str(transcript(tmp_path / "turns.jsonl"))
    before = system.stack.pids["worker-io"]
    system.wire.block()
    with system.held(AGENTS[3], LAST_SESSION), command(system.env, "ingest", file) as ingest:
        until(lambda: system.count(turns) == COUNT - LATE)
        until(lambda: system.count(memories, memories.c.claim.is_not(None)) > 0)
        ingest.kill()
        system.stack.kill_process("worker-io")
        ingest.communicate()
        system.end_leases()
        assert ingest.returncode == -signal.SIGKILL
    system.wire.restore()
    assert (system.count(turns), system.count(memories)) == (COUNT - LATE, COUNT - LATE)
    assert system.count(memories, memories.c.state == "searchable") == 0

    again = system.ingest(file)
    assert (again["stored"], again["already"], again["refused"]) == (LATE, COUNT - LATE, [])
    once_more = system.ingest(file)
    assert (once_more["stored"], once_more["already"]) == (0, COUNT)
    assert (system.count(turns), system.count(memories)) == (COUNT, COUNT)

    system.stack.wait_running("worker-io", other_than=before, timeout=PATIENCE_S)
    until(system.settled, pause_s=0.3)
    with system.runtime.store.read_connection() as connection:
        ids = {found for (found,) in connection.execute(sa.select(memories.c.id))}
        last = sa.func.max(turns.c.number) == sa.func.count()
        numbered = connection.execute(sa.select(last).group_by(turns.c.conversation_id)).scalars().all()
    assert system.indexed() == Counter(ids)
    assert set(numbered) == {True}
    recalled = system.runtime.memory.of(AGENTS[1]).recall("Which bet was it on round 37?")
    assert "On round 37 I put 1.50 USDC on heads." in [hit.content for hit in recalled]


def test_input_that_nobody_should_send_is_named_and_changes_nothing(
    settings: Settings, settings_env: dict[str, str], tmp_path: Path
) -> None:
    good = {"agent": "ag_1", "session": "s", "speaker": "Ann", "time": "2026-11-22T10:00:00Z", "text": "fine"}
    bad: list[tuple[Any, str]] = [
        ("{not json", "not valid JSON"),
        ("[1, 2]", "a list, not an object"),
        ({**good, "text": ""}, "text is empty"),
        ({**good, "text": " \n"}, "text is empty"),
        ({**good, "text": "x" * 10_000_000}, "10,000,000 bytes, over the limit of 262,144"),
        ({**good, "text": "a\u0000b"}, "NUL"),
        ({**good, "text": "\ud800"}, "half a surrogate pair"),
        ({**good, "agent": "../../etc/passwd"}, "agent id '../../etc/passwd' is refused"),
        ({**good, "agent": "ag 1"}, "agent id 'ag 1' is refused"),
        ({**good, "agent": "агент"}, "agent id 'агент' is refused"),
        ({**good, "agent": "a" * 129}, "is refused: use 1 to 128"),
        ({**good, "agent": 7}, "the field 'agent' is a number, not text"),
        ({**good, "session": "a/b"}, "session 'a/b' is refused"),
        ({**good, "time": "yesterday"}, "the time 'yesterday' cannot be read"),
        ({**good, "role": "pope"}, "the role 'pope' is unknown"),
        ({**good, "note": math.nan}, "cannot be stored exactly"),
        ({name: value for name, value in good.items() if name != "text"}, "the field 'text' is missing"),
    ]
    lines = [item if isinstance(item, str) else json.dumps(item) for item, _ in bad]
    file = tmp_path / "turns.jsonl"
    file.write_text("\n".join([json.dumps(good), *lines, json.dumps({**good, "text": "fine too"})]) + "\n")
    runtime = Runtime(settings)
    code, out, err = run(settings_env, "ingest", str(file), "--json")
    told = json.loads(out)
    assert (code, told["stored"], err) == (0, 2, "")
    refused = {problem["line"]: problem["reason"] for problem in told["refused"]}
    assert list(refused) == list(range(2, len(bad) + 2))
    for number, (_, reason) in enumerate(bad, 2):
        assert reason in refused[number]
        assert len(refused[number]) < 300

    unchanged = [count(runtime, table) for table in (turns, memories, jobs)]
    for (name, value), said in {
        ("DATABASE_URL", "postgresql://agentstate@127.0.0.1:1/agentstate"): "does not answer",
        ("DATABASE_URL", "agentstate.db"): "AGENTSTATE_DATABASE_URL: ",
        ("DATABSE_URL", settings.database_url): "unknown setting AGENTSTATE_DATABSE_URL",
        ("LANES", "many"): "AGENTSTATE_LANES",
    }.items():
        env = {**settings_env, PREFIX + name: value}
        refusal = CliRunner().invoke(cli, ["ingest", str(file)], prog_name="agentstate", env=env)
        err = refusal.stderr
        assert (refusal.exit_code, refusal.stdout, err.count("\n"), "pf_test_pw" in err) == (1, "", 1, False)
        assert err.startswith("error: ")
        assert said in err
    assert [count(runtime, table) for table in (turns, memories, jobs)] == unchanged == [2, 2, 0]
    runtime.close()
