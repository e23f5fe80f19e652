"""Random postings against a ledger and a dict: they always agree."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentstate.errors import InsufficientFunds, KeyReused
from agentstate.money import Money, TransactionLedger, move
from agentstate.money.postings import COUNTER_BUCKETS
from agentstate.store.store import Store

_runs = itertools.count(1)

places = st.tuples(st.sampled_from(["casino", "trading"]), st.sampled_from(["available", "in_flight", "external"]))
steps = st.tuples(st.integers(0, 8), places, places, st.integers(1, 50)).filter(lambda step: step[1] != step[2])


class Model:
    """What a ledger should hold: balances, and what each key stands for."""

    def __init__(self) -> None:
        self.balances: dict[Any, int] = defaultdict(int)
        self.posted: dict[str, Any] = {}

    def expect(self, key: str, source: Any, target: Any, amount: int) -> type[Exception] | str:
        given = (source, target, amount)
        if key in self.posted:
            return "replayed" if self.posted[key] == given else KeyReused
        if source[1] not in COUNTER_BUCKETS and self.balances[source] < amount:
            return InsufficientFunds
        self.posted[key] = given
        self.balances[source] -= amount
        self.balances[target] += amount
        return "posted"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=st.lists(steps, max_size=12))
def test_the_ledger_does_what_a_dict_would(store: Store, sequence: list[Any]) -> None:
    ledger, model = TransactionLedger(store, f"ag_model_{next(_runs)}_{store.dialect}"), Model()
    for number, source, target, amount in sequence:
        expected = model.expect(f"k{number}", source, target, amount)
        try:
            posted = ledger.post(f"k{number}", move(Money(amount), source, target))
            assert expected == ("replayed" if posted.replayed else "posted")
        except (InsufficientFunds, KeyReused) as error:
            assert type(error) is expected  # noqa: PT017 the model says which
    for (service, bucket), minor in model.balances.items():
        assert ledger.balance(service, bucket=bucket).minor == minor
        assert ledger.balance_from_ledger(service=service, bucket=bucket) == Money(minor).amount
    assert len(ledger.recent(100)) == len(model.posted)
