"""Runs in which several processes work on one bet at once, or time plays the part of the killer.

Each is played by a process of its own, with a database of its own, and gives results as the trials do.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

from agentstate.errors import AgentStateError
from tests.chaos.money.audit import audit
from tests.chaos.money.ground import Ground
from tests.chaos.money.lives import Life, gather, live
from tests.chaos.money.remote import LATE_S, LOST_ANSWERS
from tests.chaos.money.scene import Scene, Times
from tests.chaos.money.trials import Case, Death, Result, Stand, Trial, judged, store_of

CALLERS = 20
SENDS_LATE = "stopped before sending, woken late"
NOBODY_LISTENS = 1
"""A port of the loopback that refuses connections."""
HURRIED = Times(deadline_s=2.5, settle_s=0.6, margin_s=0.2)
"""Short enough that a run can wait for the end of the settle time."""

Played: TypeAlias = tuple[int, Any, list[str]]
"""Kills, what the survivor was told, and what else went wrong."""
Play: TypeAlias = Callable[[Stand, str], Played]


def answers_lost(stand: Stand, agent: str, fault: str, *, sweep_first: bool) -> Played:
    """The client lives, but gets no answer, or one that tells nothing."""
    return (*stand.play(agent, Trial((Death(fault=fault),), sweep_first=sweep_first)), [])


def applied_late(stand: Stand, agent: str) -> Played:
    """The client dies with its request on the way; the remote applies it when another process is looking already."""

    def first() -> None:
        stand.scene(agent, fault="late", times=HURRIED).bet()

    def second() -> Any:
        scene = stand.scene(agent, times=HURRIED)
        scene.let_time_pass(calls=False)
        told = scene.insist(pause=lambda: _wait_a_little(scene), tries=60)
        return {"told": told, "again": scene.insist()}

    killed, survivor = live(first).killed, live(second).told
    time.sleep(LATE_S)  # now it has been applied, whatever was done meanwhile
    return int(killed), survivor, []


def race(stand: Stand, agent: str) -> Played:
    """Twenty processes are let go at once with one key, and the remote takes its time."""
    waiting, go = os.pipe()

    def call() -> Any:
        os.close(go)
        os.read(waiting, 1)
        scene = stand.scene(agent, fault="slow")
        return scene.insist(pause=lambda: time.sleep(0.05), tries=200)

    callers = [Life(call) for _ in range(CALLERS)]
    os.close(go)
    gather(callers)
    os.close(waiting)
    told = [caller.end().told for caller in callers]
    wrong = [] if all(each == told[0] for each in told) else ["the callers were told different things"]
    requests = stand.truth()["requests"].get(agent, 0)
    wrong += [] if requests == 1 else [f"{requests} requests reached the remote"]
    return 0, {"told": told[0], "again": told[-1]}, wrong


def zombie(stand: Stand, agent: str) -> Played:
    """A caller is stopped with the answer in its hands; another settles the bet; then the first one wakes up."""
    sleeper = Life(lambda: _told(stand.scene(agent, step=_stop_at("after receiving POST"))))
    sleeper.wait_stopped()
    survivor = live(lambda: stand.scene(agent).recover(sweep_first=False)).told
    sleeper.go_on()
    told = sleeper.wait().told
    return 0, survivor, [] if told == "Fenced" else [f"the late caller was told {told}"]


def zombie_sends(stand: Stand, agent: str) -> Played:
    """A caller is stopped before it sends; another finds nothing and bets; then the first one sends.

    Nothing can stop that request. Where the remote does not honour keys the bet happens twice; then a break says so.
    """
    sleeper = Life(lambda: _told(stand.scene(agent, step=_stop_at("before sending POST"))))
    sleeper.wait_stopped()
    survivor = live(lambda: stand.scene(agent).recover(sweep_first=False)).told
    sleeper.go_on()
    told = sleeper.wait().told
    return 0, survivor, [] if told == "Fenced" else [f"the late caller was told {told}"]


def late_hand_back(stand: Stand, agent: str) -> Played:
    """A caller is stopped before it connects; another one takes over and bets; then the first finds out that it could
    not connect, and must not give the bet back as "not sent" while the second one is still at it.
    """
    sleeper = Life(lambda: _told(stand.scene(agent, step=_stop_at("before connecting POST"), port=NOBODY_LISTENS)))
    sleeper.wait_stopped()
    live(lambda: stand.scene(agent).let_time_pass())
    worker = Life(lambda: _told(stand.scene(agent, step=_stop_at("after receiving POST"))))
    worker.wait_stopped()
    sleeper.go_on()
    sleeper.wait()
    third = live(lambda: _told(stand.scene(agent))).told
    worker.go_on()
    worker.wait()
    survivor = live(lambda: stand.scene(agent).recover(sweep_first=False)).told
    return 0, survivor, [] if third == "EffectInProgress" else [f"a third caller was told {third}"]


def play(ground: Ground, case: Case, plays: Sequence[tuple[str, Play]]) -> list[Result]:
    """Play some runs on a database of their own; one result each."""
    store = store_of(ground, case)

    def work() -> list[dict[str, Any]]:
        stand = Stand(case, store, ground.remote)
        agents = stand.agents(len(plays))
        played = [run(stand, agent) for agent, (_, run) in zip(agents, plays, strict=True)]
        truth = stand.truth()
        found = audit(stand.store, truth, dict.fromkeys(agents, case.bets), swept=None if case.later else set(agents))
        return [
            asdict(judged(name, told, found[agent], truth["bets"].get(agent, []), kills=kills, wrong=wrong))
            for agent, (name, _), (kills, told, wrong) in zip(agents, plays, played, strict=True)
        ]

    results = Life(work).wait(timeout_s=600.0).told
    return [Result(**each) for each in results]


def _lost(fault: str, *, sweep_first: bool) -> Play:
    return lambda stand, agent: answers_lost(stand, agent, fault, sweep_first=sweep_first)


SCENARIOS: dict[str, list[Play]] = {
    "answers lost": [_lost(fault, sweep_first=first) for fault in LOST_ANSWERS for first in (False, True)],
    "applied after the client died": [applied_late],
    "20 callers, one key": [race],
    "late hand-back": [late_hand_back],
    "stopped with the answer, woken late": [zombie],
    SENDS_LATE: [zombie_sends],
}
"""By what they are called in the table."""


def _told(scene: Scene) -> Any:
    """What a caller that asks once is told: the receipt, or the name of the error."""
    try:
        return scene.bet()
    except AgentStateError as error:
        return type(error).__name__


def _stop_at(step: str) -> Callable[[str], None]:
    """Stop this process by SIGSTOP when it first comes to `step`."""
    awaited = {step}

    def watch(name: str) -> None:
        if name in awaited:
            awaited.clear()
            os.kill(os.getpid(), signal.SIGSTOP)

    return watch


def _wait_a_little(scene: Scene) -> None:
    time.sleep(0.1)
    scene.let_time_pass(calls=False)
