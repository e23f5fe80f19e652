"""Which differences timing explains."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentstate.money.reconciliation.reconciler import is_explained

amounts = st.integers(-1_000, 1_000).filter(bool)


@given(st.lists(amounts, max_size=8), st.integers(-3_000, 3_000))
def test_exactly_the_sums_of_what_is_open_are_explained(values: list[int], difference: int) -> None:
    sums = {sum(chosen) for size in range(1, len(values) + 1) for chosen in combinations(values, size)}
    assert is_explained(difference, values) == (difference in sums)


@given(st.lists(amounts, min_size=13, max_size=20))
def test_of_many_any_sum_between_the_bounds_is(values: list[int]) -> None:
    highest = sum(value for value in values if value > 0)
    assert is_explained(highest, values)
    assert not is_explained(highest + 1, values)
    assert is_explained(highest + 1, values, tolerance=1)


@pytest.mark.parametrize(("difference", "tolerance", "told"), [(105, 4, False), (105, 5, True), (95, 5, True)])
def test_tolerance_widens_each_sum(difference: int, tolerance: int, told: bool) -> None:
    assert is_explained(difference, [100], tolerance) is told


def test_nothing_open_explains_nothing() -> None:
    assert not is_explained(1, [])
    assert not is_explained(1, [0])
