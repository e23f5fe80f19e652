"""Real workers and two beats, killed, stopped and cut off from Redis: what was submitted is done, once, by somebody."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import redis
import sqlalchemy as sa
from celery import Celery

from agentstate.errors import InvalidInput
from agentstate.jobs import Job, JobStatus
from agentstate.jobs.broker import make_app
from agentstate.jobs.jobs import slot_start
from agentstate.jobs.kinds import BULK
from agentstate.jobs.spec import QUEUES
from agentstate.jobs.wake_ups import lane_of, lane_queue, lane_queues
from agentstate.runtime import REDIS_TIMEOUT_S, Runtime
from agentstate.settings import Settings
from agentstate.store.tables import jobs as table
from agentstate.store.tables.base import db_time
from deploy.local.stack.folder import ROOT
from deploy.local.stack.stack import Stack
from deploy.local.stack.table import ProcessTable, StackChoices
from tests.stubs.proxy import Proxy
from tests.stubs.service_server import ServiceServer
from tests.worlds.waiting import until

if TYPE_CHECKING:
    from deploy.local.stack.spec import ProcessSpec
    from tests.conftest import Databases

T = TypeVar("T")

PATIENCE_S = 60.0
"""Ample: how long a loaded machine may take for what takes a second on a quiet one."""
SLOT_S = 5
CASINO = {"service": "casino"}
SUBMIT = BULK["jobs.submit"].task_name
DOOR = lane_queue("housekeeping", 0)
"""The queue that submissions by the broker are sent to."""


class Firings:
    """When each of some beats fired the snapshots, as the events that they send tell; listens from the start."""

    def __init__(self, settings: Settings, pids: Iterable[int]) -> None:
        self.by_beat: dict[int, list[float]] = {pid: [] for pid in pids}
        self.both_twice = threading.Event()
        self._app = make_app(settings)
        self._connection = self._app.connection_for_read()
        self._receiver = self._app.events.Receiver(self._connection, handlers={"task-sent": self._note})
        self._thread = threading.Thread(target=self._receiver.capture, kwargs={"limit": None}, daemon=True)
        self._thread.start()

    def _note(self, event: dict[str, Any]) -> None:
        if event["name"] == BULK["housekeeping.fire"].task_name and "snapshots.take" in event["args"]:
            self.by_beat[event["pid"]].append(event["timestamp"])
            if all(len(times) >= 2 for times in self.by_beat.values()):
                self.both_twice.set()

    def stop(self) -> None:
        self._receiver.should_stop = True
        self._thread.join()
        self._connection.close()
        self._app.close()


@dataclass
class Fleet:
    """A threads worker, two solo workers and two beats on a database of their own, with Redis behind a wire."""

    stack: Stack
    runtime: Runtime
    service: ServiceServer
    wire: Proxy
    direct: Settings
    """The same settings past the wire, for tests that look into Redis."""
    firings: Firings

    def submit(self, agent_id: str, kind: str = "cache.refresh") -> UUID:
        return self.runtime.jobs.submit(kind, CASINO, agent_id=agent_id)

    def done(self, job_id: UUID) -> Job:
        return self.runtime.jobs.wait(job_id, timeout_s=PATIENCE_S)

    def change(self, *conditions: sa.ColumnElement[bool], **values: Any) -> None:
        with self.runtime.store.transaction() as tx:
            tx.connection.execute(sa.update(table).where(*conditions).values(**values))

    def forget_wake_ups(self) -> None:
        """Let so much time pass that the sweep takes the wake-ups of all waiting jobs for lost."""
        self.change(table.c.status == "ready", woken_at=db_time(-60))

    def holder(self, job_id: UUID) -> str:
        """Name of the process that runs a job."""
        pid = int(str(self.runtime.jobs.get(job_id).lease_owner).split(":")[1])
        return next(name for name, known in self.stack.pids.items() if known == pid)

    def broker(self) -> redis.Redis:
        return redis.Redis.from_url(self.direct.broker_url)


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceServer]:
    with ServiceServer() as running:
        yield running


@pytest.fixture(scope="module")
def wire(stack: Stack) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", stack.ports["redis"]) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def direct(stack: Stack, module_postgres_url: str, service: ServiceServer) -> Settings:
    base = stack.env["AGENTSTATE_REDIS_URL"].rsplit("/", 1)[0]
    with redis.Redis.from_url(base) as client:
        client.flushall()
    return Settings.load(
        database_url=module_postgres_url,
        redis_url=f"{base}/1",
        broker_url=f"{base}/0",
        qdrant_url=stack.env["AGENTSTATE_QDRANT_URL"],
        qdrant_api_key=stack.env["AGENTSTATE_QDRANT_API_KEY"],
        services_url=service.url,
        services_api_key="pf_test_worker",  # pragma: allowlist secret
        embedder="lexical",
        sweep_every_s=0.5,
        snapshot_every_s=SLOT_S,
        summary_after_tokens=300,
    )


@pytest.fixture(scope="module")
def fleet(direct: Settings, wire: Proxy, service: ServiceServer, fast_folder: Path) -> Iterator[Fleet]:
    def by_wire(url: str) -> str:
        return url.replace(f":{urlsplit(url).port}/", f":{wire.port}/")

    settings = direct.model_copy(
        update={"redis_url": by_wire(direct.redis_url), "broker_url": by_wire(direct.broker_url)}
    )
    folder = Path(tempfile.mkdtemp(prefix="agentstate-test-", dir=fast_folder))
    shown = {name: _plain(value) for name, value in settings.model_dump(exclude_none=True).items()}
    running = Stack(folder, only=("worker-io", "worker-money"), settings=shown, extra=beats(folder))
    runtime = Runtime(settings)
    try:
        with running:
            firings = Firings(direct, [running.pids["beat-1"], running.pids["beat-2"]])
            yield Fleet(running, runtime, service, wire, direct, firings)
            firings.stop()
            wire.restore()
    finally:
        runtime.close()
        shutil.rmtree(folder, ignore_errors=True)


def beats(folder: Path) -> list[ProcessSpec]:
    """Two beats, as somebody starts them who scaled the service by mistake."""
    from dataclasses import replace

    from deploy.local.stack.folder import Folder

    first = ProcessTable(Folder(folder / "one"), "unused", StackChoices(only=("beat",))).process_specs()[0]
    second = ProcessTable(Folder(folder / "two"), "unused", StackChoices(only=("beat",))).process_specs()[0]
    return [replace(first, name="beat-1"), replace(second, name="beat-2")]


def _plain(value: Any) -> str:
    return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)


def agents_of_lanes(count: int) -> list[str]:
    """Agents whose jobs are in different lanes."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < count:
        name = f"ag_lane_{number}"
        found.setdefault(lane_of(name, 4), name)
        number += 1
    return list(found.values())


