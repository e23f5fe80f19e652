"""The tables of the sandbox's one SQLite file. Amounts are integer micro-dollars, times microseconds since 1970."""

from __future__ import annotations

SCHEMA = """
CREATE TABLE IF NOT EXISTS agents (
    agent_id TEXT PRIMARY KEY, nonce INTEGER NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS balances (
    agent_id TEXT NOT NULL, account TEXT NOT NULL, micros INTEGER NOT NULL, PRIMARY KEY (agent_id, account)
) STRICT;
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, agent_id TEXT NOT NULL, account TEXT NOT NULL, micros INTEGER NOT NULL,
    balance_after INTEGER NOT NULL, reason TEXT NOT NULL, reference TEXT NOT NULL, service TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS entries_of_account ON entries (agent_id, account, created_at);
CREATE INDEX IF NOT EXISTS entries_by_reference ON entries (agent_id, service, reference);
CREATE TABLE IF NOT EXISTS entry_keys (entry_id INTEGER PRIMARY KEY, request_key TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS entries_by_key ON entry_keys (request_key);
CREATE TABLE IF NOT EXISTS effects (
    id INTEGER PRIMARY KEY, service TEXT NOT NULL, operation TEXT NOT NULL, agent_id TEXT NOT NULL,
    reference TEXT NOT NULL, request_key TEXT NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS effects_by_key ON effects (request_key);
CREATE INDEX IF NOT EXISTS effects_of_agent ON effects (agent_id, service, operation, reference);
CREATE TABLE IF NOT EXISTS bets (
    bet_id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, game TEXT NOT NULL, choice TEXT NOT NULL,
    amount INTEGER NOT NULL, multiplier_e4 INTEGER NOT NULL, payout INTEGER NOT NULL, won INTEGER NOT NULL,
    result TEXT NOT NULL, client_seed TEXT NOT NULL, nonce INTEGER NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS bets_of_agent ON bets (agent_id, created_at);
CREATE INDEX IF NOT EXISTS bets_by_seed ON bets (agent_id, client_seed);
CREATE TABLE IF NOT EXISTS escrows (
    escrow_id TEXT PRIMARY KEY, creator TEXT NOT NULL, counterparty TEXT NOT NULL, amount INTEGER NOT NULL,
    fee INTEGER NOT NULL, description TEXT NOT NULL, status TEXT NOT NULL, created_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL, changed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS escrows_of_creator ON escrows (creator, created_at);
CREATE INDEX IF NOT EXISTS escrows_of_counterparty ON escrows (counterparty, created_at);
CREATE INDEX IF NOT EXISTS escrows_due ON escrows (status, due_at);
CREATE TABLE IF NOT EXISTS positions (
    position_id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, coin TEXT NOT NULL, side TEXT NOT NULL,
    units_e8 INTEGER NOT NULL, notional INTEGER NOT NULL, entry_price INTEGER NOT NULL, leverage INTEGER NOT NULL,
    margin INTEGER NOT NULL, fee INTEGER NOT NULL, status TEXT NOT NULL, exit_price INTEGER, pnl INTEGER,
    close_fee INTEGER,
    opened_at INTEGER NOT NULL, closed_at INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS positions_of_agent ON positions (agent_id, status, opened_at);
CREATE TABLE IF NOT EXISTS domains (
    domain TEXT PRIMARY KEY, domain_id TEXT NOT NULL, agent_id TEXT NOT NULL, price INTEGER NOT NULL,
    created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS domains_of_agent ON domains (agent_id, created_at);
CREATE TABLE IF NOT EXISTS addresses (
    address TEXT PRIMARY KEY, agent_id TEXT NOT NULL, chain TEXT NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS addresses_of_agent ON addresses (agent_id, chain, created_at);
CREATE TABLE IF NOT EXISTS transfers (
    tx_hash TEXT PRIMARY KEY, agent_id TEXT NOT NULL, chain TEXT NOT NULL, source TEXT NOT NULL,
    target TEXT NOT NULL, amount INTEGER NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS answers (
    agent_id TEXT NOT NULL, route TEXT NOT NULL, request_key TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (agent_id, route, request_key)
) STRICT;
CREATE TABLE IF NOT EXISTS withdrawals (
    withdrawal_id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, amount INTEGER NOT NULL, fee INTEGER NOT NULL,
    address TEXT NOT NULL, status TEXT NOT NULL, tx_hash TEXT, created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS withdrawals_of_agent ON withdrawals (agent_id, created_at);
CREATE TABLE IF NOT EXISTS daily (
    bonus_id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, amount INTEGER NOT NULL, streak INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS daily_of_agent ON daily (agent_id, claimed_at);
CREATE TABLE IF NOT EXISTS referrals (
    agent_id TEXT PRIMARY KEY, code TEXT NOT NULL UNIQUE, referred_by TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS deposit_addresses (agent_id TEXT PRIMARY KEY, micros INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS deposits (
    tx_hash TEXT PRIMARY KEY, agent_id TEXT NOT NULL, amount INTEGER NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS orders (
    order_id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, coin TEXT NOT NULL, side TEXT NOT NULL, size INTEGER NOT NULL,
    price INTEGER NOT NULL, leverage INTEGER NOT NULL, status TEXT NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS orders_of_agent ON orders (agent_id, created_at);
CREATE INDEX IF NOT EXISTS orders_open ON orders (status);
CREATE TABLE IF NOT EXISTS swaps (
    swap_id TEXT PRIMARY KEY, agent_id TEXT NOT NULL, order_id TEXT NOT NULL, source TEXT NOT NULL,
    target TEXT NOT NULL, amount TEXT NOT NULL, address TEXT NOT NULL, deposit_address TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS swaps_of_agent ON swaps (agent_id, created_at);
CREATE TABLE IF NOT EXISTS registrar (domain TEXT PRIMARY KEY, agent_id TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS renewals (
    id INTEGER PRIMARY KEY, domain TEXT NOT NULL, agent_id TEXT NOT NULL, price INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS keys (
    digest TEXT PRIMARY KEY, service TEXT NOT NULL, agent_id TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS injected (
    id INTEGER PRIMARY KEY, fault TEXT NOT NULL, service TEXT NOT NULL, operation TEXT NOT NULL,
    agent_id TEXT NOT NULL, request_key TEXT NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS switches (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
