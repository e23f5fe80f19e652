"""A hostile script as the application's own role: no balance without an entry, no rewritten effect, no deletion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from agentstate.errors import EffectFailed, ServiceRejected, StoreUnavailable
from agentstate.money import AgentEffects, Attestor, Breaks, Effects, Guarantee, Guards, Money, TransactionLedger, call
from agentstate.money.effects.table import thin_effects
from agentstate.money.guards.freezes import delete_old_freezes
from agentstate.money.reconciliation.breaks import Sighting
from agentstate.store import Store
from agentstate.store.grants import grant_rights
from agentstate.store.tables import metadata

ROLE = "agentstate_hostile"
PASSWORD = "pf_test_hostile"  # pragma: allowlist secret
AGENT = "ag_1"

TRIES = [
    # Balances without entries.
    "UPDATE accounts SET balance = balance + 1000000 WHERE bucket = 'available'",
    "UPDATE accounts SET balance = 1000000000, version = version + 1 WHERE bucket = 'available'",
    "UPDATE accounts SET balance = balance + 1, head = sha256('x'::bytea), touched_at = now()",
    "UPDATE accounts SET balance = 0, version = 0, head = NULL WHERE bucket = 'external'",
    "UPDATE accounts SET version = version + 1",
    "UPDATE accounts SET head = sha256('x'::bytea)",
    "UPDATE accounts SET floor = NULL WHERE bucket = 'available'",
    "UPDATE accounts SET floor = -1000000000",
    "UPDATE accounts SET agent_id = 'ag_thief' WHERE bucket = 'available'",
    "UPDATE accounts SET currency = 'BTC'",
    "UPDATE accounts SET bucket = 'available' WHERE bucket = 'in_flight'",
    "DELETE FROM accounts",
    "TRUNCATE accounts CASCADE",
    (
        "INSERT INTO accounts (id, agent_id, service, bucket, currency, floor, balance) "
        "VALUES (gen_random_uuid(), 'ag_thief', 'casino', 'available', 'USDC', 0, 1000000)"
    ),
    (
        "INSERT INTO accounts (id, agent_id, service, bucket, currency, floor) "
        "VALUES (gen_random_uuid(), 'ag_thief', 'casino', 'available', 'USDC', NULL)"
    ),
    (
        "INSERT INTO accounts SELECT gen_random_uuid(), 'ag_thief', service, bucket, currency, floor, balance, "
        "version, head, touched_at FROM accounts WHERE bucket = 'available' LIMIT 1"
    ),
    (
        "INSERT INTO entries SELECT account_id, seq + 1, txn_id, 1000000, balance_after + 1000000, now(), hash "
        "FROM entries WHERE amount > 0 LIMIT 1"
    ),
    "UPDATE entries SET amount = amount * 2",
    "DELETE FROM entries",
    "UPDATE currencies SET scale = 2",
    "DELETE FROM currencies",
    "UPDATE ledger_transactions SET key = key || 'x'",
    # Effects: their keys stay used, their outcomes stay as they are.
    "UPDATE effects SET key = key || ':free'",
    "UPDATE effects SET agent_id = 'ag_thief'",
    "UPDATE effects SET params_sha = sha256('x'::bytea)",
    "UPDATE effects SET remote_key = 'x'",
    "UPDATE effects SET hold_id = NULL",
    "UPDATE effects SET guarantee = 'keyed'",
    'UPDATE effects SET outcome = \'{"v": 1, "ok": true, "value": "rich"}\'::jsonb WHERE state = \'succeeded\'',
    "UPDATE effects SET state = 'failed' WHERE state = 'succeeded'",
    "UPDATE effects SET state = 'succeeded' WHERE state = 'failed'",
    "UPDATE effects SET state = 'ready', outcome = NULL, resolved_at = NULL, next_verify_at = now()",
    "UPDATE effects SET resolved_at = now() - interval '90 days' WHERE state = 'succeeded'",
    (
        'UPDATE effects SET outcome = \'{"v": 1, "ok": true, "sha": ""}\'::jsonb, params = \'{}\'::jsonb, '
        "expired_at = now() WHERE state = 'succeeded'"
    ),
    "UPDATE effects SET params = '{\"to\": \"thief\"}'::jsonb WHERE key = 'open'",
    "UPDATE effects SET fence = fence - 1 WHERE key = 'open'",
    (
        "INSERT INTO effects (id, agent_id, key, service, operation, params, params_sha, remote_key, guarantee, state, "
        "deadline_ms, settle_ms, outcome, resolved_at, called_at) SELECT gen_random_uuid(), agent_id, 'new', service, "
        "operation, params, params_sha, remote_key, guarantee, state, deadline_ms, settle_ms, outcome, resolved_at, "
        "called_at FROM effects WHERE state = 'succeeded' LIMIT 1"
    ),
    "DELETE FROM effects",
    "TRUNCATE effects CASCADE",
    "UPDATE effect_evidence SET detail = NULL",
    "DELETE FROM effect_evidence",
    # Breaks and freezes: what stops money stays on record.
    "DELETE FROM breaks",
    "UPDATE breaks SET fingerprint = 'x'",
    "UPDATE breaks SET agent_id = 'ag_thief'",
    "UPDATE breaks SET opened_at = now() - interval '1 year'",
    "DELETE FROM freezes",
    "UPDATE freezes SET service = 'elsewhere'",
    "UPDATE freezes SET agent_id = 'ag_thief'",
    "UPDATE freezes SET frozen_at = now() - interval '900 days'",
    # The rules themselves.
    "ALTER TABLE accounts DISABLE TRIGGER ALL",
    "DROP TRIGGER effects_stand ON effects",
    "CREATE OR REPLACE FUNCTION agentstate_account_follows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN END $$",
    "SET session_replication_role = replica",
    "COPY accounts TO PROGRAM 'cat'",
]


@pytest.fixture
def role(postgres_url: str) -> Iterator[Store]:
    """The store as the application's role sees it."""
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'".encode())
        with closing(Store.open(postgres_url)) as owner:
            grant_rights(owner, ROLE)
        url = make_url(postgres_url).set(username=ROLE, password=PASSWORD)
        with closing(Store.open(url.render_as_string(hide_password=False))) as opened:
            yield opened
        admin.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}".encode())


