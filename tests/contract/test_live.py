"""The contract held against a live service, reading only: whatever it answers, it is a state or a refusal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from agentstate.errors import ServiceRejected
from agentstate.services.adapter import Adapter
from agentstate.services.http.dialect import OwnRoutes
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.services_file import ServicesFile
from agentstate.services.http.traffic import FreeTraffic
from agentstate.services.operations import casino
from agentstate.services.operations.names import Service
from tests.contract.conftest import LIVE, LIVE_FILE, Way
from tests.stubs.service_calls import send


class ReadOnly(FreeTraffic):
    """Lets reads pass and nothing else; the venue behind trading takes its one read as a POST."""

    def __init__(self) -> None:
        self.passed: list[str] = []

    def admit_request(self, service: Service, path: str, caller: str) -> None:
        if not path.startswith("GET ") and not path.endswith("/info"):
            raise AssertionError(f"{path} is no read")
        self.passed.append(path)


def tell(gateway: Gateway, agent: str) -> dict[str, str]:
    """What each service says to a read; raises when an answer is neither a state nor a refusal."""
    told = {}
    for service in ("casino", "escrow", "faucet", "trading", "domains", "wallet"):
        try:
            told[service] = Adapter(gateway, agent, service).read_state().quality
        except ServiceRejected as refused:
            told[service] = f"refused: {refused.code}"
    return told


@pytest.fixture(params=[LIVE, LIVE_FILE])
def live(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """The dialects that are named: the unified gateway by its URL, the services' own routes by a services file."""
    place = os.environ.get(request.param)
    if not place:
        pytest.skip(f"{request.param} is not set")
    if request.param == LIVE:
        gateway = Gateway(place, SecretStr(os.environ.get("LIVE_SERVICES_KEY", "")), traffic=ReadOnly())
    else:
        gateway = Gateway(dialect=OwnRoutes(ServicesFile(Path(place))), traffic=ReadOnly())
    yield gateway
    gateway.close()


@pytest.mark.live
def test_a_live_gateway_answers_as_the_contract_says(live: Gateway) -> None:
    told = tell(live, os.environ.get("LIVE_SERVICES_AGENT", "ag_live"))
    assert set(told) == {"casino", "escrow", "faucet", "trading", "domains", "wallet"}


def test_the_same_check_holds_against_the_sandbox(way: Way) -> None:
    agent, traffic = way.rich(), ReadOnly()
    gateway = Gateway(dialect=way.gateway.dialect, traffic=traffic)
    assert set(tell(gateway, agent).values()) == {"live"}
    if way.dialect == "gateway":
        assert set(tell(gateway, "nobody").values()) == {"refused: agent_not_found"}
    assert len(traffic.passed) >= 6
    with pytest.raises(AssertionError, match="no read"):
        send(gateway, agent, "t", casino.bet(amount="1", side="heads"))
    gateway.close()
