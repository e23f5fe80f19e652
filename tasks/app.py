"""The Celery application of all processes, and the one runtime of this process."""

from __future__ import annotations

from agentstate.jobs.broker import make_app, register_plain_json
from agentstate.runtime import Runtime
from agentstate.settings import Settings

MODULES = (
    "tasks.effects",
    "tasks.embedding",
    "tasks.housekeeping",
    "tasks.reconciliation",
    "tasks.submissions",
    "tasks.summarization",
)
"""Every module with tasks; the application imports them when a worker starts."""

register_plain_json()
settings = Settings.load()
app = make_app(settings)
app.conf.include = list(MODULES)
runtime = Runtime(settings, pool_size=10)
