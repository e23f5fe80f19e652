"""Threads use agents from the first moment of a process: imports at first use do not race."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentstate.store.migrate import upgrade_schema
from deploy.local.stack.folder import ROOT

pytestmark = pytest.mark.long

PROGRAM = """
import os, sys, threading, traceback
sys.setswitchinterval(1e-5)
begin, errors = threading.Barrier(6), []

def in_a_thread(work):
    def run():
        try:
            begin.wait()
            work()
        except BaseException:
            errors.append(traceback.format_exc())
    return threading.Thread(target=run)

{setup}
works = [
    lambda: agent(0).memory.remember("x"),
    lambda: agent(1).ledger.balance("casino", "USDC"),
    lambda: agent(2).episodes.record("bet", {{"n": 1}}),
    lambda: agent(3).conversation("s").add("user", "hi"),
    lambda: agent(4).guards.describe(),
    lambda: (agent(5).profile.set_field("a", 1), agent(5).jobs.list()),
]
threads = [in_a_thread(work) for work in works]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(50)
print("".join(errors), flush=True)
os._exit(len(errors) + sum(thread.is_alive() for thread in threads))
"""
OPENED_BEFORE = """
import agentstate
fleet = agentstate.connect()
agents = [fleet.agent(f"ag_{n}") for n in range(6)]
agent = agents.__getitem__
"""
IMPORTED_IN_THREADS = """
def agent(n):
    if n % 2:
        from agentstate import Agent
    else:
        from agentstate import Money, casino
        from agentstate.agent import Agent
    return Agent(f"ag_{n}")
"""


@pytest.mark.parametrize("setup", [OPENED_BEFORE, IMPORTED_IN_THREADS], ids=["opened before", "imported in threads"])
def test_six_threads_use_agents_at_once_in_a_fresh_process(setup: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/agentstate.db"
    upgrade_schema(url)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "shared"),
        "AGENTSTATE_DATABASE_URL": url,
        "AGENTSTATE_EMBEDDER": "lexical",
        "AGENTSTATE_REDIS_URL": "redis://127.0.0.1:1/0",
        "AGENTSTATE_BROKER_URL": "redis://127.0.0.1:1/0",
        "AGENTSTATE_QDRANT_URL": "http://127.0.0.1:1",
    }
    for _ in range(10):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(setup=setup)],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
