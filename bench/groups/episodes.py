"""Episodes: recording beside one bare INSERT commit of the same bytes, reading fifty beside a bare Redis pipeline.

The references are SQLAlchemy and redis-py alone: an indexed table and a sorted set, no checks, no types, and nothing
decoded.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from decimal import Decimal
from uuid import uuid4

import sqlalchemy as sa
from redis import Redis

from agentstate.memory.episodes.archive import EpisodeArchive
from agentstate.memory.episodes.episode import Episode
from agentstate.memory.episodes.recent import RecentEpisodes
from agentstate.memory.episodes.store import EpisodicStore
from agentstate.store.store import Store
from bench.stack import BenchStack
from bench.timing import compare_calls, time_call
from deploy.local.stack.results import Row, at_least, at_most

PAYLOAD = {"game": "coin-flip", "side": "heads", "amount": Decimal("2.50"), "tag": "bet:round-981"}
OUTCOME = {"won": True, "payout": Decimal("4.975"), "bet_id": "bet_0123456789abcdef"}
KEPT = 500
READ = 50
MANY = 1_000
RECORD_MOST_RATIO = 1.5
READ_MOST_RATIO = 1.3
MANY_LEAST_RATE = 10_000


def measure_rows(ground: BenchStack) -> Iterator[Row]:
    """The rows of this group."""
    settings = ground.make_settings()
    rounds = ground.choose_size(30, 3)
    url = ground.make_postgres()
    store = Store.open(url)
    with Redis.from_url(settings.redis_url) as client, Redis.from_url(settings.redis_url) as bare:
        mine = EpisodicStore(EpisodeArchive(store), "ag_bench", settings, recent=RecentEpisodes(client))
        first = mine.record("bet", PAYLOAD, OUTCOME)
        insert, pipeline = _BareInsert(url, first), _BarePipeline(bare, first)
        mine.get_recent(READ)
        for _ in range(KEPT):
            mine.record("bet", PAYLOAD, OUTCOME)
            pipeline.record()

        found = compare_calls(lambda: mine.record("bet", PAYLOAD, OUTCOME), insert.commit, rounds=rounds, calls=30)
        reference = f"bare INSERT commit, same {len(first.to_line())} bytes: {found.reference_s * 1e6:.0f} us"
        yield at_most("episodes: record, p50", round(found.ratio, 2), RECORD_MOST_RATIO, "x", reference)

        found = compare_calls(lambda: mine.get_recent(READ), pipeline.recent, rounds=rounds, calls=100)
        reference = f"bare Redis pipeline, same members: {found.reference_s * 1e6:.0f} us"
        yield at_most(f"episodes: get_recent({READ}), p50", round(found.ratio, 2), READ_MOST_RATIO, "x", reference)
        found = compare_calls(lambda: [each.payload for each in mine.get_recent(READ)], pipeline.recent, rounds=rounds)
        yield Row(f"episodes: get_recent({READ}) with every payload decoded", round(found.ratio, 2), "x", "", reference)

        items = [("tick", PAYLOAD, None, None)] * MANY
        took = sorted(time_call(lambda: mine.record_many(items)) for _ in range(ground.choose_size(15, 2)))
        rate = round(MANY / took[len(took) // 2])
        reference = f"median of {len(took)} commits of {MANY:,} rows"
        yield at_least("episodes: record_many", rate, MANY_LEAST_RATE, "rows/s", reference)
    store.close()


class _BareInsert:
    """One row of the same bytes, committed into a table with the same key and one index."""

    def __init__(self, url: str, like: Episode) -> None:
        self._engine = sa.create_engine(url)
        self._content = bytes(like.packed).decode()
        self._table = sa.Table(
            "bench_episodes",
            sa.MetaData(),
            sa.Column("seq", sa.BigInteger(), sa.Identity(), primary_key=True),
            sa.Column("agent_id", sa.String(128), nullable=False),
            sa.Column("id", sa.Uuid(), nullable=False, unique=True),
            sa.Column("event_type", sa.String(128), nullable=False),
            sa.Column("at_us", sa.BigInteger(), nullable=False),
            sa.Column("content", sa.Text(), nullable=False),
        )
        self._table.metadata.create_all(self._engine)

    def commit(self) -> None:
        row = {
            "agent_id": "ag_bench",
            "id": uuid4(),
            "event_type": "bet",
            "at_us": time.time_ns() // 1_000,
            "content": self._content,
        }
        with self._engine.begin() as connection:
            connection.execute(sa.insert(self._table), row)


class _BarePipeline:
    """A capped sorted set with a time to live; members are made distinct by a number in place of the id."""

    def __init__(self, client: Redis, like: Episode) -> None:
        self._client = client
        self._line = like.to_line()
        self._numbers = itertools.count()
        self._key = "as:{bench}:bare"

    def record(self) -> None:
        member = self._line[:-16] + b"%016d" % next(self._numbers)
        with self._client.pipeline() as pipe:
            pipe.zadd(self._key, {member: time.time()})
            pipe.zremrangebyrank(self._key, 0, -KEPT - 1)
            pipe.expire(self._key, 604_800)
            pipe.execute()

    def recent(self) -> object:
        with self._client.pipeline() as pipe:
            pipe.zrevrange(self._key, 0, READ - 1)
            return pipe.execute()
