"""Logging of worker processes: one line an event on standard error, with the job that it belongs to.

Secrets stay out because they are never passed in: messages carry ids, and settings hold secrets as `SecretStr`. What
slips in all the same, as in a library's own message, is taken out by its value.
"""

from __future__ import annotations

import logging
import sys

import structlog

from agentstate.redaction import redact_secrets

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


class _Redacting(structlog.stdlib.ProcessorFormatter):
    """Formatter that redacts every secret that this process has read."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return redact_secrets(super().format(record))


def set_up_logging(level: str, *, as_json: bool = False) -> None:
    """Log at `level` and above, as plain lines or as JSON; libraries that talk much are held to warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_make_formatter(as_json=as_json))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for talker in _TALKERS:
        logging.getLogger(talker).setLevel(logging.WARNING)


def _make_formatter(*, as_json: bool) -> logging.Formatter:
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    )
    return _Redacting(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
