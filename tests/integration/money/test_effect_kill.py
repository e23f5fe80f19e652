"""Real processes killed with SIGKILL around the call: one effect, right books, on both databases."""

from __future__ import annotations

import json
import signal

import pytest

from agentstate.money import Effects, EffectState, TransactionLedger
from agentstate.store.store import Store
from tests.stubs.remote import Remote
from tests.worlds.books import bettor, buckets, let_time_pass

pytestmark = pytest.mark.long


@pytest.mark.parametrize("case", ["keyed remote", "verifiable remote", "verifiable before"])
def test_a_killed_caller_is_resumed_without_a_second_effect(
    store: Store, module_database_url: str, ledger: TransactionLedger, remote: Remote, case: str
) -> None:
    guarantee, phase = case.split()
    killed = bettor(module_database_url, ledger.agent_id, remote, guarantee, phase)
    assert killed.returncode == -signal.SIGKILL
    effect = Effects(store).get(ledger.agent_id, "bet:1")
    assert effect.state is EffectState.INTENT
    assert remote.effects[effect.remote_key] == (0 if phase == "before" else 1)
    assert buckets(ledger) == {"available": "95", "in_flight": "5"}

    let_time_pass(store, ledger.agent_id)
    resumed = bettor(module_database_url, ledger.agent_id, remote, guarantee, "none")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout) == {"key": effect.remote_key}
    assert remote.effects[effect.remote_key] == 1
    assert buckets(ledger) == {"available": "95"}
    assert [posted.kind for posted in ledger.recent()] == ["settle", "hold", "deposit"]


def test_a_killed_blind_caller_is_left_to_a_human(
    store: Store, module_database_url: str, ledger: TransactionLedger, remote: Remote
) -> None:
    assert bettor(module_database_url, ledger.agent_id, remote, "blind", "after").returncode == -signal.SIGKILL
    let_time_pass(store, ledger.agent_id)
    resumed = bettor(module_database_url, ledger.agent_id, remote, "blind", "none")
    assert "EffectInDoubt" in resumed.stderr
    effect = Effects(store).get(ledger.agent_id, "bet:1")
    assert effect.state is EffectState.MANUAL
    assert remote.effects[effect.remote_key] == 1
    assert buckets(ledger) == {"available": "95", "in_flight": "5"}
