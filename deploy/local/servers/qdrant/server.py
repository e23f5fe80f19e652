"""The web side and the process around it: authentication, routing, answers in the shape of Qdrant's REST interface.

One process owns the data folder; it syncs changes regularly, and on SIGTERM it syncs and closes.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from tornado.httpserver import HTTPServer
from tornado.ioloop import PeriodicCallback
from tornado.web import Application, RequestHandler

from agentstate.errors import AgentStateError, ConfigurationError, Conflict, InvalidInput, NotFound, TooLarge
from deploy.local.servers.qdrant import handlers
from deploy.local.servers.qdrant.catalog import Catalog
from deploy.local.servers.qdrant.engine import engine_version, translate_errors
from deploy.local.servers.qdrant.folder import DataFolder
from deploy.local.servers.qdrant.route import Call, find_route

__all__ = ["MAX_BODY_BYTES", "SERVED_VERSION", "handlers", "make_application"]

SERVED_VERSION = "1.20.0"
"""The release of Qdrant whose REST interface is spoken; the client compares it with its own."""
MAX_BODY_BYTES = 32 * 1024 * 1024
"""The largest request, the server's own default."""
_SLOW_SECONDS = 1.0
_OPEN_PATHS = {"/", "/healthz", "/livez", "/readyz"}
_LOOPBACK_NAMES = {"127.0.0.1", "localhost", "[::1]"}
_STATUS: tuple[tuple[type[AgentStateError], int], ...] = (
    (TooLarge, 413),
    (NotFound, 404),
    (Conflict, 409),
    (InvalidInput, 400),
)

Ready = Callable[[], str | None]
"""Tells why the process is not ready, or None when it is."""

_log = logging.getLogger(__name__)


class NotServed(AgentStateError):
    """This engine does not serve the route."""


class NotAllowed(AgentStateError):
    """The caller may not ask this."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class EngineHandler(RequestHandler):
    """Every request: checks, the route's function, the answer."""

    def initialize(self, catalog: Catalog, api_key: str | None, ready: Ready) -> None:
        """Take the arguments of the application."""
        self._catalog = catalog
        self._api_key = api_key
        self._ready = ready
        self._started = time.perf_counter()

    async def _answer_request(self) -> None:
        try:
            self._check_caller()
            method, path = self.request.method or "", self.request.path
            if method != "GET" or path not in _OPEN_PATHS:
                self._send_json(200, {"result": self._find_result(method, path), "status": "ok"})
            elif path == "/":
                # `engine` distinguishes this process from a server.
                self._send_json(
                    200,
                    {
                        "title": "qdrant - vector search engine",
                        "version": SERVED_VERSION,
                        "engine": f"edge {engine_version()}",
                    },
                )
            else:
                reason = self._ready() if path == "/readyz" else None
                self.set_status(200 if reason is None else 503)
                self.set_header("Content-Type", "text/plain; charset=utf-8")
                self.finish(reason or {"/healthz": "healthz check passed"}.get(path, "all shards are ready"))
        except AgentStateError as error:
            status = _status_of(error)
            if status == 500:  # noqa: PLR2004 - the HTTP status
                _log.error("%s %s failed: %s", self.request.method, self.request.path, error)
            self._send_json(status, {"status": {"error": str(error)}})
        except BaseException as error:
            # Answer 500 and go on after any exception and after a panic of the engine (which is no `Exception`).
            if not (isinstance(error, Exception) or type(error).__name__ == "PanicException"):
                raise
            _log.exception("%s %s failed", self.request.method, self.request.path)
            self._send_json(500, {"status": {"error": f"Service internal error: {type(error).__name__}: {error}"}})
        if self._seconds_since_start() > _SLOW_SECONDS:
            _log.warning("%s %s took %.1f s", self.request.method, self.request.path, self._seconds_since_start())

    get = put = post = delete = patch = head = options = _answer_request

    def _find_result(self, method: str, path: str) -> Any:
        found = find_route(method, path)
        if found is None:
            raise NotServed(
                f"{method} {path} is not served by the one-machine engine; a Qdrant server has it. Nothing was done."
            )
        route, parts = found
        given = {name: values[-1].decode() for name, values in self.request.query_arguments.items()}
        if unknown := sorted(set(given) - route.options):
            raise InvalidInput(f"The option `{unknown[0]}` is not known to this route.")
        call = Call(self._catalog, parts, given, self.request.body)
        with translate_errors():
            return route.action(call)

    def _check_caller(self) -> None:
        host = (self.request.host or "").rpartition(":")
        if (host[0] if host[2].isdecimal() else self.request.host) not in _LOOPBACK_NAMES:
            raise NotAllowed(403, "Only requests to a loopback address are served.")
        if "Origin" in self.request.headers:
            raise NotAllowed(403, "Requests from web pages are not served.")
        if self._api_key is not None and self.request.path not in _OPEN_PATHS:
            bearer = self.request.headers.get("Authorization", "").removeprefix("Bearer ")
            offered = self.request.headers.get("api-key") or bearer
            if not offered:
                raise NotAllowed(401, "Must provide an API key or an Authorization bearer token")
            if not hmac.compare_digest(offered.encode(), self._api_key.encode()):
                raise NotAllowed(401, "Invalid API key or JWT")
        if len(self.request.body) > MAX_BODY_BYTES:
            raise TooLarge(
                f"JSON payload is larger than allowed (limit: {MAX_BODY_BYTES} bytes); send smaller batches."
            )

    def _send_json(self, status: int, answer: dict[str, Any]) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode(answer | {"time": self._seconds_since_start()}))

    def _seconds_since_start(self) -> float:
        return time.perf_counter() - self._started


