"""Two ways to one sandbox: the unified gateway, and the services' own routes with accounts and keys of their own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentstate.services.http.dialect import OwnRoutes
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.services_file import ServicesFile
from agentstate.services.operations import casino, wallet
from agentstate.services.operations.accounts import JOINS
from agentstate.services.operations.names import Service
from tests.stubs.service_calls import send
from tests.worlds.services import KEY, SandboxProcess, services_toml

MONEY = (("casino", "100"), ("trading", "1000"), ("domains", "100"))
WALLET_MONEY = "50"

LIVE = "LIVE_SERVICES_URL"
"""Environment variable with the base URL of a live gateway; LIVE_SERVICES_KEY and LIVE_SERVICES_AGENT go with it."""

LIVE_FILE = "LIVE_SERVICES_FILE"
"""The same for the services' own routes: path of a services file; LIVE_SERVICES_AGENT goes with it too."""

_numbers = itertools.count(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a live service when none is named; pytest tells how many tests that are."""
    left_out = [item for item in items if item.get_closest_marker("live") and not {LIVE, LIVE_FILE} & set(os.environ)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


class Way:
    """One dialect with what a test needs beside it: agents with money, and the truth about them."""

    def __init__(self, dialect: str, sandbox: SandboxProcess, folder: Path) -> None:
        self.dialect, self.sandbox = dialect, sandbox
        self.secrets = folder / "secrets"
        self._file: ServicesFile | None = None
        if dialect == "gateway":
            self.gateway = Gateway(sandbox.api, KEY, deadline_s=5)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / "services.toml"
            path.write_text(services_toml(sandbox.url, self.secrets))
            self._file = ServicesFile(path)
            self.gateway = Gateway(dialect=OwnRoutes(self._file), deadline_s=5)

    def agent(self, name: str = "", **referral: str) -> str:
        """A new agent without money."""
        agent_id = f"ag_{name}{next(_numbers)}"
        if self._file is None:
            send(self.gateway, agent_id, "register", casino.register(**referral))
        else:
            for join in JOINS:
                send(self.gateway, agent_id, "join", join(**referral))
        return agent_id

    def rich(self, name: str = "") -> str:
        """A new agent with money at all services."""
        agent_id = self.agent(name)
        for service, dollars in MONEY:
            self.fund(agent_id, service, dollars)
        made = send(self.gateway, agent_id, "wallet", wallet.create(chain="base"))
        self.fund(agent_id, "wallet", WALLET_MONEY, str(made.reference))
        return agent_id

    def fund(self, agent_id: str, service: str, dollars: str, address: str | None = None) -> None:
        """Test money on one account."""
        account = self.account(agent_id, service)
        self.sandbox.client.fund_account(account, service, dollars, f"start-{next(_numbers)}", address)

    def account(self, agent_id: str, service: str) -> str:
        """The agent's id at a service."""
        return agent_id if self._file is None else self._file.get_account(agent_id, Service(service))

    def micros(self, agent_id: str, service: str = "casino") -> int:
        """What really stands on an account."""
        account = self.account(agent_id, service)
        if service == "wallet":
            return int(self.sandbox.client.read_truth(account)["agents"][account]["wallet"]["micros"])
        return self.sandbox.client.read_balance(account, service)

    def effects(self, agent_id: str, operation: str) -> dict[str, int]:
        """How often each reference had its effect."""
        account = self.account(agent_id, operation.partition(".")[0])
        return self.sandbox.client.count_effects(account, operation)


@pytest.fixture(params=["gateway", "services"])
def way(request: pytest.FixtureRequest, sandbox: SandboxProcess, tmp_path: Path) -> Iterator[Way]:
    """Each dialect in turn, with nothing going wrong at first."""
    sandbox.client.set_faults()
    way = Way(request.param, sandbox, tmp_path)
    yield way
    way.gateway.close()
    sandbox.client.set_faults()
