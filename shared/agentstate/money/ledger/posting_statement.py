"""A posting as one Postgres statement: the accounts locked, the floors checked, the entries chained and written.

The idea: a posting depends on where its accounts stand, and only the server knows that while it holds their locks. So
the server does in one statement what would otherwise be a conversation with the locks held: a posting costs one round
trip, and when it is all of a transaction, that trip is its commit too. When anything stands in the way (an account that
is missing or too low, a key or a hold that was used), nothing is written and the caller finds out why.

The seal of an entry is made here exactly as `chain.hash_entry` makes it; attesting recomputes every seal by that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from agentstate.money.amounts import MAX_MINOR
from agentstate.money.ledger.accounts import account_id
from agentstate.money.ledger.postings import Posting
from agentstate.state import codec


def posting_ctes(decision: str, *, locking: str = "", clash: str = "") -> str:
    """The parts of a `WITH` that write one posting; `posting_values` gives what they ask for.

    Parts run in the order of their data, so the accounts are locked before anything else is. Whoever locks other rows
    in the same transaction has to take the accounts first too, or two could wait for each other in a circle.

    Args:
        decision: a part that gives a row when the posting is to be written; it reads `ending`, where `possible` tells
            whether it can be, and may write what belongs to it.
        locking: a `WHERE` without which the accounts are not even touched.
        clash: what happens when the key, the id or the hold is in use: an error, unless told.
    """
    return f"""
    locked AS MATERIALIZED (
        SELECT id, amount, floor, balance + amount::numeric AS ends, version + 1 AS seq, head, touched_at
        FROM unnest(%(account_ids)s::uuid[], %(amounts)s::bigint[]) AS line (account_id, amount)
             JOIN accounts ON id = account_id {locking}
        ORDER BY id FOR UPDATE OF accounts
    ),
    ending AS MATERIALIZED (
        SELECT count(*) = %(lines)s AND bool_and(floor IS NULL OR ends >= floor)
               AND bool_and(abs(ends) <= {MAX_MINOR}) AS possible,
               clock_timestamp() AS now,
               greatest(clock_timestamp(), max(touched_at) + interval '1 microsecond') AS recorded_at
        FROM locked
    ),
    decided AS ({decision}),
    posted AS (
        INSERT INTO ledger_transactions (
            id, agent_id, scope, key, params_sha, kind, effect_id, resolves, effective_at, recorded_at, meta
        )
        SELECT %(txn_id)s::uuid, %(ledger_of)s, %(scope)s, %(txn_key)s, %(txn_sha)s::bytea, %(kind)s,
               %(effect_id)s::uuid, %(resolves)s::uuid, coalesce(%(effective_at)s::timestamptz, recorded_at),
               recorded_at, %(meta)s::jsonb
        FROM ending, decided {clash}
        RETURNING id AS txn_id, recorded_at
    ),
    moved AS (
        UPDATE accounts SET balance = ends, version = seq, touched_at = recorded_at, head = sha256(
            coalesce(locked.head, decode(repeat('00', 32), 'hex')) || uuid_send(locked.id) || uuid_send(txn_id)
            || convert_to(concat_ws(
                '|', seq, amount, ends, (extract(epoch FROM recorded_at) * 1000000)::bigint
            ), 'UTF8')
        )
        FROM locked, posted WHERE accounts.id = locked.id
        RETURNING accounts.id, seq, txn_id, amount, balance, recorded_at, accounts.head
    ),
    added AS (
        INSERT INTO entries (account_id, seq, txn_id, amount, balance_after, recorded_at, hash) SELECT * FROM moved
    )"""  # noqa: S608 made of texts of ours


POST = f"""
WITH {posting_ctes("SELECT FROM ending WHERE possible", clash="ON CONFLICT DO NOTHING")}
SELECT recorded_at FROM posted
"""  # noqa: S608 made of texts of ours
"""Writes one posting that is `whole`; gives when it was recorded, or nothing when it could not be written."""


def fits_one_statement(posting: Posting) -> bool:
    """Whether `posting` can be written by one statement: it has one line for each of its accounts."""
    return len({line.account for line in posting.lines}) == len(posting.lines)


def posting_parameters(agent_id: str, posting: Posting, sha: bytes, txn_id: UUID) -> dict[str, Any]:
    """What `posting_parts` asks for, by name.

    Numbers and lists go as text: the driver would name a number's type by its size, and the server would plan the
    statement anew for each mixture.
    """
    return {
        "account_ids": _array(account_id(agent_id, line.account) for line in posting.lines),
        "amounts": _array(line.amount.minor for line in posting.lines),
        "lines": str(len(posting.lines)),
        "txn_id": txn_id,
        "ledger_of": agent_id,
        "scope": posting.scope,
        "txn_key": posting.key,
        "txn_sha": sha,
        "kind": posting.kind,
        "effect_id": posting.effect_id,
        "resolves": posting.resolves,
        "effective_at": posting.effective_at,
        "meta": None if posting.meta is None else codec.dumps(dict(posting.meta)),
    }


def _array(values: Iterable[object]) -> str:
    return "{" + ",".join(map(str, values)) + "}"
