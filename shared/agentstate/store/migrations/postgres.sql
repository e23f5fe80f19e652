-- name: refuse_rewriting
-- Function of the triggers on append-only tables.
CREATE FUNCTION agentstate_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '% is append-only: % is refused; correct a mistake by a new transaction', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation'; END $$

-- name: create_entries
-- The ledger's entries, in a partition for each month; the keys are those of the partitions.
CREATE TABLE entries (
    account_id UUID NOT NULL,
    seq BIGINT NOT NULL,
    txn_id UUID NOT NULL,
    amount NUMERIC(38, 0) NOT NULL,
    balance_after NUMERIC(38, 0) NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    hash BYTEA NOT NULL,
    CONSTRAINT ck_entries_moves CHECK (amount <> 0),
    CONSTRAINT ck_entries_seq_positive CHECK (seq > 0)
) PARTITION BY RANGE (recorded_at)

-- name: index_entries_by_transaction
-- Finds the entries of one transaction.
CREATE INDEX ix_entries_txn_id ON entries (txn_id)

-- name: index_entries_by_time
-- Finds an account's balance at a time.
CREATE INDEX ix_entries_time ON entries (account_id, recorded_at)

-- name: create_entries_other
-- Takes the entries of months that no partition was made for, so that no posting is refused for the lack of one.
CREATE TABLE entries_other (LIKE entries INCLUDING CONSTRAINTS)

-- name: key_entries_other
-- An account's entries are numbered without a gap.
ALTER TABLE entries_other ADD PRIMARY KEY (account_id, seq)

-- name: attach_entries_other
-- Makes it the default partition.
ALTER TABLE entries ATTACH PARTITION entries_other DEFAULT

-- name: check_entries
-- Function of the trigger on insertions of entries: they sum to zero and go forward. One query sees that all is well; only entries that are not are looked at again for the reason.
CREATE FUNCTION agentstate_entries_balance() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NOT EXISTS (SELECT FROM added JOIN accounts ON accounts.id = added.account_id GROUP BY added.txn_id, accounts.currency HAVING sum(added.amount) <> 0 OR min(added.seq - accounts.version) < 0) THEN RETURN NULL; END IF; IF EXISTS (SELECT FROM added JOIN accounts ON accounts.id = added.account_id GROUP BY added.txn_id, accounts.currency HAVING sum(added.amount) <> 0) THEN RAISE EXCEPTION 'the entries of a transaction do not sum to zero' USING ERRCODE = 'check_violation'; END IF; IF EXISTS (SELECT FROM added JOIN accounts ON accounts.id = added.account_id GROUP BY accounts.id HAVING max(added.seq) < accounts.version) THEN RAISE EXCEPTION 'entries is append-only: a number that an account has passed is refused' USING ERRCODE = 'unique_violation'; END IF; RETURN NULL; END $$

