"""Before a worker or beat serves: a broker that may lose messages is refused, and a worker waits for its schema.

Under memory pressure a server with an `allkeys-*` policy drops whole queues without a word; the sweep would send their
wake-ups again, but submissions by the broker would be lost. With `volatile-*` only keys with a lifetime go, and the
broker's own have none. A worker whose version does not fit the store's schema takes nothing from the queues, and has no
heartbeat, until it fits.
"""

from __future__ import annotations

import logging
import time

import redis

from agentstate.errors import ConfigurationError, SchemaOutdated, StoreUnavailable
from agentstate.settings import Settings
from agentstate.store import Store
from agentstate.store.migrate import require_newest

REFUSED = "allkeys-"
ANSWER_WITHIN_S = 2.0
LOOK_AGAIN_S = 2.0
"""Seconds between two looks at a schema that does not fit."""

_log = logging.getLogger(__name__)


def require_usable_broker(settings: Settings) -> None:
    """Return when the broker keeps its queues, or does not answer yet, or does not tell.

    Raises:
        ConfigurationError: its policy could evict queues, or it is a Redis Cluster.
    """
    waits = {"socket_timeout": ANSWER_WITHIN_S, "socket_connect_timeout": ANSWER_WITHIN_S}
    try:
        with redis.Redis.from_url(settings.broker_url, retry=None, **waits) as client:
            found = client.info()
    except redis.RedisError:
        return
    if found.get("redis_mode") == "cluster" or found.get("cluster_enabled"):
        raise ConfigurationError(
            "the broker is a Redis Cluster, and Celery's queues span several slots, which a cluster refuses. Name a "
            "single Redis in AGENTSTATE_BROKER_URL, with a replica for fail-over. Nothing was started."
        )
    policy = str(found.get("maxmemory_policy"))
    if policy.startswith(REFUSED):
        raise ConfigurationError(
            f"the broker has maxmemory-policy {policy}, by which it would throw away queued messages when memory runs "
            "short. Set it to noeviction or volatile-ttl. Nothing was started."
        )


def wait_for_schema(settings: Settings) -> None:
    """Return when the store's schema is the one of this version, or the store does not answer yet.

    Raises:
        ConfigurationError: the settings name no store that can be opened.
    """
    store, told = Store.open(settings.database_url, pool_size=1), ""
    try:
        while True:
            try:
                require_newest(store)
            except SchemaOutdated as error:
                if told != (told := error.message):
                    _log.warning("this worker takes no work yet: %s", error)
            except StoreUnavailable:
                return
            else:
                return
            time.sleep(LOOK_AGAIN_S)
    finally:
        store.close()
