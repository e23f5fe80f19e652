"""Who kills: one process after the other, at random moments, each again once it runs again."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from deploy.local.stack.control import restart_process
from tests.chaos.ground import Ground
from tests.worlds.waiting import until

TARGETS = ("worker-io", "qdrant", "redis", "postgres")
LONGEST_PAUSE_S = 1.5


class Killer:
    """Kills the processes of a stack while there is something to disturb."""

    def __init__(
        self, ground: Ground, seed: int, say: Callable[[str], None], *, longest_pause_s: float = LONGEST_PAUSE_S
    ) -> None:
        self._ground = ground
        self._longest_pause_s = longest_pause_s
        self._draw = random.Random(seed)
        self._say = say
        self.kills: Counter[str] = Counter()
        self.revived = 0
        """Processes that had died so often that the supervisor left them alone, as it is meant to."""

    def rage(self, goes_on: Callable[[], bool], *, at_least: int) -> None:
        """Kill at random while `goes_on()`, and each process `at_least` times in any case."""
        while goes_on() or min(self.kills[name] for name in TARGETS) < at_least:
            time.sleep(self._draw.uniform(0, self._longest_pause_s))
            rarest = min(self.kills[name] for name in TARGETS)
            waiting = [name for name in TARGETS if goes_on() or self.kills[name] == rarest]
            self._kill(self._draw.choice(waiting))

    def revive(self) -> None:
        """Start what the supervisor left alone, as its operator would."""
        for name in TARGETS:
            if self._ground.processes()[name]["state"] == "gave up":
                self.revived += 1
                self._say(f"{name} died too often for its supervisor; started again")
                restart_process(self._ground.folder, name)
                until(lambda name=name: self._ground.processes()[name]["state"] != "gave up")  # type: ignore[misc] # now

    def _kill(self, name: str) -> None:
        killed = self._ground.kill(name)
        if killed is None:
            self.revive()
            return
        self.kills[name] += 1
        self._say(f"kill -9 {name}, no. {self.kills.total()}")
        until(lambda: self._is_back(name, killed))

    def _is_back(self, name: str, killed: int) -> bool:
        self.revive()
        return self._ground.is_running_again(name, killed)
