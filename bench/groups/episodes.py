"""Episodes: what recording one and reading fifty cost beside a bare Redis pipeline that moves the same bytes.

The reference does what the guide's store does (add to a sorted set, trim, renew its time to live; read the newest
members) with redis-py alone: no checks, no types, no archive, and nothing decoded.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from decimal import Decimal

from redis import Redis

from agentstate.memory.episodes.recent import RecentEpisodes
from agentstate.memory.episodes.store import EpisodicStore
from bench.ground import BenchStack
from bench.timing import compare_calls
from deploy.local.stack.results import Row, at_most

PAYLOAD = {"game": "coin-flip", "side": "heads", "amount": Decimal("2.50"), "tag": "bet:round-981"}
OUTCOME = {"won": True, "payout": Decimal("4.975"), "bet_id": "bet_0123456789abcdef"}
KEPT = 500
READ = 50
MOST_RATIO = 1.3


def measure_rows(ground: BenchStack) -> Iterator[Row]:
    """The rows of this group."""
    settings = ground.make_settings()
    rounds = ground.choose_size(30, 3)
    with Redis.from_url(settings.redis_url) as client, Redis.from_url(settings.redis_url) as bare:
        mine = EpisodicStore(RecentEpisodes(client, archived=True), "ag_bench", settings)
        reference = _Bare(bare, mine.record("bet", PAYLOAD, OUTCOME).line())
        for _ in range(KEPT):
            mine.record("bet", PAYLOAD, OUTCOME)
            reference.record()
        found = compare_calls(lambda: mine.record("bet", PAYLOAD, OUTCOME), reference.record, rounds=rounds, calls=100)
        told = f"bare pipeline, same {len(reference.line)} bytes: {found.reference_s * 1e6:.0f} us"
        yield at_most("episodes: record, p50", round(found.ratio, 2), MOST_RATIO, "x", told)
        found = compare_calls(lambda: mine.get_recent(READ), reference.recent, rounds=rounds, calls=100)
        told = f"bare pipeline, same members: {found.reference_s * 1e6:.0f} us"
        yield at_most(f"episodes: get_recent({READ}), p50", round(found.ratio, 2), MOST_RATIO, "x", told)
        found = compare_calls(lambda: [each.payload for each in mine.get_recent(READ)], reference.recent, rounds=rounds)
        yield Row(f"episodes: get_recent({READ}) with every payload looked at", round(found.ratio, 2), "x", "", told)


class _Bare:
    """The bare pipeline; members are made distinct by a number in place of the id."""

    def __init__(self, client: Redis, line: bytes) -> None:
        self.line = line
        self._client = client
        self._numbers = itertools.count()
        self._key = "as:{bench}:bare"

    def record(self) -> None:
        member = self.line[:-16] + b"%016d" % next(self._numbers)
        with self._client.pipeline() as pipe:
            pipe.zadd(self._key, {member: time.time()})
            pipe.zremrangebyrank(self._key, 0, -KEPT - 1)
            pipe.expire(self._key, 604_800)
            pipe.execute()

    def recent(self) -> object:
        with self._client.pipeline() as pipe:
            pipe.zrevrange(self._key, 0, READ - 1)
            return pipe.execute()
