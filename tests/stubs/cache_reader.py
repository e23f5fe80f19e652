"""A process that reads one state through the cache: `cache_reader.py REDIS_URL API_URL AGENT`; prints its quality."""

from __future__ import annotations

import sys

from pydantic import SecretStr
from redis import Redis

from agentstate.services.cache.source import GatewaySource
from agentstate.services.cache.state_cache import StateCache
from agentstate.services.http.gateway import Gateway

if __name__ == "__main__":
    redis_url, api_url, agent_id = sys.argv[1:]
    gateway = Gateway(api_url, SecretStr("pf_test_sandbox"), deadline_s=30)
    entry = StateCache(GatewaySource(gateway), Redis.from_url(redis_url), hold_s=0.6).get(agent_id, "casino")
    print(entry.quality, flush=True)
