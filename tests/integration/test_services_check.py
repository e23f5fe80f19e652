"""Checking the services file and the services: what is wrong is named, with the agent, the route and the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agentstate.cli.root import cli
from agentstate.clock import utc_now
from agentstate.doctor.services import assess_services
from agentstate.services.http.dialect import OwnRoutes
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.services_check import ServiceFinding, check_entries, check_services, check_url
from agentstate.services.http.services_file import ServicesFile
from agentstate.services.operations import casino, trading
from tests.stubs.service_calls import send
from tests.worlds.services import services_toml

Write = Callable[..., ServicesFile]


@pytest.fixture
def write(sandbox: Any, tmp_path: Path) -> Iterator[Write]:
    """Writes a services file of an agent that has joined casino and trading, with texts replaced."""
    path, gateways = tmp_path / "services.toml", []

    def write_file(*changes: tuple[str, str]) -> ServicesFile:
        text = services_toml(sandbox.url, tmp_path / "secrets").replace('"*"', "ag_checked")
        path.write_text(text)
        gateways.append(Gateway(dialect=OwnRoutes(ServicesFile(path)), deadline_s=5))
        if not (tmp_path / "secrets").exists():
            for join in (casino.join, trading.join):
                send(gateways[-1], "ag_checked", "join", join())
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        path.write_text(text)
        return ServicesFile(path)

    yield write_file
    for gateway in gateways:
        gateway.close()


def by_name(found: list[ServiceFinding]) -> dict[str, ServiceFinding]:
    return {each.about: each for each in found}


def test_services_in_good_order_are_all_well(write: Write) -> None:
    found = by_name(check_services(write()))
    assert set(found) == {"casino", "escrow", "faucet", "trading", "wallet", "domains", "venue"}
    assert {each.verdict for each in found.values()} == {"ok"}
    assert "no agent has a key" in found["wallet"].found
    assert assess_services(list(found.values())).verdict == "ok"


def test_a_wrong_key_route_and_address_are_told_apart(sandbox: Any, write: Write, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("sk_live_wrong")
    key = f"{tmp_path}/secrets/{{agent}}/casino.key"
    nowhere = (f"{sandbox.url}/own/domains/v1", "http://127.0.0.1:1/v1")
    odd = (f"{sandbox.url}/own/wallet/v1", "http://127.0.0.1:1:1/v1")
    file = write((key, f"{tmp_path}/wrong"), ("/own/trading/v1", "/own/trading/v2"), nowhere, odd)
    found = by_name(check_services(file))
    assert {name for name, each in found.items() if each.verdict == "fail"} == {
        "casino",
        "trading",
        "domains",
        "wallet",
    }
    assert "does not accept the key of ag_checked" in found["casino"].found
    assert "has not the route" in found["trading"].found
    assert not found["domains"].is_reached
    assert assess_services([found["domains"]]).verdict == "warn"
    assert assess_services([found["wallet"]]).verdict == "fail"
    assert assess_services(list(found.values())).verdict == "fail"
    assert "sk_live_wrong" not in str(found)


def test_a_clock_that_differs_is_a_warning(write: Write) -> None:
    found = by_name(check_services(write(), now=lambda: utc_now() + timedelta(minutes=1)))
    assert found["casino"].verdict == "warn"
    assert "-60 s" in found["casino"].found or "-61 s" in found["casino"].found


def test_entries_without_their_files_are_named(write: Write) -> None:
    found = by_name(list(check_entries(write())))
    assert found["agents.ag_checked.casino"].verdict == "ok"
    assert found["agents.ag_checked.domains"].verdict == "warn"
    assert "account, credential" in found["agents.ag_checked.domains"].found


def test_the_gateway_is_asked_too(sandbox: Any) -> None:
    assert check_url(sandbox.api, "pf_test_key").verdict == "ok"
    assert "does not accept" in check_url(sandbox.api, "sk_other").found
    assert "no route" in check_url(f"{sandbox.url}/elsewhere", "pf_test_key").found


def test_a_new_file_is_begun_and_can_be_checked(write: Write, tmp_path: Path) -> None:
    begun = tmp_path / "begun.toml"
    run = CliRunner()
    assert run.invoke(cli, ["services", "init", str(begun)]).exit_code == 0
    assert ServicesFile(begun).get_url("casino").endswith("/api/v1")
    again = run.invoke(cli, ["services", "init", str(begun)])
    assert again.exit_code == 1
    checked = run.invoke(cli, ["services", "check", str(begun), "--offline", "--json"])
    assert checked.exit_code == 0
    assert {each["verdict"] for each in json.loads(checked.output)} == {"ok"}
    write(("/own/trading/v1", "/own/trading/v2"))
    assert run.invoke(cli, ["services", "check", str(tmp_path / "services.toml")]).exit_code == 1
