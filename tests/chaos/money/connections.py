"""What happens to the connection to Postgres: cut at every exchange, and the server killed and brought back.

Nobody dies here. The bettor finds out that its store does not answer, and asks again with the same key.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal, TypeAlias

from deploy.local.stack.folder import Folder
from tests.chaos.money.audit import audit
from tests.chaos.money.ground import PROXIED, Ground
from tests.chaos.money.lives import Life, gather, live
from tests.chaos.money.scene import Times
from tests.chaos.money.trials import Case, Result, Stand, judged, store_of
from tests.worlds.waiting import until

When: TypeAlias = Literal["before", "after"]
WHENS: tuple[When, ...] = ("before", "after")
Cut: TypeAlias = tuple[int, When]
"""The number of an exchange, and whether it is cut before the question or after the answer."""

BETTORS, BETS = 4, 25
RESTARTS = 2
PATIENT = Times(deadline_s=3.0, settle_s=0.5, margin_s=0.5)


class Proxy:
    """Orders to a running proxy."""

    def __init__(self, port: int) -> None:
        self._port = port

    def arm(self, at: int, when: When = "after") -> None:
        """Cut at exchange `at` from now on; 0 cuts none."""
        self._order(f"arm {at} {when}")

    def count(self) -> int:
        """Exchanges since it was armed."""
        return int(self._order("count"))

    def _order(self, order: str) -> str:
        with socket.create_connection(("127.0.0.1", self._port)) as wire, wire.makefile("rw") as lines:
            lines.write(f"orders\n{order}\n\n")
            lines.flush()
            return lines.readline()


def exchanges(ground: Ground, case: Case) -> int:
    """How many exchanges with the database one bet takes, the first connection's own included."""
    store = store_of(ground, _proxied(case))

    def count() -> int:
        stand, proxy = Stand(case, store, ground.remote), Proxy(ground.proxy)
        (agent,) = stand.agents(1)
        proxy.arm(0)
        live(lambda: stand.scene(agent).bet())
        return proxy.count()

    return int(live(count).told)


def cut(ground: Ground, case: Case, cuts: Sequence[Cut]) -> list[Result]:
    """One bet for each cut."""
    store = store_of(ground, _proxied(case))

    def work() -> list[dict[str, Any]]:
        stand, proxy = Stand(case, store, ground.remote), Proxy(ground.proxy)
        agents = stand.agents(len(cuts))
        told = []
        for agent, (at, when) in zip(agents, cuts, strict=True):
            proxy.arm(at, when)
            told.append(live(lambda agent=agent: _bet_twice(stand, agent)).told)  # type: ignore[misc]
        proxy.arm(0)
        truth = stand.truth()
        found = audit(stand.store, truth, dict.fromkeys(agents, case.bets), swept=None if case.later else set(agents))
        return [
            asdict(judged(f"exchange {at}, {when}", said, found[agent], truth["bets"].get(agent, [])))
            for agent, (at, when), said in zip(agents, cuts, told, strict=True)
        ]

    return [Result(**each) for each in Life(work).wait(timeout_s=600.0).told]


def _proxied(case: Case) -> Case:
    return replace(case, engine=PROXIED)


def restart(ground: Ground, case: Case) -> list[Result]:
    """Bettors bet while the server of the database is killed again and again; a result for each of them."""
    store, progress = store_of(ground, case), mmap.mmap(-1, 8 * BETTORS)
    folder = ground.own_postgres
    assert folder is not None, "a server that belongs to others is not killed"
    stand = Stand(case, store, ground.remote)
    names = stand.agents(BETTORS)
    lives = [
        Life(lambda n=n, name=name: _bet_on(stand, name, progress, n))  # type: ignore[misc]
        for n, name in enumerate(names)
    ]
    for number in range(1, RESTARTS + 1):
        until(lambda at=number: sum(_counts(progress)) >= at * BETTORS * BETS // (RESTARTS + 1))  # type: ignore[misc]
        _kill_postgres(folder)
    gather(lives, timeout_s=300.0)
    told = [each.end().told for each in lives]
    results = live(lambda: _restarted(stand, dict(zip(names, told, strict=True)))).told
    return [Result(**each) for each in results]


def _restarted(stand: Stand, told: dict[str, list[Any]]) -> list[dict[str, Any]]:
    truth = stand.truth()
    found = audit(stand.store, truth, dict.fromkeys(told, BETS), swept=set(told))
    results = []
    for name, answers in told.items():
        unlike = [answer for answer in answers if answer not in truth["bets"][name]]
        said = {"told": answers[0], "again": answers[0]}
        wrong = [f"told {each}" for each in unlike]
        results.append(asdict(judged(name, said, found[name], truth["bets"][name], wrong=wrong)))
    return results


def _bet_on(stand: Stand, agent: str, progress: mmap.mmap, number: int) -> list[Any]:
    scene = stand.scene(agent, times=PATIENT)
    told = []
    for count in range(1, BETS + 1):
        told.append(scene.insist(f"bet:{count}", pause=lambda: time.sleep(0.1), tries=1_000))
        struct.pack_into("q", progress, 8 * number, count)
    return told


def _bet_twice(stand: Stand, agent: str) -> Any:
    scene = stand.scene(agent)
    return {"told": scene.insist(), "again": scene.insist()}


def _kill_postgres(folder: Folder) -> None:
    """`kill -9` the server; its supervisor brings it back."""
    before = folder.read_record()["processes"]["postgres"]["pid"]
    os.kill(before, signal.SIGKILL)
    until(lambda: _is_back(folder, before))


def _is_back(folder: Folder, before: int) -> bool:
    known = folder.read_record()["processes"]["postgres"]
    return known["state"] == "running" and known["pid"] != before


def _counts(progress: mmap.mmap) -> tuple[int, ...]:
    return struct.unpack(f"{BETTORS}q", progress[:])
