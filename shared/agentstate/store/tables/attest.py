"""Attested points of accounts, and the attestations that fold them into one root; append-only."""

from __future__ import annotations

import sqlalchemy as sa

from agentstate.store.tables.base import Json, metadata, time_column

account_snapshots = sa.Table(
    "account_snapshots",
    metadata,
    sa.Column("account_id", sa.ForeignKey("accounts.id"), primary_key=True),
    # The entry up to which the account was recomputed, with the balance and the seal that it ended at.
    sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
    sa.Column("balance", sa.BigInteger(), nullable=False),
    sa.Column("head", sa.LargeBinary(), nullable=False),
)

attestations = sa.Table(
    "attestations",
    metadata,
    sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
    # How many accounts the root stands for, and how many entries were recomputed for it.
    sa.Column("accounts", sa.BigInteger(), nullable=False),
    sa.Column("entries", sa.BigInteger(), nullable=False),
    # Merkle root over the heads of all sound accounts; the seal chains it to the attestation before.
    sa.Column("root", sa.LargeBinary(), nullable=False),
    sa.Column("seal", sa.LargeBinary(), nullable=False),
    sa.Column("damages", Json, nullable=False),
    time_column("started_at", nullable=False),
    time_column("finished_at", nullable=False),
)
