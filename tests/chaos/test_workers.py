"""A few bets through real workers that are killed at random: the short form of `make chaos-workers`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.workers.run import Plan, run

pytestmark = pytest.mark.long


def test_bets_through_killed_workers_happen_once_each(tmp_path: Path) -> None:
    rows = run(tmp_path, Plan(bets=60, kills=6, seed=7), say=print)
    assert [row for row in rows if row.met is False] == []
