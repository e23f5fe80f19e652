"""The how-to's seventh service, run as it stands there: one file, and everything else takes it from there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentstate.money.amounts import Money
from agentstate.money.ledger.ledger import TransactionLedger
from agentstate.store.store import Store
from tests.stubs.lottery_server import LotteryServer

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/add-a-service.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

CUT_OFF = """
from agentstate.errors import EffectInDoubt

try:
    agent.effects.execute_once("draw:13", lottery.enter(price=Decimal("3.00")))
except EffectInDoubt:
    found = agent.effects.resolve("draw:13")
    print(found.state)
print(agent.ledger.balance("lottery"), agent.services.reconcile("lottery").status)
print(sorted(agent.services.portfolio().legs))
"""


@pytest.fixture
def lottery() -> Iterator[LotteryServer]:
    with LotteryServer() as lottery:
        yield lottery


@pytest.fixture
def blocks(tmp_path: Path) -> tuple[str, str]:
    """The file and the use of it; the file is where a reader would put it."""
    file, use = BLOCK.findall(PAGE.read_text("utf-8"))
    (tmp_path / "lottery.py").write_text(file)
    return file, use


def fund(env: dict[str, str]) -> None:
    store = Store.open(env["AGENTSTATE_DATABASE_URL"])
    TransactionLedger(store, "ag_7").deposit("start", "lottery", Money("100"))
    store.close()


def run(code: str, env: dict[str, str], folder: Path) -> list[str]:
    path = f"{ROOT / 'shared'}:{ROOT}:{folder}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, **env, "PYTHONPATH": path, "AGENTSTATE_SERVICES_MODULES": "lottery"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.long
def test_one_file_is_enough_at_the_gateway(
    lottery: LotteryServer, blocks: tuple[str, str], settings_env: dict[str, str], tmp_path: Path
) -> None:
    fund(settings_env)
    env = settings_env | {
        "AGENTSTATE_SERVICES_URL": f"{lottery.url}/api/v1",
        "AGENTSTATE_SERVICES_API_KEY": "pf_test_lottery",  # pragma: allowlist secret
    }
    assert run(blocks[1], env, tmp_path) == ["t0 {'USDC': Decimal('98.00')}"]
    lottery.silent = True
    silence = run(blocks[1] + CUT_OFF, env, tmp_path)
    assert silence[1:3] == ["succeeded", "95.00 USDC matched"]
    assert "lottery" in silence[3]
    assert [ticket["price"] for ticket in lottery.tickets] == [2, 3]


@pytest.mark.long
def test_the_same_file_speaks_the_services_own_routes(
    lottery: LotteryServer, blocks: tuple[str, str], settings_env: dict[str, str], tmp_path: Path
) -> None:
    fund(settings_env)
    file = tmp_path / "services.toml"
    file.write_text(
        f'[services.lottery]\nurl = "{lottery.url}/v2"\n[agents.ag_7.lottery]\ncredential = "env:LOTTERY_KEY"\n'
    )
    env = settings_env | {
        "AGENTSTATE_SERVICES_DIALECT": "services",
        "AGENTSTATE_SERVICES_FILE": str(file),
        "LOTTERY_KEY": "any-form-of-key-1",
    }
    assert run(blocks[1], env, tmp_path) == ["t0 {'USDC': Decimal('98.00')}"]


def test_a_module_that_is_not_there_is_named(settings_env: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="AGENTSTATE_SERVICES_MODULES: lottery"):
        run("from agentstate import Agent\nAgent('ag_7').ledger", settings_env, tmp_path)