def test_a_submitted_job_is_run_and_its_result_is_read(fleet: Fleet) -> None:
    job = fleet.done(fleet.submit("ag_first"))
    assert (job.status, job.attempts, job.result["quality"]) == (JobStatus.DONE, 1, "live")
    money = fleet.done(fleet.submit("ag_first", "reconciliation.reconcile"))
    assert money.result == {"status": "matched", "expected": "0.00 USDC", "observed": "0.00 USDC"}


def test_what_is_remembered_is_embedded_and_a_long_conversation_summarized(fleet: Fleet) -> None:
    from agentstate.agent import Fleet

    agent = Fleet(fleet.runtime).agent("ag_memory")
    # The second would be taken for one of Celery's own types, and be lost, if it went through a message.
    notes = [{"n": 1}, {"__type__": "x", "__value__": 1}]
    receipts = [agent.memory.remember(f"The vault opens at {n}", metadata=note) for n, note in enumerate(notes)]
    conversation = agent.conversation("s1")
    for n in range(40):
        conversation.add("user", f"Remember the number {n}: the bet on round {n} was 2.50 USDC on heads.")
    agent.memory.wait_searchable(receipts, timeout_s=PATIENCE_S)
    assert [fleet.runtime.memory.of("ag_memory").find(each.id).metadata for each in receipts] == notes  # type: ignore[union-attr]
    summary = until(conversation.summary)
    assert "2.50 USDC" in summary.text


# Submissions by the broker: a client that knows nothing but Redis


def by_celery(fleet: Fleet, **submission: Any) -> None:
    """What a Python agent without our library does."""
    client = Celery(broker=fleet.direct.broker_url, set_as_current=False)
    client.send_task(SUBMIT, kwargs=submission, queue=DOOR)
    client.close()


