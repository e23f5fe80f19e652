"""The broker: Celery's settings, and waking workers through it. The one module of the library that imports Celery.

It does so when a message is sent: a command that only reads does not pay for it. Queues are addressed directly, through
the broker's default exchange: bindings would be keys of their own, and a flushed Redis would refuse messages until
every client had declared them again.
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from agentstate.jobs.kinds import BULK, KINDS
from agentstate.jobs.spec import QUEUES, BulkSpec, JobSpec
from agentstate.jobs.wake_ups import WakeUp, lane_queue, lane_queues
from agentstate.settings import Settings

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Queue
    from redis import Redis

_log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 2.0
ANSWER_WITHIN_S = 0.7
"""A wake-up waits this long for the broker, up to three times over: it is a hint, and whoever submits waits with it."""
SILENCE_AFTER_FAILURE_S = 2.0
"""A broker that failed is left alone this long, so that submitting stays fast while it is away."""
BULK_WAKE_TTL_MS = 2_000
"""A bulk wake-up that was lost is sent again after this time at the latest."""
VISIBILITY_TIMEOUT_S = 300
"""After this time the broker gives an unacknowledged message to another worker; above every deadline."""


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Celery's settings, the same in every process.

    Rows hold the truth, so there is no result backend, messages are acknowledged late, and a lost child counts as a
    retry of the message; time limits come from deadlines inside the work, since no pool but prefork enforces Celery's.
    """
    specs: list[JobSpec | BulkSpec] = [*KINDS.values(), *BULK.values()]
    return {
        "broker_url": settings.broker_url,
        "broker_transport": "agentstate.jobs.transport:Transport",
        # Celery's own default for rediss:// is to trust any certificate.
        "broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED} if settings.broker_url.startswith("rediss:") else False,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 15,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_acks_late": True,
        "task_reject_on_worker_lost": False,
        "task_queues": all_queues(settings.lanes),
        "task_default_queue": lane_queue("housekeeping", 0),
        "task_default_exchange": "",
        "task_create_missing_queues": False,
        "task_routes": {spec.task_name: {"queue": lane_queue(spec.queue, 0)} for spec in specs},
        "task_send_sent_event": True,
        "worker_send_task_events": True,
        "worker_disable_prefetch": True,
        "worker_prefetch_multiplier": 1,
        "worker_eta_task_limit": 100,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": False,
        "beat_max_loop_interval": 30,
        "timezone": "UTC",
        "enable_utc": True,
    }


def all_queues(lanes: int) -> list[Queue]:
    """Every lane of every queue, on the default exchange."""
    from kombu import Exchange, Queue

    names = [name for queue in QUEUES for name in lane_queues(queue, lanes)]
    return [Queue(name, Exchange(""), routing_key=name) for name in names]


def make_app(settings: Settings) -> Celery:
    """A Celery application with our settings and no tasks yet; connects on first use."""
    from celery import Celery

    app = Celery("agentstate", set_as_current=False)
    app.config_from_object(celery_settings(settings))
    return app


def register_plain_json() -> None:
    """Make this process read messages as the JSON that they are.

    Kombu builds Python objects from `{"__type__": ...}` and drops a message, with a line in a log, when it cannot: so
    a payload of that form, which is an agent's good right, would be lost.
    """
    from kombu.serialization import register
    from kombu.utils import json

    register("json", json.dumps, partial(json.loads, object_hook=None), "application/json", "utf-8")


def list_serving_workers(settings: Settings, *, timeout_s: float) -> dict[str, list[str]]:
    """The workers that answer within `timeout_s` seconds, by name, with the queues that each serves.

    All are asked at once and the whole time is waited for. A worker of one process does not answer while it is busy.
    """
    app = make_app(settings)
    try:
        answers = app.control.inspect(timeout=timeout_s).active_queues() or {}
    finally:
        app.close()
    return {
        name: sorted({str(lane["name"]).rpartition(".")[0] for lane in lanes})
        for name, lanes in sorted(answers.items())
    }


class BrokerWakeUpSender:
    """Wakes workers by Celery messages that carry a job's id and nothing else."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._app: Celery | None = None
        self._redis: Redis | None = None
        self._pid = 0
        self._silent_until = 0.0

    def send_wake_ups(self, wake_ups: Iterable[WakeUp]) -> None:
        """Send a message for each job; a failure is logged, and the sweep sends them later."""

        def send_all() -> None:
            for item in wake_ups:
                self._send_task(item.task, item.lane_queue, [str(item.job_id)])

        self._run_quietly(send_all)

    def send_bulk_wake_up(self, kind: str) -> None:
        """Send one message for bulk work, unless one waits already."""

        def send_first() -> None:
            if self._redis_client().set(_bulk_key(kind), 1, nx=True, px=BULK_WAKE_TTL_MS):
                spec = BULK[kind]
                self._send_task(spec.task_name, lane_queue(spec.queue, 0), [])

        self._run_quietly(send_first)

    def count_waiting(self, queue: str, lane: int) -> int:
        """Return the number of messages that wait in a lane."""
        return int(self._redis_client().llen(lane_queue(queue, lane)))

    def clear_bulk_wake_up(self, kind: str) -> None:
        """Let the next wake-up for `kind` through: its rows may come too late for the run that begins now."""
        self._run_quietly(lambda: self._redis_client().delete(_bulk_key(kind)))

    def read_broker_time(self) -> float | None:
        """Return the broker's clock, in seconds since the epoch; None when it does not answer."""
        found: list[float] = []

        def read_time() -> None:
            seconds, microseconds = self._redis_client().time()
            found.append(int(seconds) + int(microseconds) / 1e6)

        self._run_quietly(read_time)
        return found[0] if found else None

    def _send_task(self, task: str, queue: str, arguments: list[str]) -> None:
        self._celery_app().send_task(
            task, args=arguments, queue=queue, retry=True, retry_policy={"max_retries": 1, "interval_start": 0}
        )

    def _run_quietly(self, action: Callable[[], object]) -> None:
        if time.monotonic() < self._silent_until:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001 a wake-up is a hint; the row is durable and the sweep finds it
            self._silent_until = time.monotonic() + SILENCE_AFTER_FAILURE_S
            _log.warning("the broker does not take wake-ups (%s); the sweep will send them", type(error).__name__)

    def _celery_app(self) -> Celery:
        self._renew_after_fork()
        with self._lock:
            if self._app is None:
                # An application that only sends: it need not wait as long as one that listens.
                app = make_app(self._settings)
                waits = {"socket_timeout": ANSWER_WITHIN_S, "socket_connect_timeout": ANSWER_WITHIN_S}
                app.conf.broker_transport_options = {**app.conf.broker_transport_options, **waits}
                self._app = app
            return self._app

    def _redis_client(self) -> Redis:
        self._renew_after_fork()
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        with self._lock:
            if self._redis is None:
                self._redis = Redis.from_url(
                    self._settings.broker_url,
                    socket_timeout=ANSWER_WITHIN_S,
                    socket_connect_timeout=ANSWER_WITHIN_S,
                    retry=Retry(NoBackoff(), 1),
                )
            return self._redis

    def _renew_after_fork(self) -> None:
        if self._pid != os.getpid():
            self._pid, self._app, self._redis, self._lock = os.getpid(), None, None, threading.Lock()


def _bulk_key(kind: str) -> str:
    return f"as:wake:{kind}"