def refuse() -> None:
    raise ServiceRejected("closed", code="closed")


@pytest.fixture
def house(role: Store) -> Store:
    """An agent with books, effects of each kind, a break and a freeze, all made as the role."""
    TransactionLedger(role, AGENT).deposit("start", "casino", Money(100))
    effects = AgentEffects(Effects(role), AGENT)

    def pay(_key: str) -> str:
        return "paid"

    effects.execute_once("done", call(pay, service="casino", guarantee=Guarantee.BLIND, hold=Money(5)))
    with pytest.raises(EffectFailed):
        effects.execute_once("failed", call(lambda _key: refuse(), service="casino", hold=Money(5)))
    with pytest.raises(Exception, match="lost"):
        effects.execute_once("open", call(lambda _key: lose(), service="casino", hold=Money(7)))
    Breaks(role).report(Sighting(agent_id=AGENT, service="casino", kind="payout", subject="p", evidence={}))
    Guards(role, AGENT).freeze("trading", "a test")
    return role


def lose() -> None:
    raise TimeoutError("lost")


def read_all(store: Store) -> dict[str, list[tuple[object, ...]]]:
    tables = ("accounts", "entries", "ledger_transactions", "effects", "breaks", "freezes", "currencies")
    with store.read_connection() as connection:
        return {
            name: sorted(map(tuple, connection.execute(sa.select(metadata.tables[name]))), key=str) for name in tables
        }


def test_a_hostile_script_achieves_nothing(house: Store) -> None:
    assert len(TRIES) >= 40
    before, passed = read_all(house), []
    for statement in TRIES:
        try:
            with house.transaction() as tx:
                changed = tx.connection.exec_driver_sql(statement).rowcount
        except (DBAPIError, StoreUnavailable):
            continue
        passed.append((statement, changed))
    assert passed == []
    assert read_all(house) == before
    assert Attestor(house).run(whole=True).is_sound


def test_the_role_does_all_that_the_library_does(house: Store, postgres_url: str) -> None:
    effects, ledger = AgentEffects(Effects(house), AGENT), TransactionLedger(house, AGENT)
    assert ledger.balance("casino") == Money(88)
    assert effects.decide("open", happened=False, who="ann", reason="not there").state == "failed"
    assert ledger.balance("casino") == Money(95)
    hold = ledger.reserve("hold", "casino", Money(5))
    ledger.void("void", hold.id)
    assert Guards(house, AGENT).unfreeze("trading")
    (found, *_) = Breaks(house, AGENT).find()
    Breaks(house).resolve(found.id, who="ann", reason="a test")
    with closing(Store.open(postgres_url)) as owner, owner.transaction() as tx:
        for change in (
            "UPDATE effects SET resolved_at = now() - interval '90 days'",
            "UPDATE freezes SET lifted_at = now() - interval '400 days'",
        ):
            tx.connection.exec_driver_sql(change)
    with house.transaction() as tx:
        assert thin_effects(tx, kept_s=3 * 86_400, limit=10) == 3
        assert delete_old_freezes(tx, limit=10) == 1


def test_without_the_trigger_the_script_raises_a_balance(house: Store, postgres_url: str) -> None:
    with closing(Store.open(postgres_url)) as owner, owner.transaction() as tx:
        tx.connection.exec_driver_sql("DROP TRIGGER accounts_follow_entries ON accounts")
    with house.transaction() as tx:
        assert tx.connection.exec_driver_sql(TRIES[0]).rowcount > 0
    assert not Attestor(house).run(whole=True).is_sound