def by_hand(fleet: Fleet, **submission: Any) -> None:
    """What an agent in any other language does: a message of Celery's protocol, put into a list."""
    name = str(uuid.uuid4())
    body = base64.b64encode(json.dumps([[], submission, {}]).encode()).decode()
    message = {
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "js", "task": SUBMIT, "id": name, "root_id": name, "parent_id": None, "group": None},
        "properties": {
            "correlation_id": name,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": DOOR},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }
    with fleet.broker() as client:
        client.lpush(DOOR, json.dumps(message))


def job_of(fleet: Fleet, key: str) -> Job:
    """The job that a submission became."""

    def look() -> list[Job]:
        return [job for job in fleet.runtime.jobs.list(limit=500) if job.dedupe_key == key]

    found: list[Job] = until(look)
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("send", [by_celery, by_hand])
def test_a_submission_by_the_broker_becomes_one_job_however_often_it_is_sent(
    fleet: Fleet, send: Callable[..., None]
) -> None:
    submission = {"key": f"round-{send.__name__}", "kind": "cache.refresh", "agent_id": "ag_door"}
    for _ in range(3):
        send(fleet, **submission, payload={"service": "casino"})
    job = fleet.done(job_of(fleet, submission["key"]).id)
    assert (job.agent_id, job.payload, job.result["quality"]) == ("ag_door", {"service": "casino"}, "live")
    send(fleet, key="last", kind="cache.refresh", agent_id="ag_door", payload={"service": "casino"})
    fleet.done(job_of(fleet, "last").id)
    assert job_of(fleet, submission["key"]).id == job.id


GOOD = {"key": "k", "kind": "cache.refresh", "payload": {"service": "casino"}, "agent_id": "ag_refused"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "cache.refesh"}, "there is no kind of job 'cache.refesh'"),
        ({"kind": 7}, "Expected `str`, got `int` - at `$.kind`"),
        ({"kind": "cache.refresh\x00"}, "there is no kind of job"),
        ({"kind": "housekeeping.expire"}, "agents cannot submit it"),
        ({"payload": {"servce": "casino"}}, "payload of cache.refresh is refused"),
        ({"payload": ["casino"]}, "got `array` - at `$.payload`"),
        ({"payload": {"service": "\x00"}}, "NUL"),
        ({"payload": {"service": "\ud800"}}, "half a surrogate pair"),
        ({"payload": {"service": "x" * 70_000}}, "allowed are 65536"),
        ({"payload": {"__type__": "x", "__value__": 1}}, "payload of cache.refresh is refused"),
        ({"payload": {"__type__": "uuid", "__value__": 1}}, "payload of cache.refresh is refused"),
        ({"agent_id": None}, "belongs to an agent"),
        ({"agent_id": "../etc"}, "agent id '../etc' is refused"),
        ({"agent_id": 7}, "got `int` - at `$.agent_id`"),
        ({"key": ""}, "1 to 200 characters"),
        ({"key": None}, "got `null` - at `$.key`"),
        ({"key": 7}, "got `int` - at `$.key`"),
        ({"hurry": True}, "unknown field `hurry`"),
    ],
    ids=str,
)
def test_a_submission_that_cannot_be_taken_is_kept_dead_with_the_reason(
    fleet: Fleet, change: dict[str, Any], reason: str
) -> None:
    before = {job.id for job in fleet.runtime.jobs.list(kind="jobs.refused", limit=500)}
    by_hand(fleet, **{**GOOD, **change})

    def refused() -> list[Job]:
        return [job for job in fleet.runtime.jobs.list(kind="jobs.refused", limit=500) if job.id not in before]

    [job] = until(refused)
    assert job.status is JobStatus.DEAD
    assert reason in str(job.error)
    assert fleet.runtime.jobs.list(agent_id="ag_refused") == []


def test_a_submission_without_a_key_is_kept_too(fleet: Fleet) -> None:
    by_hand(fleet, kind="cache.refresh", agent_id="ag_keyless", payload={"service": "casino"})
    [job] = until(
        lambda: [job for job in fleet.runtime.jobs.list(kind="jobs.refused") if "ag_keyless" in str(job.payload)]
    )
    assert "key" in str(job.error)


def test_the_library_refuses_at_once_what_no_worker_could_read(fleet: Fleet) -> None:
    with pytest.raises(InvalidInput, match="is refused"):
        fleet.runtime.jobs.submit("cache.refresh", {"__type__": "x", "__value__": 1}, agent_id="ag_typed")


# Bytes that are no message


GARBAGE = {
    "text": b"x",
    "empty": b"",
    "binary": bytes(range(256)),
    "list": b"[1, 2, 3]",
    "envelope": json.dumps({"body": "AAAA", "properties": {"delivery_tag": []}, "headers": 7}).encode(),
    "task": json.dumps({"body": "W1tdLHt9LHt9XQ==", "headers": {"task": "no.such", "id": "x"},
                        "properties": {"body_encoding": "base64"}}).encode(),
    "deep": b"[" * 100_000,
    "huge": b"y" * 20_000_000,
}  # fmt: skip
"""By their beginning in the row, see `test_bytes_that_are_no_message_are_put_aside_and_no_worker_dies`."""


