"""What comes back wrong from a service: a typed error, and books and cache as they were before."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from agentstate.errors import (
    AgentStateError,
    ConfigurationError,
    CredentialMissing,
    EffectFailed,
    EffectInDoubt,
    InvalidInput,
    ServiceAnswerInvalid,
    ServiceInDoubt,
    ServiceReadFailed,
    ServiceRejected,
)
from agentstate.money.amounts import Money
from agentstate.money.effects.engine import AgentEffects, Effects
from agentstate.money.ledger.ledger import TransactionLedger
from agentstate.money.ledger.postings import Bucket
from agentstate.money.reconciliation.reconciler import Reconciler
from agentstate.redaction import STAND_IN, redact_secrets, register_secret
from agentstate.runtime import build_dialect
from agentstate.services.adapter import Adapter
from agentstate.services.cache.reading import Quality
from agentstate.services.cache.source import GatewaySource
from agentstate.services.cache.state_cache import StateCache
from agentstate.services.http.dialect import OwnRoutes
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.services_file import ServicesFile
from agentstate.services.observing import GatewayReader
from agentstate.services.operations import casino, wallet
from agentstate.services.operations.names import Service
from agentstate.services.operations.registry import OPERATIONS
from agentstate.services.operations.wallet_assets import TOKENS, derive_evm_key
from agentstate.settings import Settings
from agentstate.store.store import Store
from tests.stubs.canned_server import CannedServer
from tests.stubs.service_calls import InDoubt, attempt, send
from tests.worlds.effects import execute_named
from workers.logs import set_up_logging

pytestmark = pytest.mark.database("sqlite")

WELL = {
    "casino": {"agent_id": "ag", "balance_usd": 5},
    "escrow": {"agent_id": "ag", "locked_usd": 5, "escrows": [], "truncated": False},
    "faucet": {"agent_id": "ag", "can_claim": True},
    "trading": {"agent_id": "ag", "balance_usd": 5, "equity_usd": 6, "source": "hyperliquid"},
    "domains": {"agent_id": "ag", "balance_usd": 5},
    "wallet": {"agent_id": "ag", "addresses": [{"address": "0x1", "chain": "base", "amount": "5"}]},
}
MONEY = {"casino": "balance_usd", "escrow": "locked_usd", "trading": "equity_usd", "domains": "balance_usd"}
BROKEN = (
    b"", b"{", b'{"agent_id": "ag", "bal', b"<html><body>502 Bad Gateway</body></html>", b"null", b"[]", b'"ok"',
    b"\xff\xfe", b"[" * 100_000, b'{"agent_id": "ag"}',
)  # fmt: skip
NUMBERS = (
    "NaN", "Infinity", "-Infinity", "1e400", "1E+20000000", "null", '"five"', "true", "[5]", "{}", '""', "1e13",
    '"NaN"',
)  # fmt: skip


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with CannedServer() as server:
        yield server


@pytest.fixture
def way(server: CannedServer) -> Iterator[Gateway]:
    gateway = Gateway(f"{server.url}/api/v1", SecretStr("pf_test_canned"), deadline_s=10)
    yield gateway
    gateway.close()


@pytest.mark.parametrize("service", WELL)
def test_a_state_that_cannot_be_read_is_an_error_and_never_a_number(
    server: CannedServer, way: Gateway, service: str
) -> None:
    adapter = Adapter(way, "ag", service)
    server.content = json.dumps(WELL[service]).encode()
    adapter.read_state()
    for content in BROKEN:
        server.content = content
        with pytest.raises(ServiceAnswerInvalid):
            adapter.read_state()
    for status, content in ((502, b"<html>"), (500, b'{"error": "x"}'), (302, b""), (204, b"")):
        server.status, server.content = status, content
        with pytest.raises(ServiceReadFailed):
            adapter.read_state()


@pytest.mark.parametrize("service", MONEY)
def test_an_amount_that_is_none_is_an_error(server: CannedServer, way: Gateway, service: str) -> None:
    adapter = Adapter(way, "ag", service)
    for number in NUMBERS:
        server.content = json.dumps({**WELL[service], MONEY[service]: "@"}).replace('"@"', number).encode()
        with pytest.raises(ServiceAnswerInvalid):
            adapter.read_state()
    server.content = json.dumps({**WELL[service], MONEY[service]: "@"}).replace('"@"', "1.5e2").encode()
    assert adapter.read_state().worth == Decimal(150)


def test_anothers_state_is_refused(server: CannedServer, way: Gateway) -> None:
    server.content = json.dumps({**WELL["casino"], "agent_id": "ag_other"}).encode()
    with pytest.raises(ServiceAnswerInvalid, match="ag_other"):
        Adapter(way, "ag", "casino").read_state()


def test_a_float_is_never_made(server: CannedServer, way: Gateway) -> None:
    server.content = b'{"agent_id": "ag", "balance_usd": 0.100000000000000005, "deep": [{"x": 1e-7}]}'
    body = way.read("ag", Service.CASINO)
    assert body["balance_usd"] == Decimal("0.100000000000000005")
    assert body["deep"][0]["x"] == Decimal("1e-7")


@pytest.mark.parametrize("content", BROKEN)
def test_an_operation_whose_answer_cannot_be_read_is_in_doubt(
    server: CannedServer, way: Gateway, content: bytes
) -> None:
    server.content = content
    outcome = attempt(way, "ag", "t", casino.bet(amount=Decimal(1), side="heads"))
    assert isinstance(outcome, InDoubt)
    assert sum(method == "POST" for method, _, _ in server.asked) == 1


def test_the_books_stay_as_they_were(server: CannedServer, way: Gateway, store: Store) -> None:
    ledger = TransactionLedger(store, "ag")
    ledger.deposit("start", "casino", Money("10"))
    effects = AgentEffects(Effects(store, registry=OPERATIONS, outside=lambda: way), "ag")
    for number, content in enumerate(BROKEN[:4]):
        server.content = content
        with pytest.raises(EffectInDoubt):
            execute_named(effects, f"bet-{number}", "casino.bet", {"amount": Decimal(1), "side": "heads"})
    held = ledger.balance("casino", bucket=Bucket.IN_FLIGHT)
    assert (held, ledger.balance("casino")) == (Money("4"), Money("6"))
    written = len(ledger.recent(50))
    for content in BROKEN:
        server.content = content
        assert Reconciler(store, GatewayReader(way)).reconcile("ag", "casino").status == "stale"
    assert len(ledger.recent(50)) == written


@pytest.mark.parametrize("shared", [True, False])
def test_the_cache_stays_as_it_was(server: CannedServer, way: Gateway, redis_url: str, shared: bool) -> None:
    with Redis.from_url(redis_url, socket_timeout=5) as client:
        cache = StateCache(GatewaySource(way), client if shared else None, ttl_s=dict.fromkeys(Service, 3_600.0))
        server.content = json.dumps(WELL["casino"]).encode()
        before = cache.get("ag", "casino")
        told = (server.content.replace(b"5", number.encode()) for number in NUMBERS)
        for content in (*BROKEN, *told, server.content.replace(b'"ag"', b'"ag_other"')):
            server.content = content
            entry = cache.get("ag", "casino", force_refresh=True)
            assert (entry.quality, entry.as_of, entry.funds) == (Quality.STALE, before.as_of, before.funds)
            assert entry.reason
        kept = cache.get("ag", "casino")
    assert (kept.quality, kept.as_of, kept.state) == (Quality.LIVE, before.as_of, before.state)


def test_unknown_services_operations_and_parameters_are_refused_before_anything(
    server: CannedServer, way: Gateway, store: Store
) -> None:
    with pytest.raises(InvalidInput, match="lottery"):
        Adapter(way, "ag", "lottery")
    with pytest.raises(InvalidInput, match="no operation"):
        Adapter(way, "ag", "wallet").capabilities("mint")
    for name in ("private_key", "mnemonic", "seed_phrase", "api_key"):
        with pytest.raises(InvalidInput, match="never goes into an intent"):
            wallet.send(**{name: "x"})
        with pytest.raises(InvalidInput, match="never goes into an intent"):
            execute_named(
                AgentEffects(Effects(store, registry=OPERATIONS, outside=lambda: way), "ag"),
                "k",
                "wallet.send",
                {name: "x"},
            )
    assert server.asked == []


# The services' own routes: accounts and credentials by reference


def services_file(folder: Path, text: str) -> ServicesFile:
    path = folder / "services.toml"
    path.write_text(text)
    return ServicesFile(path)


def own_way(folder: Path, url: str, agents: str) -> Gateway:
    names = ("casino", "escrow", "faucet", "trading", "wallet", "domains", "venue")
    services = "\n".join(f'[services.{name}]\nurl = "{url}/{name}"' for name in names)
    return Gateway(dialect=OwnRoutes(services_file(folder, f"{services}\n{agents}")), deadline_s=10)


CASINO = '[agents.ag.casino]\naccount = "ag_1"\ncredential = "env:BAD_INPUT_KEY"\n'
SECRET = "zz-any-prefix-4711-0815"  # pragma: allowlist secret


@pytest.fixture
def own(server: CannedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setenv("BAD_INPUT_KEY", SECRET)
    gateway = own_way(tmp_path, server.url, CASINO)
    yield gateway
    gateway.close()


def test_a_missing_account_or_key_sends_nothing_and_is_no_doubt(
    server: CannedServer, own: Gateway, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects = AgentEffects(Effects(store, registry=OPERATIONS, outside=lambda: own), "ag")
    bet = {"amount": Decimal(1), "side": "heads"}
    TransactionLedger(store, "ag").deposit("start", "casino", Money("10"))
    monkeypatch.delenv("BAD_INPUT_KEY")
    with pytest.raises(CredentialMissing, match="env:BAD_INPUT_KEY"):
        execute_named(effects, "bet", "casino.bet", bet)
    assert effects.get("bet").state == "ready"
    with pytest.raises(CredentialMissing, match=r"agents\.ag_9\.casino"):
        Adapter(own, "ag_9", "casino").read_state()
    outcome = attempt(own, "ag", "t", wallet.send(chain="base", to="0x1", amount="1"))
    assert isinstance(outcome, CredentialMissing)
    assert server.asked == []


def test_a_key_appears_in_no_text_even_when_the_service_repeats_it(
    server: CannedServer, own: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    server.status = 400
    server.content = json.dumps({"error": f"invalid {SECRET}", "message": SECRET}).encode()
    with caplog.at_level("DEBUG"), pytest.raises(AgentStateError) as failed:
        send(own, "ag", "t", casino.bet(amount="1", side="heads"))
    server.status, server.content = 200, json.dumps({"agent_id": SECRET, "balance_usd": SECRET}).encode()
    with pytest.raises(AgentStateError) as invalid:
        own.read("ag", Service.CASINO)
    texts = f"{failed.value!r} {failed.value} {invalid.value} {caplog.text} {vars(own)}"
    assert SECRET not in texts
    assert redact_secrets(f"a line with {SECRET} in it") == f"a line with {STAND_IN} in it"
    with pytest.raises(ConfigurationError) as told:
        raise ConfigurationError(f"something about {SECRET}")
    assert SECRET not in str(told.value)


def test_a_key_that_a_library_logs_is_taken_out_of_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    register_secret(SECRET)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    for as_json in (True, False):
        set_up_logging("INFO", as_json=as_json)
        logging.getLogger("some.library").info("sent with %s", SECRET)
    root.handlers[:], root.level = before, level
    told = capsys.readouterr().err
    assert told.count(STAND_IN) == 2
    assert SECRET not in told


def test_short_values_are_not_taken_for_secrets() -> None:
    register_secret("the")
    assert redact_secrets("the casino") == "the casino"


def test_anothers_account_is_refused(server: CannedServer, own: Gateway) -> None:
    server.content = b'{"agent_id": "ag_2", "balance_usd": 5}'
    with pytest.raises(ServiceAnswerInvalid, match="not 'ag_1'"):
        own.read("ag", Service.CASINO)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[agents.ag.casino]\ncredential = 'zz-4711-0815'", "never the secret itself"),
        ("[agents.ag.casino]\nkey = 'env:X'", "takes account"),
        ("[services.casino]\nurl = 'casino'", "http"),
        ("[service.casino]\nurl = 'http://x'", "unknown section"),
        ("[agents", "no TOML"),
        ("[agents.ag.wallet]\nsigning_keys = { base = '0xabc' }", "never the secret itself"),
    ],
)
def test_a_services_file_that_is_wrong_is_refused_without_showing_a_secret(
    tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason) as refused:
        services_file(tmp_path, text)
    assert "4711" not in str(refused.value)


def test_a_services_file_that_is_not_there_is_named(tmp_path: Path, store: Store) -> None:
    with pytest.raises(ConfigurationError, match="AGENTSTATE_SERVICES_FILE"):
        ServicesFile(tmp_path / "none.toml")
    settings = Settings.load(database_url="sqlite:///x", services_dialect="services")
    with pytest.raises(ConfigurationError, match="AGENTSTATE_SERVICES_FILE"):
        build_dialect(settings, lambda: store)


def sent_answer(**other: Any) -> bytes:
    """The wallet's answer to a transfer of one USDC on Base."""
    return json.dumps(
        {"tx_hash": "0x9", "chain": "base", "to": "0x2", "amount": "1", "token": TOKENS["base", "USDC"], **other}
    ).encode()


