"""`execute_once` against one bare INSERT commit, the least that durable storage costs, and against a DBOS step.

Ours commits twice where both others commit once: the intent before the call, the outcome after it. A bet does the same
with money, which neither of the others has: its stake is held with the intent, and booked with the outcome, four
entries of a chained ledger in all. The call itself does nothing, on all sides.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

from agentstate.money import AgentEffects, Effects, Guarantee, Money, TransactionLedger, Unknown, call, spend
from agentstate.store.store import Store
from bench.baseline import make_bare_insert
from bench.stack import BenchStack
from bench.timing import Rounds, median_seconds, run_rounds, time_call
from deploy.local.stack.results import Row, at_most

CALLS = 10
STAKE = Money(1)
BARE = "a bare INSERT commit, SQLAlchemy"
DBOS_STEP = "dbos 3.4 step"
CLASSES = itertools.cycle((Guarantee.KEYED, Guarantee.VERIFIABLE))

_numbers = itertools.count(1)


def measure_rows(ground: BenchStack) -> Iterator[Row]:
    """The p50 of an effect without money, of a bet, of its replay, and of a DBOS step; no guards are set."""
    yield from _on_postgres(ground)
    yield from _on_sqlite(ground)


def _on_postgres(ground: BenchStack) -> Iterator[Row]:
    with Bettor(ground.make_postgres()) as bettor, dbos_steps(ground.make_postgres()) as steps:
        sides = _sides(bettor) | {"dbos": lambda: statistics.median(steps(CALLS))}
        found = run_rounds(sides, rounds=ground.choose_size(30, 3))
    once = "execute_once, Postgres"
    yield Row("bare INSERT commit, Postgres", _ms(found, "bare"), "ms")
    yield Row(once, _ms(found, "call"), "ms")
    yield at_most(once, round(found.ratio_of("call", "bare"), 2), 2.0, "x", BARE)
    yield at_most("execute_once against a DBOS step", round(found.ratio_of("call", "dbos"), 2), 1.0, "x", DBOS_STEP)
    yield Row("a bet: held, called, booked, Postgres", _ms(found, "bet"), "ms")
    yield Row("a bet: held, called, booked, Postgres", round(found.ratio_of("bet", "bare"), 2), "x", reference=BARE)
    yield at_most("a bet against a DBOS step", round(found.ratio_of("bet", "dbos"), 2), 1.0, "x", DBOS_STEP)
    yield Row("a DBOS step, Postgres", round(found.ratio_of("dbos", "bare"), 2), "x", reference=BARE)
    yield at_most("replay of an effect, Postgres", round(found.ratio_of("replay", "bare"), 2), 0.7, "x", BARE)


def _on_sqlite(ground: BenchStack) -> Iterator[Row]:
    with Bettor(ground.make_sqlite()) as bettor:
        found = run_rounds(_sides(bettor), rounds=ground.choose_size(30, 3))
    yield Row("bare INSERT commit, SQLite", _ms(found, "bare"), "ms")
    yield Row("execute_once, SQLite", _ms(found, "call"), "ms")
    yield Row("execute_once, SQLite", round(found.ratio_of("call", "bare"), 2), "x", reference=BARE)
    yield Row("a bet: held, called, booked, SQLite", round(found.ratio_of("bet", "bare"), 2), "x", reference=BARE)
    yield Row("replay of an effect, SQLite", round(found.ratio_of("replay", "bare"), 2), "x", reference=BARE)


class Bettor:
    """An agent that bets once for each key; a context manager that closes its store."""

    def __init__(self, url: str) -> None:
        self._store = Store.open(url)
        agent = "ag_bench"
        TransactionLedger(self._store, agent).deposit("start", "casino", Money(1_000_000))
        self._effects = AgentEffects(Effects(self._store, secret=b"bench"), agent)
        self.bare = make_bare_insert(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._store.close()

    def call(self) -> None:
        """One call that moves no money of the ledger, under a key of its own."""
        self._effects.execute_once(
            f"call:{next(_numbers)}",
            call(
                lambda remote_key: {"bet_id": remote_key},
                service="casino",
                name="call",
                guarantee=next(CLASSES),
                params={"side": "heads"},
                verify=lambda _intent: Unknown(),
            ),
        )

    def bet(self, key: str | None = None) -> None:
        """One bet, under a key of its own when none is given."""
        self._effects.execute_once(
            key or f"bet:{next(_numbers)}",
            call(
                lambda remote_key: {"bet_id": remote_key},
                service="casino",
                name="bet",
                guarantee=Guarantee.KEYED if key else next(CLASSES),
                params={"side": "heads", "amount": STAKE},
                hold=STAKE,
                verify=lambda _intent: Unknown(),
                postings=lambda _receipt: spend("casino", STAKE),
            ),
        )


def _sides(bettor: Bettor) -> dict[str, Callable[[], float]]:
    sides: dict[str, Callable[[], object]] = {
        "bare": bettor.bare,
        "call": bettor.call,
        "bet": bettor.bet,
        "replay": partial(bettor.bet, "again"),
    }
    return {name: partial(median_seconds, call, CALLS) for name, call in sides.items()}


@contextmanager
def dbos_steps(url: str) -> Iterator[Callable[[int], list[float]]]:
    """Return a function that runs a DBOS workflow of empty steps and returns the seconds of each step."""
    # Installed for the benchmarks alone.
    from dbos import DBOS

    @DBOS.step()
    def step(number: int) -> dict[str, Any]:
        return {"bet_id": number}

    @DBOS.workflow()
    def workflow(steps: int) -> list[float]:
        return [time_call(partial(step, number)) for number in range(steps)]

    plain = url.replace("+psycopg", "")
    DBOS(config={"name": "bench", "system_database_url": plain, "log_level": "ERROR"})
    DBOS.launch()
    try:
        yield workflow
    finally:
        DBOS.destroy()


def _ms(found: Rounds, side: str) -> float:
    return round(found.median_of(side) * 1000, 2)