def test_bytes_that_are_no_message_are_put_aside_and_no_worker_dies(fleet: Fleet) -> None:
    pids = fleet.stack.pids
    before = {job.id for job in fleet.runtime.jobs.list(kind="jobs.refused", limit=1_000)}
    copies = 12
    with fleet.broker() as client:
        for queue in (DOOR, lane_queue("effects", 1), lane_queue("cache", 0)):
            for item in GARBAGE.values():
                for _ in range(copies if len(item) < 1_000_000 else 1):
                    client.lpush(queue, item)
        # A command to all workers is bytes from outside as well.
        for item in GARBAGE.values():
            client.publish("/0.celery.pidbox", item)
    sent = 3 * (copies * (len(GARBAGE) - 1) + 1)

    def put_aside() -> list[Job]:
        refused = [job for job in fleet.runtime.jobs.list(kind="jobs.refused", limit=1_000) if job.id not in before]
        # A message that is delivered twice has two rows with one key.
        found = {job.payload["key"]: job for job in refused if "are no message" in str(job.error)}
        return list(found.values()) if len(found) >= sent else []

    found = until(put_aside)
    assert len(found) == sent
    assert {job.status for job in found} == {JobStatus.DEAD}
    shown = " ".join(str(job.payload["payload"]) for job in found)
    assert "y" * 400 in shown
    assert "no.such" in shown
    assert max(len(str(job.payload["payload"])) for job in found) < 4_001
    # The workers are the same processes, and serve.
    fleet.done(fleet.submit("ag_after_garbage"))
    fleet.done(fleet.submit("ag_after_garbage", "reconciliation.reconcile"))
    assert fleet.stack.pids == pids


# Submissions while no row can be written


def test_a_submission_stays_until_its_row_can_be_written(fleet: Fleet) -> None:
    """Whatever the handler meets: here the table is gone, as in the middle of a migration, and comes back."""
    agent = "ag_stays"
    with fleet.runtime.store.transaction() as tx:
        tx.connection.exec_driver_sql("ALTER TABLE jobs RENAME TO jobs_away")
    try:
        for n in range(3):
            by_hand(fleet, key=f"stays-{n}", kind="cache.refresh", agent_id=agent, payload={"service": "casino"})
            by_celery(fleet, key=f"stays-too-{n}", kind="cache.refresh", agent_id=agent, payload={"service": "casino"})
        logs = [fleet.stack.folder.log_of(name) for name in fleet.stack.pids if name.startswith("worker-money")]
        until(lambda: sum(log.read_text("utf-8").count("could not store a submission") for log in logs) >= 6)
    finally:
        with fleet.runtime.store.transaction() as tx:
            tx.connection.exec_driver_sql("ALTER TABLE jobs_away RENAME TO jobs")
    for n in range(3):
        fleet.done(job_of(fleet, f"stays-{n}").id)
        fleet.done(job_of(fleet, f"stays-too-{n}").id)


def test_a_worker_on_another_schema_takes_nothing_until_it_fits(
    fleet: Fleet,
    databases: Databases,
    _postgres_template: str,  # noqa: PT019 its value is used
    fast_folder: Path,
) -> None:
    """A worker that starts on a newer schema is not ready, leaves its queues alone, and serves once it fits."""
    folder = Path(tempfile.mkdtemp(prefix="agentstate-test-", dir=fast_folder))
    heartbeat, log = folder / "heartbeat", folder / "log"
    with databases.fresh(_postgres_template) as url:
        runtime = Runtime(fleet.direct.model_copy(update={"database_url": url}))
        base = fleet.direct.broker_url.rsplit("/", 1)[0]
        environment = {
            **os.environ,
            "AGENTSTATE_DATABASE_URL": url,
            "AGENTSTATE_BROKER_URL": f"{base}/5",
            "AGENTSTATE_REDIS_URL": f"{base}/6",
            "WORKERS_HEARTBEAT_FILE": str(heartbeat),
        }
        command = [sys.executable, "-m", "workers", "worker", "--queues", "housekeeping", "--pool", "solo"]
        with runtime.store.transaction() as tx:
            [revision] = tx.connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
            tx.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999_newer'")
        with redis.Redis.from_url(f"{base}/5") as client, log.open("wb") as written:
            client.flushdb()
            worker = subprocess.Popen(command, env=environment, stdout=written, stderr=subprocess.STDOUT, cwd=ROOT)
            try:
                message = {"key": "early", "kind": "cache.refresh", "agent_id": "ag_early", "payload": CASINO}
                celery = Celery(broker=f"{base}/5", set_as_current=False)
                celery.send_task(SUBMIT, kwargs=message, queue=DOOR)
                celery.close()
                until(lambda: "Update agentstate: the store is newer" in log.read_text("utf-8"))
                assert not heartbeat.exists()
                assert client.llen(DOOR) == 1
                with runtime.store.transaction() as tx:
                    tx.connection.execute(sa.text("UPDATE alembic_version SET version_num = :old"), {"old": revision})
                until(lambda: [job for job in runtime.jobs.list() if job.dedupe_key == "early"])
                assert heartbeat.exists()
            finally:
                worker.terminate()
                worker.wait(timeout=PATIENCE_S)
        runtime.close()
    shutil.rmtree(folder, ignore_errors=True)


