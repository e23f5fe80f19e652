-- name: find_effect
-- The effect under a key: the whole of a replay. JSON as text, for the codec.
SELECT id, agent_id, key, service, operation, params::text, params_sha, remote_key, guarantee, state, attempt, fence,
       lease_until, deadline_ms, settle_ms, baseline::text, serial_key, hold_id, outcome::text, verify_attempts,
       next_verify_at, note, created_at, called_at, resolved_at, expired_at, clock_timestamp() AS read_at
FROM effects WHERE agent_id = %(agent_id)s AND key = %(key)s

-- name: no_guard_binds
-- Condition: no rule binds the agent, and no freeze stops the service.
NOT EXISTS (SELECT FROM guard_rules WHERE agent_id IN (%(agent_id)s, '*'))
AND NOT EXISTS (
    SELECT FROM freezes
    WHERE agent_id IN (%(agent_id)s, '*') AND service = ANY (%(stopping)s) AND lifted_at IS NULL
)

-- name: may_hold
-- Condition without which the accounts of a hold are not even locked.
WHERE NOT EXISTS (SELECT FROM effects WHERE agent_id = %(agent_id)s AND key = %(key)s) AND
    -- include: no_guard_binds

-- name: intent_row
-- Write the intent when `ending` says that it is possible; no row when its key, or its serial key, is taken.
INSERT INTO effects (
    id, agent_id, key, service, operation, params, params_sha, remote_key, guarantee, state, deadline_ms,
    settle_ms, baseline, serial_key, hold_id, lease_owner, lease_until, next_verify_at, created_at, called_at
)
SELECT %(id)s::uuid, %(agent_id)s, %(key)s, %(service)s, %(operation)s, %(params)s::jsonb,
       %(params_sha)s::bytea, %(remote_key)s, %(guarantee)s, 'intent', %(deadline_ms)s::integer,
       %(settle_ms)s::integer, %(baseline)s::jsonb, %(serial_key)s, %(hold_id)s::uuid, %(lease_owner)s,
       now + %(lease_s)s::interval, now + %(lease_s)s::interval, now, now
FROM ending WHERE possible ON CONFLICT DO NOTHING RETURNING id

-- name: outcome_row
-- Write the outcome under the fence. It names the states that cannot be ended rather than those that can: with the
-- latter the planner takes the index of open effects and walks through all that have left it.
UPDATE effects SET state = %(state)s, outcome = %(outcome)s::jsonb, resolved_at = now, lease_owner = NULL,
       lease_until = NULL, next_verify_at = NULL, note = NULL
FROM ending
WHERE possible AND id = %(id)s::uuid AND fence = %(fence)s::bigint
      AND state NOT IN ('ready', 'manual', 'succeeded', 'failed')
RETURNING id

-- name: insert_intent
-- Commit an intent without a hold, unless a guard has to be asked; returns the time.
WITH ending AS MATERIALIZED (
    SELECT
        -- include: no_guard_binds
        AS possible, clock_timestamp() AS now
),
decided AS (
    -- include: intent_row
)
SELECT now FROM ending, decided

-- name: end_effect
-- Commit an outcome that moved no money; returns the time.
WITH ending AS MATERIALIZED (SELECT true AS possible, clock_timestamp() AS now),
decided AS (
    -- include: outcome_row
)
SELECT now FROM ending, decided
