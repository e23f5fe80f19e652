"""The run of `make chaos-conversation`, small: the worker is killed once while four writers write to each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.conversation.run import Plan, run

pytestmark = pytest.mark.chaos


def test_every_turn_is_accounted_for_while_the_provider_fails_and_the_worker_is_killed(fast_folder: Path) -> None:
    rows = list(run(fast_folder, Plan(conversations=3, turns=4, kills=1, seed=1), say=lambda _text: None))
    assert [row for row in rows if row.met is False and "sent by the provider" not in row.name] == []
    assert sum(row.met is True for row in rows) >= 8
