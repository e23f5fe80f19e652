"""The process: one owner per folder, stopped in order or killed, and what is there afterwards."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from deploy.local.servers.qdrant.__main__ import main
from tests.worlds.waiting import until

pytestmark = pytest.mark.long

VECTOR = [0.5] * 8


def run_engine(*arguments: str) -> Result:
    """The command in this process, for starts that must fail."""
    return CliRunner().invoke(main, arguments)


def stored_ids(client: QdrantClient, name: str) -> set[Any]:
    return {record.id for record in client.scroll(name, limit=100_000, with_payload=False)[0]}


class Writer(threading.Thread):
    """Writes and deletes points one by one until the engine is gone; remembers what was acknowledged."""

    def __init__(self, client: QdrantClient, name: str, enough: int) -> None:
        super().__init__(daemon=True)
        self._client, self._name, self._enough = client, name, enough
        self.expected: set[int] = set()
        self.in_flight = 0
        self.reached = threading.Event()

    def run(self) -> None:
        number = 0
        try:
            while True:
                number += 1
                self._step(number)
                if number == self._enough:
                    self.reached.set()
        except ResponseHandlingException:
            self.in_flight = number

    def _step(self, number: int) -> None:
        if number % 5 == 0:
            self._client.delete(self._name, [number - 1])
            self.expected.discard(number - 1)
            return
        point = models.PointStruct(id=number, vector={"dense": VECTOR}, payload={"agent": "a", "n": number})
        self._client.upsert(self._name, [point])
        self.expected.add(number)


def test_killed_in_the_middle_of_writes_loses_nothing_acknowledged(
    start_engine: Callable[..., Any], make_collection: Callable[..., str], tmp_path: Path
) -> None:
    first = start_engine(tmp_path / "data", "--flush-seconds", "0.5")
    name = make_collection(first.client)
    writer = Writer(first.client, name, enough=200)
    writer.start()
    assert writer.reached.wait(20)
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    writer.join(60)

    second = start_engine(tmp_path / "data")
    stored = stored_ids(second.client, name)
    assert len(writer.expected) >= 120
    assert stored ^ writer.expected <= {writer.in_flight, writer.in_flight - 1}
    agents = models.Filter(must=[models.FieldCondition(key="agent", match=models.MatchValue(value="a"))])
    assert second.client.count(name, count_filter=agents).count == len(stored)
    assert second.client.get_collection(name).payload_schema["agent"].points == len(stored)
    assert second.stop() == 0


def test_stopped_in_order_and_started_again(
    start_engine: Callable[..., Any], make_collection: Callable[..., str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    first = start_engine(data)
    for name in ("kept", "dropped"):
        make_collection(first.client, name)
    point = models.PointStruct(id=7, vector={"dense": VECTOR}, payload={"text": "fox", "at": "2026-01-01T00:00:00Z"})
    first.client.upsert("kept", [point])
    alias = models.CreateAlias(collection_name="kept", alias_name="live")
    first.client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    before = first.client.get_collection("live")
    first.client.delete_collection("dropped")

    refused = run_engine("--data", str(data), "--port", "0")
    assert refused.exit_code == 1
    assert f"in use by process {first.process.pid}" in refused.output
    assert first.stop() == 0

    # What a create that was cut short leaves behind: a folder without its description.
    cut_short = data / "collections" / ("0" * 32) / "shard"
    cut_short.mkdir(parents=True)
    second = start_engine(data, "--optimize")
    assert [each.name for each in second.client.get_collections().collections] == ["kept"]
    assert not cut_short.parent.exists()
    after = second.client.get_collection("live")
    assert (after.config, after.payload_schema, after.created_at) == (
        before.config, before.payload_schema, before.created_at,
    )  # fmt: skip
    found = second.client.query_points("live", query=models.TextQuery(text="fox"), using="text").points
    assert [each.id for each in found] == [7]
    assert len(list((data / "collections").iterdir())) == 1
    assert second.stop() == 0


def test_unreadable_description_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "collections" / ("1" * 32)
    folder.mkdir(parents=True)
    (folder / "collection.json").write_text("{")
    answer = run_engine("--data", str(tmp_path), "--port", "0")
    assert answer.exit_code == 1
    assert str(folder / "collection.json") in answer.output


def test_only_loopback_and_a_free_port(tmp_path: Path) -> None:
    answer = run_engine("--data", str(tmp_path), "--port", "0", "--host", "0.0.0.0")  # noqa: S104 - must be refused
    assert answer.exit_code == 2
    assert "not a loopback address" in answer.output
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = run_engine("--data", str(tmp_path), "--port", str(port))
    assert answer.exit_code == 1
    assert f"Port {port} on 127.0.0.1 cannot be used" in answer.output


def test_key_is_asked_for_and_never_logged(start_engine: Callable[..., Any], tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("pf_test_engine\n")
    engine = start_engine(tmp_path / "data", "--api-key-file", str(key_file))
    assert engine.raw("GET", "/readyz").status_code == 200
    assert engine.raw("GET", "/").status_code == 200
    for headers in ({}, {"api-key": "pf_test_wrong"}, {"Authorization": "Bearer x"}):
        assert engine.raw("GET", "/collections", headers=headers).status_code == 401
    assert engine.raw("GET", "/collections", headers={"Authorization": "Bearer pf_test_engine"}).status_code == 200
    with pytest.raises(UnexpectedResponse, match="401"):
        engine.client.get_collections()
    with pytest.warns(UserWarning, match="insecure"):
        client = engine.new_client(api_key="pf_test_engine")
    assert client.get_collections().collections == []
    client.close()
    assert engine.stop() == 0
    assert "pf_test" not in engine.log.read_text()


def test_trouble_with_the_disk_shows_in_readiness_and_exit_code(
    start_engine: Callable[..., Any], make_collection: Callable[..., str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    engine = start_engine(data, "--flush-seconds", "0.05")
    name = make_collection(engine.client)
    next((data / "collections").glob("*/shard")).rename(tmp_path / "elsewhere")
    with contextlib.suppress(UnexpectedResponse):  # refused or not, by what the engine had open
        engine.client.upsert(name, [models.PointStruct(id=1, vector={"dense": VECTOR}, payload={"agent": "a"})])
    answer = until(lambda: answer if (answer := engine.raw("GET", "/readyz")).status_code != 200 else None)
    assert (answer.status_code, "cannot be synced" in answer.text) == (503, True)
    assert engine.raw("GET", "/healthz").status_code == 200
    assert engine.stop() == 1
    assert "cannot be synced" in engine.log.read_text()


def test_client_finds_the_version_compatible(engine: Any) -> None:
    client = engine.new_client(check_compatibility=True)
    for thread in threading.enumerate():
        if "_check_compatibility" in thread.name:
            thread.join(60)
    assert client.info().version == "1.20.0"
    client.close()
