"""Logging of worker processes: one line an event on standard error, secrets kept out by never being passed in."""

from __future__ import annotations

import logging
import sys

_TALKERS = (
    "alembic",
    "celery.app.trace",
    "celery.beat",
    "celery.worker.strategy",
    "httpcore",
    "httpx",
    "httpx2",
    "kombu",
    "qdrant_client",
)
_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def set_up_logging(level: str) -> None:
    """Log at `level` and above; libraries that talk much are held to warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for talker in _TALKERS:
        logging.getLogger(talker).setLevel(logging.WARNING)
