"""The tables of conversations: every turn as it was said, and the summaries that stand for the older ones.

Nothing here is ever dropped by a summary: `conversations.summarized_to` is a watermark over `turns`, moved by
compare-and-set, and each summary says which turns it covers.
"""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.store.tables.base import Json, db_time, metadata, name_column, time_column

conversations = sa.Table(
    "conversations",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    name_column("agent_id", nullable=False),
    name_column("session", nullable=False),
    # How many turns there are; they are numbered 1 to this.
    sa.Column("turns", sa.Integer(), nullable=False, server_default="0"),
    # The newest turn that a summary covers, 0 when none.
    sa.Column("summarized_to", sa.Integer(), nullable=False, server_default="0"),
    # Tokens of the turns after it, as counted when they were added.
    sa.Column("open_tokens", sa.BigInteger(), nullable=False, server_default="0"),
    # The summary in force, 0 when none: `summaries.number`.
    sa.Column("summary_number", sa.Integer(), nullable=False, server_default="0"),
    # The job that is summarizing it, and until when nobody else may.
    sa.Column("summarizing_job", sa.Uuid(), nullable=True),
    time_column("summarizing_until", nullable=True),
    time_column("created_at", nullable=False, default=db_time()),
    time_column("updated_at", nullable=False, default=db_time()),
    sa.CheckConstraint("summarized_to BETWEEN 0 AND turns", name="watermark_within_turns"),
    sa.UniqueConstraint("agent_id", "session"),
)

turns = sa.Table(
    "turns",
    metadata,
    sa.Column("conversation_id", sa.Uuid(), sa.ForeignKey("conversations.id"), nullable=False),
    sa.Column("number", sa.Integer(), nullable=False),
    name_column("agent_id", nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("speaker", sa.String(200), nullable=True),
    sa.Column("text", sa.Text(), nullable=False),
    # Content blocks as a provider speaks them (tool calls, results), when the turn is more than its text.
    sa.Column("content", Json, nullable=True),
    sa.Column("tokens", sa.Integer(), nullable=False),
    time_column("said_at", nullable=False),
    # The caller's name for the turn: adding it again adds nothing.
    sa.Column("source_id", sa.String(200), nullable=True),
    sa.PrimaryKeyConstraint("conversation_id", "number"),
    sa.UniqueConstraint("conversation_id", "source_id"),
    sa.CheckConstraint("role IN ('user', 'assistant', 'system', 'tool')", name="role_known"),
)

summaries = sa.Table(
    "summaries",
    metadata,
    sa.Column("conversation_id", sa.Uuid(), sa.ForeignKey("conversations.id"), nullable=False),
    sa.Column("number", sa.Integer(), nullable=False),
    name_column("agent_id", nullable=False),
    # The turns that were read beside the summary before; together they cover 1 to `covers_to`.
    sa.Column("covers_from", sa.Integer(), nullable=False),
    sa.Column("covers_to", sa.Integer(), nullable=False),
    sa.Column("text", sa.Text(), nullable=False),
    sa.Column("facts", Json, nullable=True),
    sa.Column("tokens", sa.Integer(), nullable=False),
    sa.Column("method", sa.String(32), nullable=False),
    sa.Column("model", sa.String(128), nullable=True),
    # Why another summarizer than the chosen one made it.
    sa.Column("note", sa.Text(), nullable=True),
    sa.Column("input_tokens", sa.BigInteger(), nullable=True),
    sa.Column("output_tokens", sa.BigInteger(), nullable=True),
    # Digest of the summary before and the turns read: what this one was made from.
    sa.Column("source_sha", sa.LargeBinary(32), nullable=False),
    # Wording of the prompt, when a model made it.
    sa.Column("prompt_version", sa.Integer(), nullable=True),
    time_column("created_at", nullable=False, default=db_time()),
    sa.PrimaryKeyConstraint("conversation_id", "number"),
    sa.CheckConstraint("covers_from BETWEEN 1 AND covers_to", name="covers_something"),
)

summary_calls = sa.Table(
    "summary_calls",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("conversation_id", sa.Uuid(), sa.ForeignKey("conversations.id"), nullable=False),
    name_column("agent_id", nullable=False),
    sa.Column("source_sha", sa.LargeBinary(32), nullable=False),
    # Who was asked, as `provider:model`, and with which wording.
    sa.Column("asked", sa.String(200), nullable=False),
    sa.Column("prompt_version", sa.Integer(), nullable=False),
    # What came of it, as it is put into `summaries`; read again when the same is asked again. Empty when the provider
    # was paid and then failed.
    sa.Column("summary", Json, nullable=False),
    # Requests that were sent, and what they cost; the cost is unknown where the model has no price here.
    sa.Column("calls", sa.Integer(), nullable=False),
    sa.Column("input_tokens", sa.BigInteger(), nullable=False),
    sa.Column("output_tokens", sa.BigInteger(), nullable=False),
    sa.Column("cost_nano_usd", sa.BigInteger(), nullable=True),
    time_column("created_at", nullable=False, default=db_time()),
    sa.UniqueConstraint("conversation_id", "source_sha", "asked", "prompt_version"),
)