-- name: create_month_function
-- Makes the partition of a month, with the owner's rights: the application's role may make no tables.
CREATE FUNCTION agentstate_add_entries_month(moment timestamptz) RETURNS boolean
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp SET lock_timeout = '5s' AS $$
        DECLARE
            first timestamp := date_trunc('month', moment AT TIME ZONE 'UTC');
            low timestamptz := first AT TIME ZONE 'UTC';
            high timestamptz := (first + interval '1 month') AT TIME ZONE 'UTC';
            name text := 'entries_' || to_char(first, 'YYYY_MM');
        BEGIN
            PERFORM pg_advisory_xact_lock(x'61676e75'::bigint);
            IF to_regclass(name) IS NOT NULL THEN
                RETURN false;
            END IF;
            IF EXISTS (SELECT 1 FROM entries_other WHERE recorded_at >= low AND recorded_at < high) THEN
                RETURN false;
            END IF;
            EXECUTE format('CREATE TABLE %I (LIKE entries INCLUDING CONSTRAINTS)', name);
            EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (account_id, seq)', name);
            EXECUTE format('ALTER TABLE entries ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, low, high);
            PERFORM agentstate_guard_entries_part(name);
            RETURN true;
        END $$

-- name: create_guard_function
-- Gives a partition the statement triggers, which are those of the table that a statement names.
CREATE FUNCTION agentstate_guard_entries_part(part text) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            EXECUTE format('CREATE TRIGGER entries_no_truncate BEFORE TRUNCATE ON %I '
                'FOR EACH STATEMENT EXECUTE FUNCTION agentstate_append_only()', part);
            EXECUTE format('CREATE TRIGGER entries_balance AFTER INSERT ON %I REFERENCING NEW TABLE AS added '
                'FOR EACH STATEMENT EXECUTE FUNCTION agentstate_entries_balance()', part);
        END $$

-- name: restrict_month_function
-- Only roles that `agentstate migrate` gives the right may call it.
REVOKE ALL ON FUNCTION agentstate_add_entries_month(timestamptz) FROM PUBLIC

-- name: restrict_guard_function
-- The owner alone may call it.
REVOKE ALL ON FUNCTION agentstate_guard_entries_part(text) FROM PUBLIC

-- name: guard_entries_other
-- The default partition is guarded as the months are.
SELECT agentstate_guard_entries_part('entries_other')

-- name: relate_entries_to_accounts
-- Entries belong to an account.
ALTER TABLE entries ADD CONSTRAINT fk_entries_account_id FOREIGN KEY (account_id) REFERENCES accounts

-- name: relate_entries_to_transactions
-- Entries belong to a transaction.
ALTER TABLE entries ADD CONSTRAINT fk_entries_txn_id FOREIGN KEY (txn_id) REFERENCES ledger_transactions

-- name: check_inserted_entries
-- All entries of a transaction are inserted by one statement, so the sum is checked once, over just those rows.
CREATE TRIGGER entries_balance AFTER INSERT ON entries REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION agentstate_entries_balance()

-- name: create_forward_function
-- Function of the trigger that keeps an account's numbers from being given again: a month's key cannot see the others.
CREATE FUNCTION agentstate_account_forward() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'account % cannot go back from its entry % to %', OLD.id, OLD.version, NEW.version USING ERRCODE = 'restrict_violation'; END $$

-- name: keep_accounts_forward
-- An account's version never falls.
CREATE TRIGGER accounts_forward BEFORE UPDATE ON accounts FOR EACH ROW WHEN (NEW.version < OLD.version) EXECUTE FUNCTION agentstate_account_forward()

-- name: drop_older_key_of_effects
-- Makes the index of an effect's key the newest: while the table has no statistics, all indexes that begin with the agent cost the same, and the planner takes the newest and keeps that plan.
ALTER TABLE effects DROP CONSTRAINT uq_effects_agent_id_key

-- name: add_key_of_effects
-- Second half of the above.
ALTER TABLE effects ADD CONSTRAINT uq_effects_agent_id_key UNIQUE (agent_id, key)

-- name: create_forgotten_function
-- Function of the trigger on deletions of episodes: only those that a tombstone of their agent covers may go.
CREATE FUNCTION agentstate_forgotten_only() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
        BEGIN
            IF EXISTS (SELECT FROM (SELECT agent_id, max(seq) AS seq FROM gone GROUP BY agent_id) AS last
                WHERE last.seq > coalesce((SELECT max(to_seq) FROM episode_tombstones AS stone
                    WHERE stone.agent_id = last.agent_id), 0))
            THEN
                RAISE EXCEPTION '% is append-only: DELETE is refused, unless the whole agent is forgotten', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NULL;
        END $$

-- name: keep_episodes_without_tombstone
-- One check for a statement: an agent may have a million episodes.
CREATE TRIGGER episodes_forgotten_only AFTER DELETE ON episodes REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION agentstate_forgotten_only()

-- name: create_forget_function
-- Deletes all episodes of one agent and leaves a tombstone. The lock is the one that is taken shared while episodes of the agent are added.
CREATE FUNCTION agentstate_forget_episodes(forgotten text) RETURNS integer
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
        DECLARE
            upto bigint;
            many bigint;
            next_number integer;
        BEGIN
            PERFORM pg_advisory_xact_lock(x'61676570'::integer, hashtext(forgotten));
            SELECT coalesce(max(number), 0) + 1, coalesce(max(to_seq), 0) INTO next_number, upto
                FROM episode_tombstones WHERE agent_id = forgotten;
            SELECT count(*), greatest(upto, max(seq)) INTO many, upto FROM episodes WHERE agent_id = forgotten;
            INSERT INTO episode_tombstones (agent_id, number, to_seq, removed, forgotten_at)
                VALUES (forgotten, next_number, upto, many, clock_timestamp());
            DELETE FROM episodes WHERE agent_id = forgotten AND seq <= upto;
            RETURN next_number;
        END $$

-- name: restrict_forget_function
-- Only roles that `agentstate migrate` gives the right may call it.
REVOKE ALL ON FUNCTION agentstate_forget_episodes(text) FROM PUBLIC

-- name: create_balance_function
-- Function of the trigger on accounts: a balance is that of the account's newest entry, and only counter-accounts have no floor. The owner, who could drop the trigger, is not asked.
CREATE FUNCTION agentstate_account_follows() RETURNS trigger LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
        BEGIN
            IF NEW.version = 0 AND NEW.balance = 0 AND NEW.head IS NULL AND (NEW.floor = 0 OR NEW.floor IS NULL AND
                NEW.bucket IN ('external', 'fees', 'rounding', 'suspense'))
            THEN
                RETURN NULL;
            END IF;
            IF NOT EXISTS (SELECT FROM entries WHERE account_id = NEW.id AND seq = NEW.version
                AND recorded_at = NEW.touched_at AND balance_after = NEW.balance AND hash = NEW.head)
            THEN
                RAISE EXCEPTION 'the balance of account % is not that of its newest entry', NEW.id USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NULL;
        END $$

-- name: keep_balances_to_entries
-- Asked after the statement, which has added the entries by then.
CREATE TRIGGER accounts_follow_entries AFTER INSERT OR UPDATE ON accounts FOR EACH ROW WHEN (current_user <> {owner}) EXECUTE FUNCTION agentstate_account_follows()

-- name: create_effect_function
-- Function of the trigger on effects: one begins as an intent, and one that has ended stays as it ended, until its parameters and result are thinned away, two days later at the soonest.
CREATE FUNCTION agentstate_effect_stands() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                IF NEW.state = 'intent' AND NEW.outcome IS NULL AND NEW.expired_at IS NULL THEN
                    RETURN NEW;
                END IF;
            ELSIF OLD.outcome IS NULL THEN
                IF NEW.params = OLD.params AND NEW.fence >= OLD.fence AND NEW.attempt >= OLD.attempt
                    AND NEW.expired_at IS NULL AND NEW.baseline IS NOT DISTINCT FROM OLD.baseline
                    AND NEW.serial_key IS NOT DISTINCT FROM OLD.serial_key
                THEN
                    RETURN NEW;
                END IF;
            ELSIF OLD.expired_at IS NULL AND NEW.expired_at IS NOT NULL AND NEW.params = '{}'::jsonb
                AND OLD.resolved_at < clock_timestamp() - interval '2 days' AND NEW.resolved_at = OLD.resolved_at
                AND NEW.state = OLD.state AND NEW.fence = OLD.fence AND NEW.attempt = OLD.attempt
                AND NEW.called_at = OLD.called_at AND NEW.outcome -> 'ok' = OLD.outcome -> 'ok' AND NEW.outcome ? 'sha'
            THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'effect % cannot be changed so: what it calls and how it ended stay as they are', NEW.id USING ERRCODE = 'restrict_violation';
        END $$

-- name: keep_effects
-- The owner, who could drop the trigger, is not asked.
CREATE TRIGGER effects_stand BEFORE INSERT OR UPDATE ON effects FOR EACH ROW WHEN (current_user <> {owner}) EXECUTE FUNCTION agentstate_effect_stands()

-- name: create_freezes_function
-- Deletes freezes that were lifted over a year ago, with the owner's rights: the application's role deletes none.
CREATE FUNCTION agentstate_delete_old_freezes(most integer) RETURNS integer
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
        DECLARE
            many integer;
        BEGIN
            DELETE FROM freezes WHERE id IN (
                SELECT id FROM freezes WHERE lifted_at < clock_timestamp() - interval '366 days' LIMIT most
            );
            GET DIAGNOSTICS many = ROW_COUNT;
            RETURN many;
        END $$

-- name: restrict_freezes_function
-- Only roles that `agentstate migrate` gives the right may call it.
REVOKE ALL ON FUNCTION agentstate_delete_old_freezes(integer) FROM PUBLIC
