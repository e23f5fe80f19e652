"""`python -m deploy.local.sandbox --data DIR --port N --seed N`: run the sandbox until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.ioloop import PeriodicCallback
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from deploy.local.sandbox.faults import FaultPlan
from deploy.local.sandbox.http.control import (
    ChainHandler,
    FaultsHandler,
    FundHandler,
    HealthHandler,
    SwitchesHandler,
    TruthHandler,
)
from deploy.local.sandbox.http.dialects import GatewayHandler, GatewayRoutes, OwnHandler, own_routes
from deploy.local.sandbox.http.serving import Parts, RequestLimits
from deploy.local.sandbox.model.books import Books, Chance, FolderInUse
from deploy.local.sandbox.model.escrow import Escrows
from deploy.local.sandbox.model.funding import Deposits
from deploy.local.sandbox.model.trading import Orders

SWEEP_MS = 300_000
"""Overdue escrows are given back every five minutes and at the start, as at the real service."""

POLL_MS = 60_000
"""Deposits are looked for every minute."""

MONITOR_MS = 30_000
"""Resting orders are looked at twice a minute."""

LARGEST_REQUEST = 1_048_576


def main() -> int:
    """Run; 0 after a clean stop, 1 when it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.sandbox", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the books; made when missing")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; loopback unless you must")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one")
    parser.add_argument("--seed", type=int, default=7, help="seed of games, prices and identifiers")
    options = parser.parse_args()
    try:
        books = Books(options.data, Chance(options.seed))
    except (FolderInUse, OSError) as error:
        sys.stderr.write(f"sandbox: cannot open {options.data}: {error}\n")
        return 1
    try:
        asyncio.run(_serve_sandbox(books, options.host, options.port))
    except OSError as error:
        sys.stderr.write(f"sandbox: cannot listen on {options.host}:{options.port}: {error}. Choose another --port.\n")
        return 1
    finally:
        books.close()
    return 0


async def _serve_sandbox(books: Books, host: str, port: int) -> None:
    sockets = bind_sockets(port, host)
    server = HTTPServer(make_app(books), max_body_size=LARGEST_REQUEST)
    server.add_sockets(sockets)
    _sweep_escrows(books)
    clockwork = make_clock_callbacks(books)
    for callback in clockwork:
        callback.start()
    sys.stdout.write(f"sandbox ready on http://{host}:{sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    for callback in clockwork:
        callback.stop()
    server.stop()
    await server.close_all_connections()


def make_clock_callbacks(books: Books) -> list[PeriodicCallback]:
    """Return the periodic callbacks of the services' own clocks."""
    return [
        PeriodicCallback(lambda: _sweep_escrows(books), SWEEP_MS),
        PeriodicCallback(lambda: _run_in_transaction(books, Deposits(books).poll_addresses), POLL_MS),
        PeriodicCallback(lambda: _run_in_transaction(books, Orders(books).fill_due_orders), MONITOR_MS),
    ]


def _run_in_transaction(books: Books, work: Callable[[], int]) -> None:
    with books.open_transaction():
        work()


def _sweep_escrows(books: Books) -> None:
    with books.open_transaction():
        Escrows(books).refund_overdue()


def make_app(books: Books) -> Application:
    """The application over open books, with the fault plan that was last set."""
    plan = FaultPlan()
    plan.replace_rules(books.read_switch("faults", {}))
    control: dict[str, Any] = {"books": books, "plan": plan}
    serving = {"parts": Parts(books=books, plan=plan, limits=RequestLimits())}
    return Application(
        [
            ("/healthz", HealthHandler),
            ("/__control/faults", FaultsHandler, control),
            ("/__control/switches", SwitchesHandler, control),
            ("/__control/chain", ChainHandler, control),
            ("/__control/fund", FundHandler, control),
            ("/__truth", TruthHandler, control),
            ("/api/v1/([a-z]+)/([a-z-]+)", GatewayHandler, {**serving, "routes": GatewayRoutes(books)}),
            ("/own/([a-z]+)(/.*)", OwnHandler, {**serving, "faces": own_routes(books)}),
        ],
        default_handler_class=NotFoundHandler,
        log_function=lambda _handler: None,
    )


class NotFoundHandler(RequestHandler):
    """Any other path."""

    def prepare(self) -> None:
        """Answer 404 to every method."""
        self.set_status(404)
        self.finish({"error": "not_found"})


if __name__ == "__main__":
    sys.exit(main())
