"""The owner process: takes the data folder, serves it, syncs it on a timer, and leaves it clean."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.ioloop import PeriodicCallback

from agentstate.errors import AgentStateError, ConfigurationError
from deploy.local.servers.qdrant.catalog import Catalog
from deploy.local.servers.qdrant.engine import engine_version
from deploy.local.servers.qdrant.folder import DataFolder
from deploy.local.servers.qdrant.server import MAX_BODY_BYTES, make_application

_log = logging.getLogger(__name__)


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
            await self._serve_owned()
        finally:
            self._catalog.close()
            self._folder.give_up()
        _log.info("Stopped; everything is synced")

    async def _serve_owned(self) -> None:
        stop = _stop_event()
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

    def _open_server(self) -> HTTPServer:
        app = make_application(self._catalog, self._options.api_key, lambda: self._trouble)
        # A body over the limit is read up to twice the limit, so that it can be refused in words.
        server = HTTPServer(app, max_body_size=2 * MAX_BODY_BYTES, max_buffer_size=3 * MAX_BODY_BYTES)
        listener = self._bind_socket()
        server.add_socket(listener)
        host, port = listener.getsockname()[:2]
        address = f"[{host}]" if ":" in host else host
        sys.stdout.write(f"qdrant engine {engine_version()}: listening on http://{address}:{port}\n")
        sys.stdout.flush()
        return server

    def _bind_socket(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._options.host else socket.AF_INET
        try:
            listener = socket.create_server((self._options.host, self._options.port), family=family, backlog=128)
        except OSError as error:
            raise ConfigurationError(
                f"Port {self._options.port} on {self._options.host} cannot be used ({error.strerror}). "
                "Nothing was changed; give another --port, or 0 for a free one."
            ) from error
        listener.setblocking(False)  # noqa: FBT003 - the standard signature
        return listener

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


def _stop_event() -> asyncio.Event:
    """An event that SIGTERM and Ctrl-C set."""
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    return stop
