"""Conversations: the prompt takes as long after 100,000 turns as after 100, and turns take little room."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg

from agentstate.jobs import Jobs
from agentstate.jobs.broker import BrokerWakeUpSender
from agentstate.memory.conversation import ConversationHistory
from agentstate.memory.conversation.summarization import ConversationSummarizer
from agentstate.memory.conversation.turns import NewTurn
from agentstate.providers.summaries.digest import DigestSummarizer
from agentstate.settings import Settings
from agentstate.store import Store
from bench.stack import BenchStack
from bench.timing import compare_calls
from deploy.local.stack.results import Row, at_most

SHORT, LONG = 100, 100_000
BUDGET = 2_000
"""Tokens: less than 100 turns have, so that both conversations fill it."""
STORED = 1_000
TURN_BYTES = 1_024
_BATCH = 1_000
_AT = datetime(2026, 11, 22, tzinfo=UTC)


def measure_rows(bench: BenchStack) -> Iterator[Row]:
    """The time of `messages()`, and bytes on the disk per byte of text."""
    settings = bench.make_settings(summary_after_tokens=10_000_000)
    store = Store.open(settings.database_url)
    jobs = Jobs(store, BrokerWakeUpSender(settings), settings)
    long_size = bench.choose_size(LONG, 2_000)
    short, long = (ConversationHistory(store, jobs, settings, "ag_7", name) for name in ("short", "long"))
    _add_turns(short, SHORT, 60)
    _add_turns(long, long_size, 60)
    found = compare_calls(
        lambda: long.messages(BUDGET), lambda: short.messages(BUDGET), rounds=bench.choose_size(30, 3)
    )
    store.close()
    yield Row(f"conversation: messages() after {SHORT} turns", round(found.reference_s * 1_000, 2), "ms")
    yield at_most(
        f"conversation: messages() after {long_size:,} turns", round(found.ratio, 2), 1.3, "x", f"{SHORT} turns"
    )
    yield _measure_storage(bench.make_settings())


def _measure_storage(settings: Settings) -> Row:
    store = Store.open(settings.database_url)
    history = ConversationHistory(store, Jobs(store, BrokerWakeUpSender(settings), settings), settings, "ag_7", "s1")
    before = _bytes_on_disk(settings.database_url)
    _add_turns(history, STORED, TURN_BYTES)
    ConversationSummarizer(store, DigestSummarizer(), settings).run(history.id)
    after = _bytes_on_disk(settings.database_url)
    store.close()
    name = f"conversation: {STORED:,} turns of 1 KB with summaries and indexes, on disk / text"
    return at_most(name, round((after - before) / (STORED * TURN_BYTES), 3), 1.5, "x", "bytes of the text")


def _add_turns(history: ConversationHistory, turns: int, size: int) -> None:
    draw = random.Random(7)  # noqa: S311 letters, not secrets
    for begin in range(0, turns, _BATCH):
        # Letters that no compression makes much smaller.
        history.add_many(
            NewTurn(
                role="user" if n % 2 else "assistant",
                text="".join(draw.choices("abcdefghijklmnopqrstuvwxyz      ", k=size)).strip().ljust(size, "x"),
                at=_AT,
            )
            for n in range(begin, min(begin + _BATCH, turns))
        )


def _bytes_on_disk(url: str) -> int:
    tables = ("turns", "conversations", "summaries", "summary_calls")
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        sizes = (connection.execute("SELECT pg_total_relation_size(%s::regclass)", (table,)) for table in tables)
        return sum(row[0] for cursor in sizes if (row := cursor.fetchone()))
