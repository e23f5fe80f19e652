"""The run of `make chaos-memory`, small: each process is killed once while memories come in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.memory.run import Plan, run

pytestmark = pytest.mark.long


def test_no_acknowledged_memory_is_lost_when_worker_index_redis_and_postgres_are_killed(fast_folder: Path) -> None:
    rows = list(run(fast_folder, Plan(memories=300, kills=1, seed=1, longest_pause_s=0.3), say=lambda _text: None))
    assert [row for row in rows if row.met is False] == []
    assert sum(row.met is True for row in rows) == 9
