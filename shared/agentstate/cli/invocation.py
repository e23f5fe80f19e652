"""One run of the command: its global options, and the library, opened from them at first use."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from agentstate.agent import Fleet
    from agentstate.doctor import System
    from agentstate.runtime import Runtime
    from agentstate.settings import Settings


class Invocation:
    """Context of a command: settings, the runtime, and the output format."""

    def __init__(self, env_file: Path | None = None) -> None:
        self.env_file = env_file
        self.as_json = False

    @cached_property
    def settings(self) -> Settings:
        """The settings; raises ConfigurationError."""
        from agentstate.settings import Settings

        return Settings.load(env_file=self.env_file)

    @property
    def fleet(self) -> Fleet:
        """The fleet by the settings; raises ConfigurationError."""
        from agentstate.agent import Fleet

        return Fleet(self.runtime)

    @cached_property
    def runtime(self) -> Runtime:
        """The library's connections; raises ConfigurationError."""
        from agentstate.runtime import Runtime

        return Runtime(self.settings)

    def open_system(self, workers_timeout_s: float) -> System:
        """Open the system for checks; the caller closes it."""
        from agentstate.doctor import System

        return System(lambda: self.settings, env_file=self.env_file, workers_timeout_s=workers_timeout_s)

    def close(self) -> None:
        """Close the runtime if it was opened."""
        opened = self.__dict__.pop("runtime", None)
        if opened is not None:
            opened.close()


pass_invocation = click.make_pass_decorator(Invocation)
