"""Effects that ended long ago become tombstones: small, and never called again."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from agentstate.errors import EffectExpired, EffectFailed, EffectInDoubt, KeyReused, ServiceRejected
from agentstate.guide import CheckpointManager
from agentstate.money import (
    AgentEffects,
    Effects,
    EffectState,
    Guarantee,
    Money,
    TransactionLedger,
    call,
)
from agentstate.money.effects.table import thin_effects
from agentstate.store.store import Store
from agentstate.store.tables.base import db_time
from agentstate.store.tables.money import effects as effects_table
from tests.worlds.books import buckets

DAY = 86_400.0


@pytest.fixture
def effects(store: Store, ledger: TransactionLedger) -> AgentEffects:
    return AgentEffects(Effects(store, secret=b"test"), ledger.agent_id)


class Bets:
    """Counts the calls of one agent's bets."""

    def __init__(self, effects: AgentEffects) -> None:
        self.calls: list[str] = []
        self._effects = effects

    def bet(self, key: str, *, error: Exception | None = None, side: str = "heads") -> Any:
        def send(remote_key: str) -> dict[str, str]:
            self.calls.append(remote_key)
            if error is not None:
                raise error
            return {"bet_id": "b1"}

        options: dict[str, Any] = {"guarantee": Guarantee.KEYED, "hold": Money(5), "baseline": {"seen": 1}}
        return self._effects.execute_once(key, call(send, service="casino", params={"side": side}, **options))


def make_old(store: Store, agent_id: str, days: float) -> None:
    ended = (effects_table.c.agent_id == agent_id) & effects_table.c.resolved_at.is_not(None)
    with store.transaction() as tx:
        tx.connection.execute(sa.update(effects_table).where(ended).values(resolved_at=db_time(-days * DAY)))


def thinned(store: Store, kept_days: float = 90) -> int:
    with store.transaction() as tx:
        return thin_effects(tx, kept_s=kept_days * DAY, limit=100)


def test_an_old_success_is_told_but_never_made_again(
    store: Store, effects: AgentEffects, ledger: TransactionLedger
) -> None:
    bets = Bets(effects)
    bets.bet("one")
    make_old(store, ledger.agent_id, 91)
    assert thinned(store) == 1
    with pytest.raises(EffectExpired, match=r"happened.*not kept any more"):
        bets.bet("one")
    with pytest.raises(KeyReused):
        bets.bet("one", side="tails")
    assert len(bets.calls) == 1
    assert buckets(ledger) == {"available": "95"}
    left = effects.get("one")
    assert (left.state, left.params, left.baseline, left.expired_at is not None) == (
        EffectState.SUCCEEDED, {}, None, True,
    )  # fmt: skip
    assert left.outcome is not None
    assert set(left.outcome) == {"v", "ok", "sha"}
    assert CheckpointManager(effects).already_executed("one") is not None


def test_an_old_failure_stays_a_failure(store: Store, effects: AgentEffects, ledger: TransactionLedger) -> None:
    bets = Bets(effects)
    for _ in range(2):
        with pytest.raises(EffectFailed):
            bets.bet("one", error=ServiceRejected("the long story", code="minimum_bet"))
    make_old(store, ledger.agent_id, 91)
    assert thinned(store) == 1
    with pytest.raises(EffectFailed, match="minimum_bet"):
        bets.bet("one")
    assert len(bets.calls) == 1


def test_what_is_young_or_open_stays_whole(store: Store, effects: AgentEffects, ledger: TransactionLedger) -> None:
    bets = Bets(effects)
    bets.bet("young")
    with pytest.raises(EffectInDoubt):
        bets.bet("open", error=TimeoutError())
    make_old(store, ledger.agent_id, 89)
    with store.transaction() as tx:
        created = {"created_at": db_time(-900 * DAY), "called_at": db_time(-900 * DAY)}
        mine = effects_table.c.agent_id == ledger.agent_id
        tx.connection.execute(sa.update(effects_table).where(mine).values(created))
    assert thinned(store) == 0
    assert bets.bet("young") == {"bet_id": "b1"}
    assert effects.get("open").params == {"side": "heads"}


def test_it_goes_in_batches_and_once(store: Store, effects: AgentEffects, ledger: TransactionLedger) -> None:
    bets = Bets(effects)
    for number in range(3):
        bets.bet(f"b{number}")
    make_old(store, ledger.agent_id, 91)
    with store.transaction() as tx:
        assert [thin_effects(tx, kept_s=90 * DAY, limit=2) for _ in range(3)] == [2, 1, 0]
    assert thinned(store) == 0
