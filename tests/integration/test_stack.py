"""The one-machine stack on real servers and real processes: what dies comes back, what stops is gone, data stays."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.local.stack import control
from deploy.local.stack import folder as folder_module
from deploy.local.stack.control import find_supervisor, read_status, start_detached, stop_stack
from deploy.local.stack.errors import AlreadyRunning, FolderUnusable, PortTaken, ServerMissing, StackError, StartFailed
from deploy.local.stack.folder import ROOT, Folder
from deploy.local.stack.loopback import LoopbackHandler, LoopbackServer
from deploy.local.stack.ownership import MARK, find_processes, wait_for_end
from deploy.local.stack.spec import ProcessSpec, file_is_there
from deploy.local.stack.stack import Stack
from deploy.local.stack.supervisor import RestartPolicy, find_leftovers
from deploy.local.stack.table import python_path
from tests.worlds.waiting import until

QUICK = RestartPolicy(delays=(0.01,), give_up_after=3, settled_after=60.0)
SERVERS = ("redis", "postgres")


@pytest.fixture
def data(fast_folder: Path) -> Iterator[Path]:
    """A data folder that is not there yet, and on which nothing runs any more when the test is over."""
    path = Path(tempfile.mkdtemp(prefix="agentstate-test-", dir=fast_folder)) / "stack"
    yield path
    for pid in find_leftovers(Folder(path)):
        psutil.Process(pid).kill()
    shutil.rmtree(path.parent)


def script(name: str, code: str, *arguments: object, **options: object) -> ProcessSpec:
    """A small process of a test."""
    command = (sys.executable, "-c", code, *(str(argument) for argument in arguments))
    return ProcessSpec(name=name, command=command, stage=9, **options)  # type: ignore[arg-type]


def sleeper(name: str = "sleeper", **options: object) -> ProcessSpec:
    return script(name, "import signal; signal.pause()", **options)


def tag(data: Path) -> str:
    return str(Folder(data).read_record()["tag"])


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": python_path(None)}


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `python -m deploy.local`."""
    call = [sys.executable, "-m", "deploy.local", *(str(argument) for argument in arguments)]
    return subprocess.run(call, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=False)


class Facts:
    """A few rows and keys in a running stack."""

    def __init__(self, env: dict[str, str]) -> None:
        self.dsn = env["AGENTSTATE_DATABASE_URL"].replace("+psycopg", "")
        self.redis_url = env["AGENTSTATE_REDIS_URL"]

    def write(self) -> None:
        with psycopg.connect(self.dsn) as connection:
            connection.execute("CREATE TABLE facts AS SELECT generate_series(1, 100) AS n")
        with redis.Redis.from_url(self.redis_url) as client:
            client.set("fact", "kept")

    def are_there(self) -> bool:
        with psycopg.connect(self.dsn) as connection, redis.Redis.from_url(self.redis_url) as client:
            row = connection.execute("SELECT count(*) FROM facts").fetchone()
            return row == (100,) and client.get("fact") == b"kept"


@pytest.mark.long
def test_servers_are_set_up_to_keep_what_they_acknowledge(data: Path) -> None:
    with Stack(data, only=SERVERS) as stack:
        facts = Facts(stack.env)
        with redis.Redis.from_url(facts.redis_url) as client:
            config = client.config_get("append*", "save", "maxmemory-policy")
        with psycopg.connect(facts.dsn) as connection:
            shown = {
                name: connection.execute(f"SHOW {name}").fetchone()  # type: ignore[arg-type]
                for name in ("fsync", "synchronous_commit", "server_encoding", "data_checksums")
            }
        with psycopg.connect(facts.dsn) as connection:
            row = connection.execute("SELECT upper('é'), datlocprovider FROM pg_database WHERE datname = 'agentstate'")
            assert row.fetchone() == ("É", "b")

    assert (config["appendonly"], config["appendfsync"]) == ("yes", "everysec")
    assert (config["save"], config["maxmemory-policy"]) == ("", "noeviction")
    assert shown == {
        "fsync": ("on",),
        "synchronous_commit": ("on",),
        "server_encoding": ("UTF8",),
        "data_checksums": ("on",),
    }


