"""Real processes killed with SIGKILL around the call: one effect, right books, on both databases."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from agentstate.money import Effects, EffectState, TransactionLedger
from agentstate.store.store import Store
from tests.integration.money.conftest import buckets, let_time_pass

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A running remote."""
    with subprocess.Popen([sys.executable, str(HERE / "remote.py")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


def bettor(url: str, agent_id: str, port: int, guarantee: str, phase: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "bettor.py"), url, agent_id, str(port), guarantee, phase]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'shared'}{os.pathsep}{ROOT}"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)


def effects_at(port: int, key: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", f"/effects?key={key}")
    count: int = json.loads(connection.getresponse().read())["count"]
    connection.close()
    return count


@pytest.mark.parametrize("case", ["keyed remote", "verifiable remote", "verifiable before"])
def test_a_killed_caller_is_resumed_without_a_second_effect(
    store: Store, money_url: str, ledger: TransactionLedger, port: int, case: str
) -> None:
    guarantee, phase = case.split()
    killed = bettor(money_url, ledger.agent_id, port, guarantee, phase)
    assert killed.returncode == -signal.SIGKILL
    effect = Effects(store, ledger.agent_id).get("bet:1")
    assert effect.state is EffectState.INTENT
    assert effects_at(port, effect.remote_key) == (0 if phase == "before" else 1)
    assert buckets(ledger) == {"available": "95", "in_flight": "5"}

    let_time_pass(store, ledger.agent_id)
    resumed = bettor(money_url, ledger.agent_id, port, guarantee, "none")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout) == {"key": effect.remote_key}
    assert effects_at(port, effect.remote_key) == 1
    assert buckets(ledger) == {"available": "95"}
    assert [posted.kind for posted in ledger.recent()] == ["settle", "hold", "deposit"]


def test_a_killed_blind_caller_is_left_to_a_human(
    store: Store, money_url: str, ledger: TransactionLedger, port: int
) -> None:
    assert bettor(money_url, ledger.agent_id, port, "blind", "after").returncode == -signal.SIGKILL
    let_time_pass(store, ledger.agent_id)
    resumed = bettor(money_url, ledger.agent_id, port, "blind", "none")
    assert "EffectInDoubt" in resumed.stderr
    effect = Effects(store, ledger.agent_id).get("bet:1")
    assert effect.state is EffectState.MANUAL
    assert effects_at(port, effect.remote_key) == 1
    assert buckets(ledger) == {"available": "95", "in_flight": "5"}
