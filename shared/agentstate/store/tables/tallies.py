"""The table of tallies: sums over the whole fleet of events that are too frequent for a row each."""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.store.tables.base import metadata

counters = sa.Table(
    "tallies",
    metadata,
    # What is counted, of whom, and which part of it: ("state_reads", "casino", "hit").
    sa.Column("what", sa.String(32), primary_key=True),
    sa.Column("subject", sa.String(200), primary_key=True),
    sa.Column("part", sa.String(32), primary_key=True),
    # Processes add to one of several rows, so that they seldom wait for one another; the sum counts.
    sa.Column("slot", sa.SmallInteger(), primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger(), nullable=False),
)