# What is lost on the way


def test_jobs_that_wait_while_redis_is_emptied_are_all_run(fleet: Fleet) -> None:
    held = [f"ag_flush_{n}" for n in range(12)]
    gates = [fleet.service.hold(agent) for agent in held]
    submitted = [fleet.submit(agent) for agent in held]
    gates[0].wait_arrived()
    until(lambda: waiting(fleet, "cache") >= 4)
    with fleet.broker() as client:
        client.flushall()
    submitted += [fleet.submit(f"ag_flushed_{n}") for n in range(4)]
    for gate in gates:
        gate.opened.set()
    fleet.forget_wake_ups()
    assert {fleet.done(job_id).attempts for job_id in submitted} == {1}
    assert all(fleet.service.asked.count(agent) == 1 for agent in held)


def waiting(fleet: Fleet, queue: str) -> int:
    """Messages in all lanes of a queue."""
    with fleet.broker() as client:
        return sum(client.llen(lane) for lane in lane_queues(queue, fleet.direct.lanes))


@pytest.mark.parametrize("trouble", [Proxy.cut, Proxy.block], ids=["refuses", "is silent"])
def test_agents_stay_fast_while_redis_is_away_and_their_work_is_done_when_it_is_back(
    fleet: Fleet, trouble: Callable[[Proxy], None]
) -> None:
    fleet.done(fleet.submit("ag_before"))
    # As in another process: this one will leave Redis alone for a while when the submission has met the trouble.
    other = Runtime(fleet.runtime.settings)
    other.memory.of("ag_away").remember(f"Redis is there: {trouble.__name__}")
    trouble(fleet.wire)
    try:
        job_id = quickly(lambda: fleet.submit("ag_away"))
        receipt = quickly(lambda: other.memory.of("ag_away").remember(f"Redis is away: {trouble.__name__}"))
        assert fleet.runtime.jobs.get(job_id).status is JobStatus.READY
    finally:
        fleet.wire.restore()
        other.close()
    fleet.forget_wake_ups()
    fleet.done(job_id)
    fleet.runtime.memory.wait_searchable([receipt], timeout_s=PATIENCE_S)


def quickly(act: Callable[[], T]) -> T:
    """What `act` gives before a connection that does not answer would be given up."""
    began = time.monotonic()
    result = act()
    took = time.monotonic() - began
    assert took < REDIS_TIMEOUT_S
    return result


# What happens to workers


@pytest.mark.parametrize("kind", ["cache.refresh", "reconciliation.reconcile"])
@pytest.mark.long
def test_a_worker_that_is_asked_to_stop_finishes_what_it_has_begun(fleet: Fleet, kind: str) -> None:
    agent = f"ag_stop_{kind}"
    gate = fleet.service.hold(agent)
    job_id = fleet.submit(agent, kind)
    gate.wait_arrived()
    name = fleet.holder(job_id)
    pid, log = fleet.stack.pids[name], fleet.stack.folder.log_of(name)
    os.kill(pid, signal.SIGTERM)
    until(lambda: "Warm shutdown" in log.read_text("utf-8"))
    began = time.monotonic()
    gate.opened.set()
    job = fleet.done(job_id)
    fleet.stack.wait_running(name, other_than=pid, timeout=PATIENCE_S)
    assert time.monotonic() - began < PATIENCE_S
    assert (job.attempts, fleet.service.asked.count(agent)) == (1, 1)
    assert fleet.stack.get_child(name).state.last_exit == "exit code 0"


