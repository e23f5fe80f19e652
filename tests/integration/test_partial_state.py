"""A state of which a part cannot be read: what is there is right, what is not is named, and neither is made up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from agentstate.services.cache.reading import Quality
from agentstate.services.cache.source import GatewaySource
from agentstate.services.cache.state_cache import StateCache
from agentstate.services.http.dialect import OwnRoutes
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.services_file import ServicesFile
from agentstate.services.observing import CacheReader, GatewayReader
from agentstate.services.operations.names import Service
from deploy.local.stack.loopback import LoopbackHandler, LoopbackServer

DOLLAR = 1_000_000


class Chains(LoopbackServer):
    """A wallet service that cannot reach the chains of some addresses."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.away: frozenset[str] = frozenset()


class _Handler(LoopbackHandler, BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        rows = [
            {"chain": chain, "usdc_balance": 0 if address in self.stub.away else 12.5}
            | ({"error": "timeout"} if address in self.stub.away else {})
            for chain, (address,) in asked.items()
        ]
        self.send_answer(200, json.dumps({"balances": rows}).encode())


@pytest.fixture
def chains() -> Iterator[Chains]:
    with Chains() as running:
        yield running


@pytest.fixture
def gateway(chains: Chains, tmp_path: Path) -> Iterator[Gateway]:
    (tmp_path / "key").write_text("pf_test_wallet")
    path = tmp_path / "services.toml"
    path.write_text(
        f'[services.wallet]\nurl = "{chains.url}/v1"\n'
        f'[agents."*".wallet]\naccount = "ag_w"\ncredential = "file:{tmp_path}/key"\n'
        'addresses = { base = "0xb", arbitrum = "0xa", solana = "So1" }\n'
    )
    opened = Gateway(dialect=OwnRoutes(ServicesFile(path)), deadline_s=5)
    yield opened
    opened.close()


def test_all_parts_together_are_live(gateway: Gateway) -> None:
    entry = StateCache(GatewaySource(gateway)).get("ag_1", "wallet")
    assert entry.quality is Quality.LIVE
    assert entry.bounds == (37.5 * DOLLAR, 37.5 * DOLLAR)


def test_what_could_not_be_read_is_named_and_leaves_only_a_lower_bound(gateway: Gateway, chains: Chains) -> None:
    chains.away = frozenset({"So1"})
    cache = StateCache(GatewaySource(gateway))
    entry = cache.get("ag_1", "wallet")
    assert entry.quality is Quality.PARTIAL
    assert "solana" in str(entry.reason)
    assert entry.bounds == (25 * DOLLAR, None)
    portfolio = cache.portfolio_snapshot("ag_1")
    assert portfolio.total is None
    assert Service.WALLET in portfolio.doubtful
    assert CacheReader(cache).read_last_seen("ag_1", ["wallet"]) == {}  # no snapshot takes it for the whole
    assert GatewayReader(gateway).read_balance("ag_1", "wallet").quality == "partial"  # and no reconciliation


def test_when_nothing_could_be_read_nothing_is_known(gateway: Gateway, chains: Chains) -> None:
    chains.away = frozenset({"So1", "0xa", "0xb"})
    entry = StateCache(GatewaySource(gateway)).get("ag_1", "wallet")
    assert (entry.quality, entry.state) == (Quality.UNKNOWN, None)
