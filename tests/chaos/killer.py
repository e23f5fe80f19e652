"""Who kills: one process after the other, at random moments, each again once it runs again."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from deploy.local.stack.control import restart_process
from tests.chaos.world import World
from tests.worlds.waiting import until

LONGEST_PAUSE_S = 1.5


class Killer:
    """Kills the processes of a stack while there is something to disturb."""

    def __init__(
        self,
        world: World,
        targets: Sequence[str],
        draw: random.Random,
        say: Callable[[str], None],
        *,
        longest_pause_s: float = LONGEST_PAUSE_S,
    ) -> None:
        self._world, self._targets = world, targets
        self._longest_pause_s = longest_pause_s
        self._draw = draw
        self._say = say
        self.kills: Counter[str] = Counter()
        self.revived = 0
        """Processes that had died so often that the supervisor left them alone, as it is meant to."""

    def rage(self, goes_on: Callable[[], bool], *, at_least: int) -> None:
        """Kill at random while `goes_on()`, and each process `at_least` times in any case."""
        while goes_on() or min(self.kills[name] for name in self._targets) < at_least:
            time.sleep(self._draw.uniform(0, self._longest_pause_s))
            rarest = min(self.kills[name] for name in self._targets)
            waiting = [name for name in self._targets if goes_on() or self.kills[name] == rarest]
            self._kill(self._draw.choice(waiting))

    def revive(self) -> None:
        """Start what the supervisor left alone, as its operator would."""
        for name in self._targets:
            if self._world.processes()[name]["state"] == "gave up":
                self.revived += 1
                self._say(f"{name} died too often for its supervisor; started again")
                restart_process(self._world.folder, name)
                until(lambda name=name: self._world.processes()[name]["state"] != "gave up")  # type: ignore[misc] # now

    def _kill(self, name: str) -> None:
        killed = self._world.kill(name)
        if killed is None:
            self.revive()
            return
        self.kills[name] += 1
        self._say(f"kill -9 {name}, no. {self.kills.total()}")
        until(lambda: self._is_back(name, killed))

    def _is_back(self, name: str, killed: int) -> bool:
        self.revive()
        return self._world.is_running_again(name, killed)