def make_application(catalog: Catalog, api_key: str | None, ready: Ready) -> Application:
    """The web application over the collections of a catalog."""
    arguments = {"catalog": catalog, "api_key": api_key, "ready": ready}
    return Application([(r".*", EngineHandler, arguments)], log_function=lambda _handler: None)


def _status_of(error: AgentStateError) -> int:
    if isinstance(error, NotServed):
        return 501
    if isinstance(error, NotAllowed):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


@dataclass(frozen=True, slots=True)
class OwnerOptions:
    """Options of the process. `flush_seconds` is the time between syncs to the disk."""

    data: Path
    host: str
    port: int
    api_key: str | None = field(repr=False)
    flush_seconds: float
    optimize: bool


class Owner:
    """Serves one data folder until told to stop."""

    def __init__(self, options: OwnerOptions) -> None:
        self._options = options
        self._folder = DataFolder(options.data)
        self._catalog = Catalog(self._folder)
        self._trouble: str | None = None

    async def serve(self) -> None:
        """Open, listen, wait for SIGTERM or Ctrl-C, sync and close.

        Raises:
            Conflict: Another process owns the folder, or a collection cannot be opened.
            ConfigurationError: The port is taken.
        """
        self._folder.take_ownership()
        try:
            stop = asyncio.Event()
            for name in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(name, stop.set)
            self._catalog.open_collections()
            if self._options.optimize:
                self._catalog.optimize_collections()
            server = self._open_server()
            timer = PeriodicCallback(self._flush_regularly, self._options.flush_seconds * 1000)
            timer.start()
            await stop.wait()
            timer.stop()
            server.stop()
            await server.close_all_connections()
        finally:
            self._catalog.close()
            self._folder.give_up()
        _log.info("Stopped; everything is synced")

    def _open_server(self) -> HTTPServer:
        family = socket.AF_INET6 if ":" in self._options.host else socket.AF_INET
        try:
            listener = socket.create_server((self._options.host, self._options.port), family=family, backlog=128)
        except OSError as error:
            raise ConfigurationError(
                f"Port {self._options.port} on {self._options.host} cannot be used ({error.strerror}). "
                "Nothing was changed; give another --port, or 0 for a free one."
            ) from error
        listener.setblocking(False)  # noqa: FBT003 - the standard signature
        app = make_application(self._catalog, self._options.api_key, lambda: self._trouble)
        # A body over the limit is read up to twice the limit, so that it can be refused in words.
        server = HTTPServer(app, max_body_size=2 * MAX_BODY_BYTES, max_buffer_size=3 * MAX_BODY_BYTES)
        server.add_socket(listener)
        host, port = listener.getsockname()[:2]
        address = f"[{host}]" if ":" in host else host
        sys.stdout.write(f"qdrant engine {engine_version()}: listening on http://{address}:{port}\n")
        sys.stdout.flush()
        return server

    def _flush_regularly(self) -> None:
        try:
            self._catalog.flush_collections()
        except AgentStateError as error:
            self._note_sync_trouble(f"Changes cannot be synced to the disk: {error}")
        else:
            self._note_sync_trouble(None)

    def _note_sync_trouble(self, trouble: str | None) -> None:
        """Remember whether syncing works, for `/readyz`; log only when that changes."""
        if trouble != self._trouble:
            _log.log(logging.ERROR if trouble else logging.INFO, "%s", trouble or "Syncing works again")
        self._trouble = trouble
