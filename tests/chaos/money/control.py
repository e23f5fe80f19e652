"""The control: a checkpoint manager as it is often written, which the harness has to find at fault.

It follows the description of a well-known guide and is written anew: the key is made from the operation and its
parameters, what was done is noted after the call, and a note that is there means "do not call". The bookkeeping is
what such a program does around it: one row when the call is over.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.chaos.money.ground import Ground
from tests.chaos.money.lives import live, spread
from tests.chaos.money.scene import PARAMS
from tests.chaos.money.trap import Trap
from tests.chaos.money.trials import Death, Result, Trial
from tests.chaos.money.wire import Wire

WATCHED = (__file__,)
Step = Callable[[str], None]


class CheckpointAfter:
    """Remembers what was executed, by what it was."""

    def __init__(self, path: Path, step: Step) -> None:
        self._path, self._step = path, step
        self._write("CREATE TABLE IF NOT EXISTS done (name TEXT PRIMARY KEY, result TEXT)")
        self._write("CREATE TABLE IF NOT EXISTS booked (bet TEXT)")

    def execute_once(self, operation: str, params: Mapping[str, Any], call: Callable[[], dict[str, Any]]) -> Any:
        """Call, unless a result is noted."""
        text = json.dumps([operation, params], sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()
        noted = self._read("SELECT result FROM done WHERE name = ?", name)
        if noted:
            return json.loads(noted[0][0])
        result = call()
        self._write("INSERT OR IGNORE INTO done VALUES (?, ?)", name, json.dumps(result))
        return result

    def book(self, bet: str) -> None:
        """Add a row to the books."""
        self._write("INSERT INTO booked VALUES (?)", bet)

    def booked(self) -> int:
        """Rows in the books."""
        count: int = self._read("SELECT count(*) FROM booked")[0][0]
        return count

    def _read(self, statement: str, *values: str) -> list[Any]:
        connection = self._connect()
        self._step("before reading")
        found = connection.execute(statement, values).fetchall()
        self._step("after reading")
        connection.close()
        return found

    def _write(self, statement: str, *values: str) -> None:
        connection = self._connect()
        self._step("before writing")
        connection.execute(statement, values)
        self._step("before commit")
        connection.commit()
        self._step("after commit")
        connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection


def points(ground: Ground) -> list[str]:
    """The points of one bet."""
    found: list[str] = live(lambda: _life(ground, "ag_control_count", Death())).told
    return found


def run(ground: Ground, trials: Sequence[Trial], *, say: Callable[[int], None]) -> list[Result]:
    """Play the same trials as ours: one bet each, killed, and come back to."""

    def work(number: int, share: Sequence[Trial], done: Callable[[], None]) -> list[dict[str, Any]]:
        results = []
        for count, trial in enumerate(share):
            results.append(asdict(_play(ground, f"ag_control_{number}_{count}", trial)))
            done()
        return results

    return [Result(**each) for share in spread(trials, work, say=say) for each in share]


def _play(ground: Ground, agent: str, trial: Trial) -> Result:
    killed = live(lambda: _life(ground, agent, trial.deaths[0])).killed
    live(lambda: _life(ground, agent, Death()))
    applied = len(Wire(ground.remote).truth()["bets"].get(agent, ()))
    booked = CheckpointAfter(_path(ground, agent), lambda _name: None).booked()
    return Result(
        trial=str(trial),
        kills=int(killed),
        told_wrong=0,
        doubled=max(0, applied - 1),
        lost=int(applied == 0),
        unequal=int(booked != applied),
        why=f"applied {applied} times, booked {booked} times",
    )


def _life(ground: Ground, agent: str, death: Death) -> list[str]:
    trap = Trap(death.at, WATCHED)
    wire = Wire(ground.remote, fault=death.fault, step=trap.step)
    trap.set()
    manager = CheckpointAfter(_path(ground, agent), trap.step)
    bet = manager.execute_once("bet", PARAMS, lambda: wire.bet(agent, "none"))
    manager.book(bet["bet"])
    trap.lift()
    return trap.passed


def _path(ground: Ground, agent: str) -> Path:
    return ground.folder / f"{agent}.db"
