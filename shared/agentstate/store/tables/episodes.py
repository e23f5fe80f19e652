"""The tables of episodes: the episodes, the progress of lessons, and the tombstones of forgotten agents.

`episodes` is append-only by triggers: a changed outcome is a row of its own, and all rows of an agent go together when
it is forgotten, with a row in `episode_tombstones` that allows and notes it.
"""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.store.tables.base import db_time, metadata, name_column, time_column
from agentstate.store.tables.memory import Sequence

episodes = sa.Table(
    "episodes",
    metadata,
    sa.Column("seq", Sequence, sa.Identity(), primary_key=True),
    name_column("agent_id", nullable=False),
    sa.Column("id", sa.Uuid(), nullable=False),
    # 0, and one more with each change of the outcome.
    sa.Column("revision", sa.Integer(), nullable=False, server_default="0"),
    name_column("event_type", nullable=False),
    # Microseconds since 1970; episodes are ordered by it and, within one, by their id.
    sa.Column("at_us", sa.BigInteger(), nullable=False),
    # Payload and outcome: a JSON list of our codec, as text, so that it is exact to the last character.
    sa.Column("content", sa.Text(), nullable=False),
    time_column("recorded_at", nullable=False, default=db_time()),
    sa.UniqueConstraint("agent_id", "id", "revision"),
    sqlite_autoincrement=True,
)
sa.Index("ix_episodes_time", episodes.c.agent_id, episodes.c.at_us, episodes.c.id)
sa.Index("ix_episodes_type", episodes.c.agent_id, episodes.c.event_type, episodes.c.at_us, episodes.c.id)
sa.Index("ix_episodes_seq", episodes.c.agent_id, episodes.c.seq)

episode_lessons = sa.Table(
    "episode_lessons",
    metadata,
    name_column("agent_id", primary_key=True),
    # Up to here, lessons have been drawn.
    sa.Column("seq", sa.BigInteger(), nullable=False),
    time_column("drawn_at", nullable=False, default=db_time()),
)

episode_tombstones = sa.Table(
    "episode_tombstones",
    metadata,
    name_column("agent_id", primary_key=True),
    # How many times the agent was forgotten, this one included.
    sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
    # All episodes of the agent up to here are gone.
    sa.Column("to_seq", sa.BigInteger(), nullable=False),
    sa.Column("removed", sa.BigInteger(), nullable=False),
    time_column("forgotten_at", nullable=False, default=db_time()),
)
