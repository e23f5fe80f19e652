-- name: posting_ctes
-- Lock the accounts, check their floors, and write one posting with its chained entries; no row when it cannot be.
agent_lock AS MATERIALIZED (
    SELECT pg_advisory_xact_lock/* lock mode */(hashtextextended('ledger of ' || %(ledger_of)s::text, 0))
),
locked AS MATERIALIZED (
    SELECT id, amount, floor, balance + amount AS ends, version + 1 AS seq, head, touched_at
    FROM agent_lock, unnest(%(account_ids)s::uuid[], %(amounts)s::numeric[]) AS line (account_id, amount)
         JOIN accounts ON id = account_id /* precondition */
    ORDER BY id FOR UPDATE OF accounts
),
ending AS MATERIALIZED (
    SELECT count(*) = %(lines)s AND bool_and(floor IS NULL OR ends >= floor)
           AND bool_and(abs(ends) < 1e38) AS possible,
           clock_timestamp() AS now,
           greatest(clock_timestamp(), max(touched_at) + interval '1 microsecond') AS recorded_at
    FROM locked
),
decided AS (/* decision */),
posted AS (
    INSERT INTO ledger_transactions (
        id, agent_id, scope, key, params_sha, kind, effect_id, resolves, effective_at, recorded_at, meta
    )
    SELECT %(txn_id)s::uuid, %(ledger_of)s, %(scope)s, %(txn_key)s, %(txn_sha)s::bytea, %(kind)s,
           %(effect_id)s::uuid, %(resolves)s::uuid, coalesce(%(effective_at)s::timestamptz, recorded_at),
           recorded_at, %(meta)s::jsonb
    FROM ending, decided /* on conflict */
    RETURNING id AS txn_id, recorded_at
),
moved AS (
    -- The hash is that of writer.hash_entry.
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
)
