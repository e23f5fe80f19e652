"""Before a worker or beat serves: a broker that may throw away queued messages is refused.

Under memory pressure a server with an `allkeys-*` policy drops whole queues without a word; the sweep would send their
wake-ups again, but submissions by the broker would be lost. With `volatile-*` only keys with a lifetime go, and the
broker's own have none.
"""

from __future__ import annotations

import redis

from agentstate.errors import ConfigurationError
from agentstate.settings import Settings

REFUSED = "allkeys-"
ANSWER_WITHIN_S = 2.0


def require_no_eviction(settings: Settings) -> None:
    """Return when the broker keeps its queues, or does not answer yet, or does not tell.

    Raises:
        ConfigurationError: its policy could evict queues.
    """
    waits = {"socket_timeout": ANSWER_WITHIN_S, "socket_connect_timeout": ANSWER_WITHIN_S}
    try:
        with redis.Redis.from_url(settings.broker_url, retry=None, **waits) as client:
            policy = client.info("memory").get("maxmemory_policy")
    except redis.RedisError:
        return
    if policy is not None and str(policy).startswith(REFUSED):
        raise ConfigurationError(
            f"the broker has maxmemory-policy {policy}, by which it would throw away queued messages when memory runs "
            "short. Set it to noeviction or volatile-ttl. Nothing was started."
        )