def test_servers_refuse_who_has_no_password_and_listen_on_loopback_alone(data: Path) -> None:
    with Stack(data, only=SERVERS) as stack:
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=stack.ports["redis"], retry=Retry(NoBackoff(), 0)).ping()
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"postgresql://agentstate@127.0.0.1:{stack.ports['postgres']}/postgres")
        addresses = {
            connection.laddr.ip
            for pid in stack.pids.values()
            for connection in psutil.Process(pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert addresses == {"127.0.0.1"}


@pytest.mark.long
def test_killed_servers_come_back_with_their_data(data: Path) -> None:
    with Stack(data, only=SERVERS) as stack:
        facts, before = Facts(stack.env), stack.pids
        facts.write()
        for name in SERVERS:
            stack.kill_process(name)
        for name in SERVERS:
            assert stack.wait_running(name, other_than=before[name]) != before[name]
        assert facts.are_there()
        assert {stack.get_child(name).state.restarts for name in SERVERS} == {1}
        assert "SIGKILL" in str(stack.get_child("redis").state.last_exit)


@pytest.mark.long
def test_data_ports_and_secrets_survive_a_stop(data: Path) -> None:
    with Stack(data, only=SERVERS) as stack:
        Facts(stack.env).write()
        env, pids = stack.env, stack.pids
    assert not any(psutil.pid_exists(pid) for pid in pids.values())
    assert find_processes(tag(data)) == []

    with Stack(data, only=SERVERS) as stack:
        assert stack.env == env
        assert Facts(stack.env).are_there()


def test_secrets_are_private(data: Path) -> None:
    with Stack(data, only=("redis",)) as stack:
        secret = Folder(data).get_secret("redis_password")
        holders = [path for path in data.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
        assert {path.name for path in holders} == {"env", "secrets.json", "redis.conf"}
        assert {path.stat().st_mode & 0o077 for path in holders} == {0}
        assert secret not in " ".join(psutil.Process(stack.pids["redis"]).cmdline())


@pytest.mark.long
def test_a_second_supervisor_is_refused_and_the_first_goes_on(data: Path) -> None:
    with Stack(data, only=("redis",)) as stack:
        before = stack.pids
        with pytest.raises(AlreadyRunning, match=rf"runs on .* already \(supervisor pid {os.getpid()}\)"):
            Stack(data, only=("redis",)).start()
        refused = command("up", "--data", data, "--foreground", "--only", "redis")
        assert (refused.returncode, "already" in refused.stderr) == (1, True)
        assert stack.pids == before
        assert redis.Redis.from_url(stack.env["AGENTSTATE_REDIS_URL"]).ping()


@pytest.mark.long
def test_terminal_up_status_restart_down(data: Path) -> None:
    started = command("up", "--data", data, "--only", "redis,postgres")
    assert started.returncode == 0, started.stderr
    assert "all ready in" in started.stdout

    shown = json.loads(command("status", "--data", data, "--json").stdout)
    assert (shown["well"], [row["name"] for row in shown["processes"]]) == (True, ["redis", "postgres"])
    assert "already" in command("up", "--data", data).stdout
    assert command("restart", "--data", data, "redis").returncode == 0
    assert "Server initialized" in command("logs", "--data", data, "redis").stdout

    assert command("down", "--data", data).returncode == 0
    assert find_processes(tag(data)) == []
    assert not any(psutil.pid_exists(row["pid"]) for row in shown["processes"])
    assert command("status", "--data", data).returncode == 3
    assert "nothing runs" in command("down", "--data", data).stdout


@pytest.mark.long
def test_everything_killed_at_once_comes_up_again_with_all_data(data: Path) -> None:
    folder = Folder(data)
    start_detached(folder, ["--data", str(data), "--only", "redis,postgres"], print)
    facts = Facts(_settings(folder))
    facts.write()
    supervisor = find_supervisor(folder)
    assert supervisor is not None
    for process in (supervisor, *find_processes(tag(data))):
        process.kill()
    assert wait_for_end([supervisor], 10) == []
    assert read_status(folder).state in {"orphaned", "stopped"}

    with Stack(data, only=SERVERS) as stack:
        assert stack.env["AGENTSTATE_REDIS_URL"] == facts.redis_url
        assert facts.are_there()


@pytest.mark.long
def test_down_finds_the_processes_of_a_killed_supervisor(data: Path) -> None:
    folder = Folder(data)
    start_detached(folder, ["--data", str(data), "--only", "redis,postgres"], print)
    orphans = find_processes(tag(data))
    supervisor = find_supervisor(folder)
    assert supervisor is not None
    supervisor.kill()
    assert wait_for_end([supervisor], 10) == []
    assert read_status(folder).state == "orphaned"

    stop_stack(folder, print)
    assert find_processes(tag(data)) == []
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in orphans)
    assert read_status(folder).state == "stopped"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.long
def test_a_foreground_supervisor_that_is_told_to_stop_leaves_nothing(data: Path, number: signal.Signals) -> None:
    call = [sys.executable, "-m", "deploy.local", "up", "--foreground", "--only", "redis", "--data", str(data)]
    pipe = subprocess.PIPE
    with subprocess.Popen(call, cwd=ROOT, env=environment(), stdout=pipe, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("all ready"):
                break
        started = find_processes(tag(data))
        process.send_signal(number)
        assert "stopped; all data was kept" in process.stdout.read()
    assert (process.returncode, len(started)) == (0, 1)
    assert find_processes(tag(data)) == []


@pytest.mark.long
def test_a_foreign_process_on_a_recorded_pid_is_never_touched(data: Path) -> None:
    with Stack(data, only=("redis",)):
        pass
    stranger = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        folder = Folder(data)
        record = folder.read_record()
        record["state"] = "running"
        record["supervisor"] = {"pid": stranger.pid, "started": 1.0}
        record["processes"]["redis"].update(pid=stranger.pid, started=2.0, state="running")
        folder.write_record(record)

        assert "nothing runs" in command("down", "--data", data).stdout
        with Stack(data, only=("redis",)):
            assert stranger.poll() is None
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_process_that_keeps_dying_is_given_up_and_can_be_tried_again(data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    code = (
        "import os,signal,sys; print('I am ill', flush=True); os.path.exists(sys.argv[1]) and sys.exit(7);"
        "signal.pause()"
    )
    told, gave_up = [], threading.Event()

    def progress(line: str) -> None:
        told.append(line)
        if "given up" in line:
            gave_up.set()

    with Stack(data, only=(), extra=[script("ill", code, broken)], policy=QUICK, progress=progress) as stack:
        broken.touch()
        stack.kill_process("ill")
        assert gave_up.wait(20)
        state = stack.get_child("ill").state
        assert (state.state, state.last_exit, state.restarts) == ("gave up", "exit code 7", 2)
        assert "I am ill" in told[-1]
        assert not read_status(Folder(data)).is_well

        broken.unlink()
        stack.retry_given_up()
        assert stack.wait_running("ill") > 0
        assert read_status(Folder(data)).is_well


def test_a_process_that_fails_at_start_is_reported_with_its_log_and_stops_the_rest(data: Path) -> None:
    ill = script("ill", "print('no such table: moon'); raise SystemExit(4)", ready=file_is_there(data / "never"))
    with pytest.raises(StartFailed, match=r"(?s)ill ended with exit code 4.*no such table: moon"):
        Stack(data, only=("redis",), extra=[sleeper(), ill]).start()
    assert find_processes(tag(data)) == []
    assert read_status(Folder(data)).state == "failed"


def test_a_command_that_runs_once_holds_up_the_next_stage(data: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    once = script("prepare", "import pathlib,sys; pathlib.Path(sys.argv[1]).touch()", done, once=True)
    later = ProcessSpec(
        name="later", stage=10, command=(sys.executable, "-c", "import signal; signal.pause()"), prepare=done.unlink
    )
    with Stack(data, only=(), extra=[once, later]) as stack:
        assert (stack.get_child("prepare").state.state, stack.get_child("later").state.state) == ("done", "running")


def test_children_of_a_killed_process_are_ended_before_it_is_restarted(data: Path, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import pathlib,signal,subprocess,sys;"
        "child=subprocess.Popen([sys.executable,'-c','import signal; signal.pause()']);"
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid)); signal.pause()"
    )
    parent = script("parent", code, note, ready=file_is_there(note), prepare=lambda: note.unlink(missing_ok=True))
    with Stack(data, only=(), extra=[parent], policy=QUICK) as stack:
        orphan, before = psutil.Process(int(note.read_text())), stack.pids["parent"]
        stack.kill_process("parent")
        stack.wait_running("parent", other_than=before)
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
    assert find_processes(tag(data)) == []


def test_a_process_that_ignores_the_stop_is_killed(data: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    code = (
        "import pathlib,signal,sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "pathlib.Path(sys.argv[1]).touch()\nwhile True: signal.pause()"
    )
    told: list[str] = []
    deaf = script("deaf", code, there, ready=file_is_there(there), stop_within=0.2)
    with Stack(data, only=(), extra=[deaf], progress=told.append):
        pass
    assert find_processes(tag(data)) == []
    assert any("did not stop within 0.2 s, killed" in line for line in told)


def test_a_port_that_is_taken_is_named_with_the_remedy(data: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"port {port} for redis is taken.*--redis-port"):
            Stack(data, only=("redis",), ports={"redis": port}).start()
    assert not Folder(data).is_claimed()


def test_a_kept_port_that_was_taken_meanwhile_is_replaced(data: Path) -> None:
    with Stack(data, only=("redis",)) as stack:
        port = stack.ports["redis"]
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with Stack(data, only=("redis",)) as stack:
            assert stack.ports["redis"] != port


def test_a_long_path_keeps_its_sockets_elsewhere(tmp_path: Path) -> None:
    with Stack(tmp_path / ("long" * 20) / ("longer" * 10), only=("redis",)) as stack:
        url = Folder(stack.folder.path).socket_folder(tag(stack.folder.path)) / "redis.sock"
        assert len(os.fsencode(url)) < 100
        assert redis.Redis(unix_socket_path=str(url), password=stack.folder.get_secret("redis_password")).ping()


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        ({"redis_server": "/no/such/server"}, "redis-server"),
        ({"postgres_bin": Path("/no/such/folder")}, "postgres-bin"),
    ],
)
def test_a_missing_server_program_is_named_with_the_remedy(data: Path, asked: dict[str, object], missing: str) -> None:
    with pytest.raises(ServerMissing, match=f"(?s)/no/such.*Nothing was started.*--{missing}"):
        Stack(data, only=SERVERS, **asked).start()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderUnusable, match=r"cannot be written: Not a directory.*--data"):
        Stack(tmp_path / "file" / "stack", only=("redis",)).start()


def test_a_full_disk_is_said_before_anything_starts(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.local.stack.folder.NEEDED_BYTES", 2**60)
    with pytest.raises(FolderUnusable, match=r"only \d+ MB are free .* Free some space"):
        Stack(data, only=("redis",)).start()
    assert not (data / "env").exists()


def test_an_unknown_process_is_refused(data: Path) -> None:
    with pytest.raises(StackError, match="unknown process moon; there are redis"):
        Stack(data, only=("moon",))


def test_processes_get_the_settings_and_the_user_keeps_his_lines(data: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    code = "import json,os,pathlib,sys; pathlib.Path(sys.argv[1]).write_text(json.dumps(dict(os.environ)))"
    data.mkdir()
    for _ in range(2):
        with Stack(
            data, only=("redis",), settings={"lanes": "2"}, extra=[script("look", code, seen, once=True)]
        ) as stack:
            found = json.loads(seen.read_text())
            assert found.items() >= stack.env.items()
            assert (found["AGENTSTATE_LANES"], found["AGENTSTATE_ENV_FILE"]) == ("2", str(data / "env"))
            assert found[MARK] == f"{tag(data)}/look"
        with (data / "env").open("a") as file:
            file.write("AGENTSTATE_LOG_LEVEL=DEBUG\n")
    assert _settings(Folder(data))["AGENTSTATE_LOG_LEVEL"] == "DEBUG"


def _settings(folder: Folder) -> dict[str, str]:
    lines = (line for line in folder.env_file.read_text().splitlines() if "=" in line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def test_a_full_disk_never_ends_the_supervision(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = False
    refused: list[str] = []
    write = folder_module.write_private

    def write_unless_full(path: Path, text: str) -> None:
        if full:
            refused.append(path.name)
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, text)

    def report(_line: str) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_module, "write_private", write_unless_full)
    with Stack(data, only=(), extra=[sleeper("one"), sleeper("two")], policy=QUICK, progress=report) as stack:
        full = True
        for name in ("one", "two", "one"):
            before = stack.pids[name]
            stack.kill_process(name)
            assert stack.wait_running(name, other_than=before) != before
        assert "stack.json" in refused
        assert Folder(data).read_record()["processes"]["one"]["pid"] != stack.pids["one"]

        full = False
        until(lambda: Folder(data).read_record()["processes"]["one"]["pid"] == stack.pids["one"])
        assert read_status(Folder(data)).is_well
    assert find_processes(tag(data)) == []


def test_a_process_that_was_given_up_comes_back_when_its_trouble_is_over(data: Path, tmp_path: Path) -> None:
    """As after a disk that was full for a while: nobody has to ask."""
    broken = tmp_path / "broken"
    code = "import os,signal,sys; os.path.exists(sys.argv[1]) and sys.exit(7); signal.pause()"
    policy = replace(QUICK, retry_every=0.2)
    gave_up = threading.Event()

    def report(line: str) -> None:
        if "given up" in line:
            gave_up.set()

    with Stack(data, only=(), extra=[script("ill", code, broken)], policy=policy, progress=report) as stack:
        before = stack.pids["ill"]
        broken.touch()
        stack.kill_process("ill")
        assert gave_up.wait(20)
        broken.unlink()
        assert stack.wait_running("ill", other_than=before) > 0


def test_another_program_on_the_port_is_not_taken_for_the_process(data: Path) -> None:
    told: list[str] = []
    with LoopbackServer(LoopbackHandler) as other:
        deaf = sleeper("flower", port=other.port, ready=lambda: None)
        with pytest.raises(PortTaken, match=rf"flower cannot have port {other.port}: .*--flower-port"):
            Stack(data, only=(), extra=[deaf], progress=told.append).start()
    assert not any("ready" in line for line in told)


def test_a_port_that_was_taken_after_a_death_is_told_within_one_try(data: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = (
        "import signal,socket,sys; server=socket.socket();"
        "server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1);"
        "server.bind(('127.0.0.1', int(sys.argv[1]))); server.listen(); signal.pause()"
    )
    other, told = socket.socket(), list[str]()
    starts = 0

    def take_the_port() -> None:
        nonlocal starts
        starts += 1
        if starts == 2:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()

    def answers() -> str | None:
        with socket.socket() as probe:
            return None if probe.connect_ex(("127.0.0.1", port)) == 0 else "nothing listens"

    policy = replace(QUICK, delays=(0.2,), give_up_after=4)
    server = script("flower", code, port, port=port, ready=answers, prepare=take_the_port)
    with Stack(data, only=(), extra=[server], policy=policy, progress=told.append) as stack:
        ready = [line for line in told if "ready" in line]
        stack.kill_process("flower")
        until(lambda: stack.get_child("flower").state.state == "gave up")
        assert f"port {port}" in str(stack.get_child("flower").state.last_exit)
        assert [line for line in told if "ready in" in line] == [line for line in ready if "ready in" in line]
        other.close()
        stack.retry_given_up()
        assert stack.wait_running("flower") > 0


def test_restart_returns_when_the_new_process_is_ready_and_says_so_when_it_is_not(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, works = tmp_path / "broken", tmp_path / "works"
    code = (
        "import os,pathlib,signal,sys; os.path.exists(sys.argv[1]) and sys.exit(7);"
        "pathlib.Path(sys.argv[2]).touch(); signal.pause()"
    )
    ready = file_is_there(works)
    ill = script("ill", code, broken, works, ready=ready, prepare=lambda: works.unlink(missing_ok=True))
    with Stack(data, only=(), extra=[ill], policy=QUICK) as stack:
        before = stack.pids["ill"]
        assert control.restart_process(Folder(data), "ill") == stack.pids["ill"] != before

        broken.touch()
        monkeypatch.setattr(control, "RESTART_WITHIN_S", 1.0)
        with pytest.raises(StartFailed, match=r"ill .* is not back.*'gave up', last exit: exit code 7"):
            control.restart_process(Folder(data), "ill")
