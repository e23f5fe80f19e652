"""The sandbox of the services as a real process, one for each test module, and agents with money in it."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agentstate.services.http.gateway import Gateway
from agentstate.services.operations import casino, domains, trading, wallet
from deploy.local.sandbox.client import SandboxClient
from tests.stubs.service_calls import send

ROOT = Path(__file__).parents[2]
KEY = SecretStr("pf_test_sandbox")
PREFIXES = {
    "casino": "/api/v1", "escrow": "", "faucet": "", "trading": "/v1", "wallet": "/v1", "domains": "/v1", "venue": "",
}  # fmt: skip

_numbers = itertools.count(1)


class SandboxProcess:
    """One sandbox on a folder; it can be killed and started again on the same port."""

    def __init__(self, data: Path, *, seed: int = 7) -> None:
        self._data = data
        self._seed = seed
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self.start()
        self.client = SandboxClient(self.url)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> str:
        return f"{self.url}/api/v1"

    def start(self) -> None:
        options = ("--data", str(self._data), "--port", str(self.port), "--seed", str(self._seed))
        command = [sys.executable, "-m", "deploy.local.sandbox", *options]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("sandbox ready on "), line
        self.port = int(line.rsplit(":", 1)[1])

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def close(self) -> None:
        self.client.close()
        if self._process is not None:
            self.kill()

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.send_signal(number)
        code = self._process.wait(timeout=10)
        self._process.stdout.close()
        self._process = None
        return code


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """A running sandbox; tests keep apart by agents of their own."""
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox"))
    yield process
    process.close()


@pytest.fixture
def settings_at_sandbox(sandbox: SandboxProcess) -> dict[str, Any]:
    """The settings that lead to the sandbox."""
    return {"services_url": sandbox.api, "services_api_key": KEY}


@pytest.fixture
def gateway(sandbox: SandboxProcess) -> Iterator[Gateway]:
    """A gateway to a sandbox in which nothing goes wrong at first."""
    sandbox.client.set_faults()
    gateway = Gateway(sandbox.api, KEY, deadline_s=5)
    yield gateway
    gateway.close()
    sandbox.client.set_faults()


@pytest.fixture
def agent(gateway: Gateway) -> str:
    """A new agent without money."""
    agent_id = f"ag_{next(_numbers)}"
    send(gateway, agent_id, "register", casino.register())
    return agent_id


@pytest.fixture
def rich(gateway: Gateway, agent: str) -> str:
    """A new agent with 100 dollars at the casino and the domains, 1,000 for trading, and 50 in a wallet on base."""
    send(gateway, agent, "start", casino.deposit(amount="100"))
    send(gateway, agent, "start", trading.deposit(amount="1000"))
    send(gateway, agent, "start", domains.deposit(amount="100"))
    send(gateway, agent, "start", wallet.create(chain="base"))
    send(gateway, agent, "start", wallet.deposit(chain="base", amount="50"))
    return agent


def services_toml(sandbox_url: str, secrets: Path) -> str:
    """A services file that leads to a sandbox and keeps every agent's secrets in a folder."""
    lines = []
    for name, prefix in PREFIXES.items():
        lines += [f"[services.{name}]", f'url = "{sandbox_url}/own/{name}{prefix}"']
    for name in ("casino", "trading", "wallet", "domains"):
        place = f"file:{secrets}/{{agent}}/{name}"
        lines += [f'[agents."*".{name}]', f'account = "{place}.id"', f'credential = "{place}.key"']
        if name == "wallet":
            lines += [f'words = "{place}.words"']
            lines += [f'addresses = {{ base = "{place}.base" }}', f'signing_keys = {{ base = "{place}.base.key" }}']
    return "\n".join(lines)
