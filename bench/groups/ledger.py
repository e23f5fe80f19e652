"""The ledger's rate of posting against bare INSERT commits, and with one shared account.

A posting is a row that says what happened, two entries sealed by their accounts' hash chains, and two account rows; all
of it idempotent by key and append-only by triggers. Agents have counter-accounts of their own, so they never wait for
each other; a system account that all share shows what that is worth.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

from agentstate.money import Money, TransactionLedger, earn, move
from agentstate.store.store import Store
from bench.baseline import make_bare_insert
from bench.stack import BenchStack
from bench.timing import Rounds, measure_rate, run_rounds
from deploy.local.stack.results import Row, at_least

CLIENTS = 8
CENT = Money.from_minor(10_000)
BARE = "bare INSERT commits, SQLAlchemy"

_numbers = itertools.count(1)


def measure_rows(bench: BenchStack) -> Iterator[Row]:
    """Posts a second of one client and of several, each also as a part of the rate of bare inserts."""
    url = bench.make_postgres()
    store = Store.open(url, pool_size=CLIENTS)
    for clients in (1, CLIENTS):
        found = _measure_rates(url, store, clients, bench)
        who = "1 client" if clients == 1 else f"{clients} clients"
        yield Row(f"bare INSERT commits, {who}", round(found.median_of("bare")), "/s")
        yield Row(f"ledger posts, {who}", round(found.median_of("own")), "/s")
        yield at_least(f"ledger posts, {who}", round(found.ratio_of("own", "bare"), 2), 0.4, "x", BARE)
    yield Row("ledger posts, one shared account", round(found.median_of("shared")), "/s")
    yield Row("ledger posts, one shared account", round(found.ratio_of("shared", "bare"), 2), "x", reference=BARE)
    store.close()


def _measure_rates(url: str, store: Store, clients: int, bench: BenchStack) -> Rounds:
    bare = make_bare_insert(url, clients=clients)
    ledgers = [TransactionLedger(store, f"ag_{client}") for client in range(clients)]
    shared = TransactionLedger(store, "ag_everybody")
    sides: dict[str, Callable[[int], object]] = {
        "bare": lambda _client: bare(),
        # Each client posts for an agent of its own; or all from one counter-account, as from one of the whole system.
        "own": lambda client: ledgers[client].post(f"p{next(_numbers)}", earn("casino", CENT)),
        "shared": lambda client: shared.post(
            f"p{next(_numbers)}", move(CENT, ("system", "external"), (f"agent-{client}", "available"))
        ),
    }
    calls = bench.choose_size(30, 5)
    measured = {name: partial(measure_rate, call, clients=clients, calls=calls) for name, call in sides.items()}
    return run_rounds(measured, rounds=bench.choose_size(15, 3))
