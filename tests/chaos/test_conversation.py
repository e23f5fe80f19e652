"""The run of `make chaos-conversation`, small: the worker is killed once while four writers write to each."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.chaos.conversation.run import Plan, run
from tests.chaos.conversation.world import one_worker

pytestmark = pytest.mark.long


def test_every_turn_is_accounted_for_while_the_provider_fails_and_the_worker_is_killed(
    fast_folder: Path, settings_env: dict[str, str]
) -> None:
    plan = Plan(conversations=3, turns=4, kills=1, seed=1, api="openai", pauses_s=(0.2, 0.6))
    in_world = partial(one_worker, fast_folder, settings_env)
    rows = list(run(in_world, plan, say=lambda _text: None))
    assert [row for row in rows if row.met is False and "sent by the provider" not in row.name] == []
    assert sum(row.met is True for row in rows) >= 9