def test_the_job_of_a_killed_worker_is_finished_by_another_after_its_lease(fleet: Fleet) -> None:
    gate = fleet.service.hold("ag_killed")
    job_id = fleet.submit("ag_killed", "reconciliation.reconcile")
    gate.wait_arrived()
    name = fleet.holder(job_id)
    first = fleet.runtime.jobs.get(job_id)
    fleet.stack.kill_process(name)
    gate.opened.set()
    until(lambda: fleet.stack.get_child(name).state.restarts > 0)
    assert fleet.runtime.jobs.get(job_id).status is JobStatus.RUNNING
    fleet.change(table.c.id == job_id, lease_until=db_time(-1))
    job = fleet.done(job_id)
    assert (job.attempts, job.result["status"]) == (2, "matched")
    assert job.fence > first.fence
    fleet.stack.wait_running(name, timeout=PATIENCE_S)


@pytest.mark.long
def test_a_flood_of_one_agent_does_not_delay_anothers_job_in_another_lane(fleet: Fleet) -> None:
    flooder, other = agents_of_lanes(2)
    gate = fleet.service.hold(flooder)
    held = [fleet.submit(flooder, "reconciliation.reconcile") for _ in range(60)]
    # Both workers are at it.
    gate.wait_arrived()
    gate.wait_arrived()
    mine = fleet.submit(other, "reconciliation.reconcile")
    gate.opened.set()
    fleet.done(mine)
    fleet.done(held[-1])
    asked = fleet.service.asked
    before = asked[: asked.index(other)].count(flooder)
    assert before <= 12, f"{before} of the flood's 60 jobs went before"


# Beat


def test_two_beats_make_one_job_a_slot(fleet: Fleet) -> None:
    assert fleet.firings.both_twice.wait(PATIENCE_S)
    until(lambda: waiting(fleet, "housekeeping") == 0)
    slots = [job.payload["slot"] for job in fleet.runtime.jobs.list(kind="snapshots.take", limit=500)]
    assert len(slots) == len(set(slots))
    times = [moment for moments in fleet.firings.by_beat.values() for moment in moments]
    spanned = {slot_start(datetime.fromtimestamp(moment, UTC), SLOT_S) for moment in times}
    assert len(spanned) < len(times), "no slot was fired twice"


# What lies in Redis


def test_a_message_carries_the_jobs_id_and_nothing_of_the_agents(settings: Settings) -> None:
    runtime = Runtime(settings)
    job_id = runtime.jobs.submit("cache.refresh", {"service": "casino"}, agent_id="ag_private", dedupe_key="my-secret")
    runtime.memory.of("ag_private").remember("my secret plan")
    with redis.Redis.from_url(settings.broker_url) as client:
        raw = [client.lrange(name, 0, -1) for name in client.keys("*.[0-9]*")]
    runtime.close()
    messages = [json.loads(text) for texts in raw for text in texts]
    bodies = [json.loads(base64.b64decode(message["body"])) for message in messages]
    assert sorted(arguments for arguments, keywords, _ in bodies) == [[], [str(job_id)]]
    everything = json.dumps([messages, bodies])
    for private in ("ag_private", "secret", "casino"):
        assert private not in everything


def test_every_key_of_ours_expires_and_there_is_no_result(fleet: Fleet) -> None:
    from agentstate.agent import Fleet

    agent = Fleet(fleet.runtime).agent("ag_keys")
    agent.episodes.record("bet", {"game": "coin-flip"})
    agent.services.read("casino")
    agent.memory.remember("Keys come and go")
    fleet.done(fleet.submit("ag_keys"))
    for url in (fleet.direct.redis_url, fleet.direct.broker_url):
        with redis.Redis.from_url(url, decode_responses=True) as client:
            keys = list(client.scan_iter(count=1_000))
            eternal = {key for key in keys if client.ttl(key) == -1}
        assert not [key for key in keys if "celery-task-meta" in key]
        assert eternal <= CELERYS, eternal - CELERYS
    with redis.Redis.from_url(fleet.direct.redis_url) as client:
        assert list(client.scan_iter("as:{ag_keys}:state:*:casino"))


CELERYS = {
    "_kombu.binding.celery.pidbox",
    "_kombu.binding.celeryev",  # while somebody listens to events
    "_kombu.binding_deadlines",
    *(lane for queue in QUEUES for lane in lane_queues(queue, 4)),
    "unacked",
    "unacked_index",
    "unacked_mutex",
}
