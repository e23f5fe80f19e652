"""The web application: the routes of both dialects and the sandbox's own, over one set of books."""

from __future__ import annotations

from typing import Any

from tornado.web import Application, RequestHandler

from deploy.local.sandbox.control import (
    ChainHandler,
    FaultsHandler,
    FundHandler,
    HealthHandler,
    SwitchesHandler,
    TruthHandler,
)
from deploy.local.sandbox.faults import FaultPlan
from deploy.local.sandbox.gateway.handler import GatewayHandler
from deploy.local.sandbox.gateway.routes import GatewayRoutes
from deploy.local.sandbox.limits import RequestLimits
from deploy.local.sandbox.model.books import Books
from deploy.local.sandbox.own.handler import OwnHandler
from deploy.local.sandbox.own.routes import own_routes
from deploy.local.sandbox.serving import Parts


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
