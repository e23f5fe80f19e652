-- name: skip_replaced_ledger_transactions
-- Skips a transaction that is there already: REPLACE would delete the old row without telling the triggers on DELETE.
CREATE TRIGGER ledger_transactions_no_replace BEFORE INSERT ON ledger_transactions WHEN EXISTS (SELECT 1 FROM ledger_transactions WHERE id = NEW.id OR resolves = NEW.resolves OR (agent_id = NEW.agent_id AND scope = NEW.scope AND key = NEW.key)) BEGIN SELECT RAISE(IGNORE); END

-- name: keep_episodes_without_tombstone
-- Refuses to delete episodes, unless a tombstone of their agent covers them.
CREATE TRIGGER episodes_no_delete BEFORE DELETE ON episodes
        WHEN OLD.seq > coalesce((SELECT max(to_seq) FROM episode_tombstones WHERE agent_id = OLD.agent_id), 0)
        BEGIN SELECT RAISE(ABORT, 'episodes is append-only: DELETE is refused, unless the whole agent is forgotten'); END
