"""The application that beat runs."""

from __future__ import annotations

from schedules.entries import beat_schedule
from tasks.app import app, settings

app.conf.beat_schedule = beat_schedule(settings)

__all__ = ["app"]
