"""What the one-machine stack decides before it starts anything: ports, settings, restarts."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from dotenv import dotenv_values

from deploy.local.stack import ports
from deploy.local.stack.cli import cli
from deploy.local.stack.errors import PortTaken, StackError
from deploy.local.stack.folder import Folder, write_settings
from deploy.local.stack.ports import choose_port
from deploy.local.stack.stack import Stack
from deploy.local.stack.supervisor import RestartPolicy
from deploy.local.stack.table import ProcessTable, StackChoices


@pytest.fixture
def taken() -> int:
    """A port on which somebody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def free() -> int:
    return choose_port("x", asked=None, kept=None, preferred=None, taken=())


def test_free_ports_lie_below_those_of_outgoing_connections() -> None:
    found = {free() for _ in range(50)}
    assert min(found) >= ports.FIRST
    assert max(found) <= ports.LAST
    assert len(found) > 40


def test_a_kept_port_comes_before_a_preferred_one_and_both_only_when_free(taken: int) -> None:
    kept, preferred = free(), free()
    assert choose_port("x", asked=None, kept=kept, preferred=preferred, taken=()) == kept
    assert choose_port("x", asked=None, kept=taken, preferred=preferred, taken=()) == preferred
    assert choose_port("x", asked=None, kept=kept, preferred=preferred, taken=(kept,)) == preferred
    assert choose_port("x", asked=None, kept=taken, preferred=taken, taken=()) not in {taken, kept}


def test_a_port_that_was_asked_for_is_taken_or_refused(taken: int) -> None:
    port = free()
    assert choose_port("x", asked=port, kept=None, preferred=None, taken=()) == port
    with pytest.raises(PortTaken, match=f"port {taken} for x is taken"):
        choose_port("x", asked=taken, kept=port, preferred=None, taken=())
    with pytest.raises(PortTaken, match=f"port {port} was asked for twice"):
        choose_port("x", asked=port, kept=None, preferred=None, taken=(port,))


def test_settings_are_read_back_as_they_were_written_and_own_lines_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "env"
    letters = "aZ9 '\"\\#$={}éß%@:/?&;|~"
    chance = random.Random(5)
    values = {f"AGENTSTATE_{n}": "".join(chance.choices(letters, k=12)).strip() or "x" for n in range(50)}
    write_settings(path, {"AGENTSTATE_OLD": "gone"})
    with path.open("a") as file:
        file.write("# mine\nAGENTSTATE_MINE=kept\n")
    for _ in range(2):
        write_settings(path, values)
        assert dotenv_values(path, interpolate=False) == {**values, "AGENTSTATE_MINE": "kept"}
    assert path.read_text().count("# mine") == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_restarts_come_later_and_later() -> None:
    policy = RestartPolicy(delays=(0.1, 1.0, 5.0))
    assert [policy.delay_after(deaths) for deaths in (1, 2, 3, 4, 9)] == [0.1, 1.0, 5.0, 5.0, 5.0]


def test_an_unknown_setting_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="unknown setting moon"):
        Stack(tmp_path / "stack", settings={"moon": "full"})
    told = CliRunner().invoke(cli, ["up", "--data", str(tmp_path / "stack"), "--set", "moon=full"])
    assert "unknown setting moon" in str(told.exception)
    assert not (tmp_path / "stack").exists()


def test_the_table_holds_the_processes_in_start_order(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "stack")
    folder.make_folders()
    specs = ProcessTable(folder, "tag", StackChoices(money_workers=3)).process_specs()
    assert [spec.name for spec in specs] == [
        *("redis", "postgres", "qdrant", "sandbox", "migrate", "worker-io"),
        *("worker-money-1", "worker-money-2", "worker-money-3", "beat", "flower"),
    ]
    assert [spec.stage for spec in specs] == sorted(spec.stage for spec in specs)
    secrets = (tmp_path / "stack" / "secrets.json").read_text().split('"')[3::4]
    assert len(secrets) >= 2
    assert not any(secret in part for spec in specs for part in spec.command for secret in secrets)
