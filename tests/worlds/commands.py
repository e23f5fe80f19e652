"""The command, run in this process against this test's own databases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner

from agentstate.cli.root import cli


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command: TypeAlias = Callable[..., Answer]


@pytest.fixture
def agentstate(settings_env: dict[str, str]) -> Command:
    """`agentstate("jobs", "list", JOBS_KEPT_S=...)`: words, and settings that differ."""

    def run(*words: str, stdin: str | None = None, **changes: str) -> Answer:
        changed = {f"AGENTSTATE_{name}": value for name, value in changes.items()}
        result = CliRunner().invoke(cli, words, prog_name="agentstate", env={**settings_env, **changed}, input=stdin)
        return Answer(result.exit_code, result.stdout, result.stderr)

    return run
