"""The application that a worker process runs: the tasks, with logging, a heartbeat and an orderly stop."""

from __future__ import annotations

import logging
from typing import Any

from celery import signals

from agentstate.errors import ConfigurationError
from tasks.app import app, runtime, settings
from workers.heartbeat import Heartbeat
from workers.logs import set_up_logging
from workers.readiness import require_usable_broker

_heartbeat = Heartbeat.from_environment()
_log = logging.getLogger(__name__)


@signals.setup_logging.connect(weak=False)
def _set_up_logging(**_: Any) -> None:
    set_up_logging(settings.log_level, as_json=settings.log_json)


@signals.worker_ready.connect(weak=False)
def _start_serving(**_: Any) -> None:
    try:
        require_usable_broker(settings)
    except ConfigurationError as error:
        # Nothing but SystemExit passes through a signal.
        _log.critical("%s", error)
        raise SystemExit(1) from error
    _heartbeat.start()


@signals.worker_shutting_down.connect(weak=False)
def _begin_stop(**_: Any) -> None:
    runtime.stopping.set()


@signals.worker_shutdown.connect(weak=False)
def _close_runtime(**_: Any) -> None:
    _heartbeat.stop()
    runtime.close()


__all__ = ["app"]
