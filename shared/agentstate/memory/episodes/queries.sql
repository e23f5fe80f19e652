-- name: insert_episodes
-- Insert new episodes of one agent in one round trip; their row numbers are drawn while the agent's lock is held.
WITH added AS (
    INSERT INTO episodes (agent_id, id, revision, event_type, at_us, content, recorded_at)
    SELECT %(agent_id)s, id, 0, event_type, at_us, content, clock_timestamp()
    FROM (SELECT pg_advisory_xact_lock_shared(%(lock)s, hashtext(%(agent_id)s)) AS held) AS locked,
        ROWS FROM (
            json_to_recordset(%(rows)s::json) AS (id uuid, event_type text, at_us bigint, content text)
        ) WITH ORDINALITY AS given (id, event_type, at_us, content, place)
    WHERE held IS NOT NULL ORDER BY place RETURNING seq
) SELECT max(seq) FROM added