@pytest.fixture
def signing(server: CannedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """An agent with a signing key on Base and on Solana."""
    monkeypatch.setenv("SIGNING", "0x" + "5e" * 32)
    monkeypatch.setenv("WALLET_KEY", "wallet-key-000001")
    agents = '[agents.ag.wallet]\ncredential = "env:WALLET_KEY"\n[agents.ag.wallet.signing_keys]\n'
    own = own_way(tmp_path, server.url, agents + "".join(f'{chain} = "env:SIGNING"\n' for chain in ("base", "solana")))
    yield own
    own.close()


def test_a_transfer_names_the_contract_of_its_token_and_never_falls_back_to_the_coin(
    server: CannedServer, signing: Gateway
) -> None:
    server.content = sent_answer()
    receipt = send(signing, "ag", "t", wallet.send(chain="base", to="0x2", amount="1"))
    assert receipt.debited == Money("1")
    asked = json.loads(server.asked[0][2])
    assert (asked["token"], asked["amount"]) == (TOKENS["base", "USDC"], "1")


@pytest.mark.parametrize(
    "other",
    [
        {"token": None}, {"token": "0x" + "12" * 20}, {"amount": "1.0000001"}, {"amount": "1000000"},
        {"chain": "ethereum"}, {"chain": None},
    ],
)  # fmt: skip
def test_an_answer_about_another_asset_chain_or_amount_leaves_doubt(
    server: CannedServer, signing: Gateway, other: dict[str, Any]
) -> None:
    server.content = sent_answer(**other)
    with pytest.raises(ServiceInDoubt, match="not as asked"):
        send(signing, "ag", "t", wallet.send(chain="base", to="0x2", amount="1"))


def test_a_native_coin_goes_only_on_request_and_in_its_own_currency(server: CannedServer, signing: Gateway) -> None:
    coin = wallet.send(chain="solana", to="0x2", amount="0.000000001", asset="native")
    assert coin.hold() == Money("0.000000001", "SOL")
    server.content = sent_answer(chain="solana", amount="0.000000001", token=None)
    receipt = send(signing, "ag", "t", coin)
    assert receipt.debited == Money("0.000000001", "SOL")
    assert "token" not in json.loads(server.asked[0][2])


@pytest.mark.parametrize(
    "fields",
    [
        {"chain": "solana"}, {"chain": "base", "asset": "USDT"}, {"chain": "base", "asset": "DAI"},
        {"chain": "base", "asset": "native"}, {"chain": "base", "amount": Money("1", "BTC")},
        {"chain": "base", "amount": "0.0000001"}, {"chain": "base", "amount": "0"},
        {"chain": "ethereum", "asset": "USDT", "amount": Money("1")},
    ],
)  # fmt: skip
def test_an_asset_that_the_wallet_cannot_send_is_refused_before_anything_is_sent(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="Nothing was sent"):
        wallet.send(**{"to": "0x2", "amount": "1", **fields})


def test_a_swap_is_ordered_in_base_units_and_by_the_tokens_addresses(server: CannedServer, signing: Gateway) -> None:
    server.content = b'{"swap_id": "s", "order_id": "o", "deposit": {"address": "0xd"}}'
    swap = wallet.swap(from_chain="base", to_chain="solana", to_address="So1", amount="5.00")
    assert send(signing, "ag", "t", swap).deposit_address == "0xd"
    asked = json.loads(server.asked[0][2])
    assert (asked["amount"], asked["from_token"]) == ("5000000", TOKENS["base", "USDC"])
    with pytest.raises(InvalidInput, match="the same"):
        wallet.swap(from_chain="base", to_chain="base", to_address="0x2", amount="5")


def test_the_key_of_a_wallet_is_derived_from_its_words() -> None:
    words = "test test test test test test test test test test test junk"
    assert (
        derive_evm_key(words) == "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
    )  # pragma: allowlist secret


def test_a_signing_key_goes_to_the_wallet_alone_and_into_no_intent(
    server: CannedServer, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNING", "0x" + "5e" * 32)
    monkeypatch.setenv("WALLET_KEY", "wallet-key-000001")
    agents = (
        '[agents.ag.wallet]\ncredential = "env:WALLET_KEY"\nsigning_keys = { base = "env:SIGNING" }\n'
        'addresses = { base = "0x1" }\n'
    )
    own = own_way(tmp_path, server.url, agents)
    TransactionLedger(store, "ag").deposit("start", "wallet", Money("10"))
    server.content = sent_answer(echo="0x" + "5e" * 32)
    effects = AgentEffects(Effects(store, registry=OPERATIONS, outside=lambda: own), "ag")
    execute_named(effects, "send", "wallet.send", {"chain": "base", "to": "0x2", "amount": Decimal(1)})
    assert json.loads(server.asked[0][2])["private_key"] == "0x" + "5e" * 32  # pragma: allowlist secret
    assert "5e5e" not in str(effects.get("send"))
    own.close()


def test_a_wallet_is_not_made_where_its_words_could_not_be_kept(
    server: CannedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WALLET_KEY", "wallet-key-000001")
    place = tmp_path / "secrets" / "wallet"
    agents = (
        f'[agents.ag.wallet]\ncredential = "env:WALLET_KEY"\nwords = "file:{place}.words"\n'
        f'addresses = {{ base = "file:{place}.base" }}\nsigning_keys = {{ base = "file:{place}.key" }}\n'
    )
    own = own_way(tmp_path, server.url, agents)
    words = "sand box test only"
    made = {"mnemonic": words, "addresses": {"base": "0xabc", "solana": "So1"}}
    server.content = json.dumps(made).encode()
    receipt = send(own, "ag", "t", wallet.create(chain="base"))
    assert receipt.reference == "0xabc"
    assert (place.with_name("wallet.words")).read_text().strip() == words
    assert (place.with_name("wallet.words")).stat().st_mode & 0o077 == 0
    assert (place.with_name("wallet.key")).read_text().strip() == derive_evm_key(words)
    with pytest.raises(ServiceRejected) as again:
        send(own, "ag", "t2", wallet.create(chain="base"))
    assert again.value.code == "already_there"
    assert len(server.asked) == 1
    own.close()


def test_a_refused_join_makes_no_second_account(server: CannedServer, tmp_path: Path, store: Store) -> None:
    place = tmp_path / "secrets" / "casino"
    agents = f'[agents."*".casino]\naccount = "file:{place}.id"\ncredential = "file:{place}.key"\n'
    own = own_way(tmp_path, server.url, agents)
    server.content = json.dumps({"agent_id": "ag_77", "api_key": "sk_test_join_000001"}).encode()
    effects = AgentEffects(Effects(store, registry=OPERATIONS, outside=lambda: own), "ag")
    assert "sk_test" not in str(execute_named(effects, "join", "casino.join"))
    assert Adapter(own, "ag", "casino").capabilities("join").offered
    with pytest.raises(EffectFailed, match="there already"):
        execute_named(effects, "join-again", "casino.join")
    assert len(server.asked) == 1
    own.close()
