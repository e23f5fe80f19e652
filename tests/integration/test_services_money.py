"""Operations of the services under effects and ledger: the books say what the services' own truth says."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agentstate.errors import Conflict, EffectFailed, EffectInDoubt, ServiceRejected
from agentstate.money.amounts import Money
from agentstate.money.effects.engine import AgentEffects, Effects
from agentstate.money.ledger.ledger import TransactionLedger
from agentstate.money.ledger.postings import Bucket, earn
from agentstate.money.reconciliation.breaks import Breaks
from agentstate.money.reconciliation.enrolment import ServiceAccounts
from agentstate.money.reconciliation.reconciler import Reconciler
from agentstate.services.http.dialect import OwnRoutes
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.services_file import ServicesFile
from agentstate.services.observing import GatewayReader, StoredAccounts
from agentstate.services.operations import casino, escrow
from agentstate.services.operations.names import Service
from agentstate.services.operations.registry import OPERATIONS
from agentstate.store.store import Store
from tests.stubs.service_calls import send
from tests.worlds.effects import execute_named
from tests.worlds.services import KEY, services_toml


@pytest.fixture
def effects(store: Store, gateway: Gateway, rich: str) -> AgentEffects:
    return AgentEffects(Effects(store, registry=OPERATIONS, outside=lambda: gateway), rich)


@pytest.fixture
def ledger(store: Store, rich: str) -> TransactionLedger:
    """Books that know what the agent began with."""
    ledger = TransactionLedger(store, rich)
    for service, dollars in (("casino", "100"), ("trading", "1000"), ("domains", "100"), ("wallet", "50")):
        ledger.post(f"start:{service}", earn(service, Money(dollars)))
    return ledger


def test_the_books_follow_every_operation(
    sandbox: Any, effects: AgentEffects, ledger: TransactionLedger, gateway: Gateway, rich: str
) -> None:
    other = f"{rich}_other"
    send(gateway, other, "r", casino.register())
    perform = partial(execute_named, effects)
    perform("bet", "casino.bet", {"amount": Decimal("2.50"), "side": "heads"}, hold=Money("2.50"))
    perform("claim", "faucet.claim", {})
    for key in ("one", "two"):
        made = perform(key, "escrow.create", {"counterparty": other, "amount": Decimal(7)}, hold=Money("7"))
    perform("release", "escrow.release", {"escrow_id": made.reference})
    with pytest.raises(EffectFailed, match="invalid_status"):
        perform("release-again", "escrow.release", {"escrow_id": made.reference})
    opened = perform("open", "trading.open", {"coin": "BTC", "side": "long", "size": Decimal(100), "leverage": 4})
    perform("close", "trading.close", {"position_id": opened.reference})
    perform("name", "domains.register", {"domain": f"{rich.replace('_', '-')}.xyz"})
    perform("send", "wallet.send", {"chain": "base", "to": "0xabcdef0123", "amount": Decimal("1.25")})
    truth = sandbox.client.read_truth(rich)["agents"][rich]
    for account in ("casino", "trading", "domains"):
        assert ledger.balance(account).minor == truth["accounts"][account]["micros"]
    assert ledger.balance("wallet").minor == truth["wallet"]["micros"]
    assert ledger.balance("escrow", bucket=Bucket.ESCROW_LOCKED).minor == truth["escrow_locked"]["micros"] == 7_000_000


def test_a_bet_that_was_cut_off_is_booked_when_it_is_found(
    sandbox: Any, effects: AgentEffects, ledger: TransactionLedger, rich: str
) -> None:
    sandbox.client.set_faults({"fault": "commit_then_drop", "times": 1})
    with pytest.raises(EffectInDoubt):
        execute_named(effects, "bet", "casino.bet", {"amount": Decimal(3), "side": "heads"}, hold=Money("3"))
    assert ledger.balance("casino", bucket=Bucket.IN_FLIGHT) == Money("3")
    resolved = effects.resolve("bet")
    assert resolved.is_ended
    assert ledger.balance("casino").minor == sandbox.client.read_balance(rich)
    assert list(sandbox.client.count_effects(rich, "casino.bet").values()) == [1]


def test_a_trade_that_was_cut_off_is_told_from_an_equal_one_before(
    sandbox: Any, effects: AgentEffects, ledger: TransactionLedger, rich: str
) -> None:
    order = {"coin": "SOL", "side": "long", "size": Decimal(50)}
    execute_named(effects, "first", "trading.open", order)
    sandbox.client.set_faults({"fault": "500_after_effect", "times": 1})
    with pytest.raises(EffectInDoubt):
        execute_named(effects, "second", "trading.open", order)
    assert effects.resolve("second").is_ended
    assert ledger.balance("trading").minor == sandbox.client.read_balance(rich, "trading")


def test_a_refusal_that_answers_the_second_copy_of_a_request_is_a_success(
    sandbox: Any, effects: AgentEffects, ledger: TransactionLedger, gateway: Gateway, rich: str
) -> None:
    other = f"{rich}_twice"
    send(gateway, other, "r", casino.register())
    made = execute_named(effects, "lock", "escrow.create", {"counterparty": other, "amount": Decimal(7)})
    order = {"coin": "BTC", "side": "long", "size": Decimal(50), "price": Decimal(1_000)}
    placed = execute_named(effects, "place", "trading.limit", order)
    opened = execute_named(effects, "open", "trading.open", {"coin": "BTC", "side": "long", "size": Decimal(50)})
    for operation, params in (
        ("escrow.release", {"escrow_id": made.reference}),
        ("trading.cancel", {"order_id": placed.reference}),
        ("trading.close", {"position_id": opened.reference}),
        ("faucet.claim", {}),
        ("domains.register", {"domain": f"{rich.replace('_', '-')}-twice.xyz"}),
    ):
        service, _, name = operation.partition(".")
        rule = {"service": service, "operation": name, "times": 1}
        sandbox.client.set_faults({**rule, "fault": "429_short"}, {**rule, "fault": "double_effect"})
        with pytest.raises(ServiceRejected, match="to wait"):  # what was noted before this attempt serves the next one
            execute_named(effects, operation, operation, params)
        assert execute_named(effects, operation, operation, params) == execute_named(
            effects, operation, operation, params
        )
        with pytest.raises(EffectFailed):
            execute_named(effects, f"{operation}:again", operation, params)
    for account in ("casino", "trading", "domains"):
        assert ledger.balance(account).minor == sandbox.client.read_balance(rich, account)


def test_a_refused_bet_gives_its_money_back(sandbox: Any, effects: AgentEffects, ledger: TransactionLedger) -> None:
    with pytest.raises(EffectFailed, match="kelly_limit_exceeded"):
        execute_named(effects, "bet", "casino.bet", {"amount": Decimal(90), "side": "heads"}, hold=Money("90"))
    assert ledger.balance("casino") == Money("100")


def test_what_another_agents_open_release_brings_is_no_break(
    sandbox: Any, store: Store, effects: AgentEffects, gateway: Gateway, rich: str
) -> None:
    other = f"{rich}_paid"
    TransactionLedger(store, rich).post("start", earn("casino", Money("100")))
    send(gateway, other, "r", casino.register())
    ServiceAccounts(store).enrol(other, "casino", other)
    reconciler = Reconciler(store, GatewayReader(gateway))
    made = execute_named(effects, "lock", "escrow.create", {"counterparty": other, "amount": Decimal(7)})
    sandbox.client.set_faults({"fault": "commit_then_drop", "times": 1})
    with pytest.raises(EffectInDoubt):
        execute_named(effects, "pay", "escrow.release", {"escrow_id": made.reference})
    assert sandbox.client.read_balance(other) == 6_930_000
    assert reconciler.reconcile(other, "casino").status == "timing"
    assert effects.resolve("pay").is_ended
    assert reconciler.reconcile(other, "casino").status == "matched"
    send(gateway, other, "foreign", casino.deposit(amount="1"))
    reconciler.reconcile(other, "casino")
    assert reconciler.reconcile(other, "casino").status == "break"


def open_own_routes(sandbox: Any, store: Store, folder: Path) -> Gateway:
    """The services' own routes as another process opens them: it has the same file and store, and has met nobody."""
    (folder / "services.toml").write_text(services_toml(sandbox.url, folder / "secrets"))
    dialect = OwnRoutes(ServicesFile(folder / "services.toml"), StoredAccounts(store))
    return Gateway(dialect=dialect, deadline_s=5)


def test_a_release_by_another_process_pays_the_right_agent(sandbox: Any, store: Store, tmp_path: Path) -> None:
    creator, worker = "ag_creator_1", "ag_worker_1"
    first = open_own_routes(sandbox, store, tmp_path)
    of_first = Effects(store, registry=OPERATIONS, outside=lambda: first)
    for agent in (creator, worker):
        of_first.execute_once(agent, "join", casino.join())
    account = first.dialect.find_account(creator, Service("casino"))
    sandbox.client.fund_account(account, "casino", "50", "start-release")
    TransactionLedger(store, creator).deposit("start", "casino", Money("50"))
    create = escrow.create(counterparty=worker, amount=Money("10"))
    made = of_first.execute_once(creator, "make", create)
    first.close()
    second = open_own_routes(sandbox, store, tmp_path)
    of_second = Effects(store, registry=OPERATIONS, outside=lambda: second)
    released = of_second.execute_once(creator, "let-go", escrow.release(escrow_id=made.reference))
    assert (released.creator, released.counterparty) == (creator, worker)
    assert TransactionLedger(store, worker).balance("casino") == Money("9.90")
    second.close()


def test_money_that_goes_to_a_stranger_is_booked_as_gone(sandbox: Any, store: Store, tmp_path: Path) -> None:
    gateway, payer = open_own_routes(sandbox, store, tmp_path), "ag_payer_1"
    effects = Effects(store, registry=OPERATIONS, outside=lambda: gateway)
    effects.execute_once(payer, "join", casino.join())
    account = gateway.dialect.find_account(payer, Service("casino"))
    sandbox.client.fund_account(account, "casino", "50", "start-stranger")
    ledger = TransactionLedger(store, payer)
    ledger.deposit("start", "casino", Money("50"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    outside = Gateway(dialect=OwnRoutes(ServicesFile(write_services(sandbox, elsewhere))), deadline_s=5)
    send(outside, "ag_stranger", "join", casino.join())
    stranger = outside.dialect.find_account("ag_stranger", Service("casino"))
    effects.execute_once(payer, "pay", casino.pay(to=stranger, amount=Money("2")))
    assert ledger.balance("casino") == Money("48")
    assert sandbox.client.read_balance(stranger) == 2_000_000
    assert not TransactionLedger(store, stranger).balance("casino")
    for opened in (gateway, outside):
        opened.close()


def write_services(sandbox: Any, folder: Path) -> Path:
    """A services file that leads to the sandbox, with secrets of its own."""
    path = folder / "services.toml"
    path.write_text(services_toml(sandbox.url, folder / "secrets"))
    return path


def test_enrolling_later_begins_to_reconcile_the_account_that_joining_recorded(
    sandbox: Any, store: Store, tmp_path: Path
) -> None:
    gateway, agent = open_own_routes(sandbox, store, tmp_path), "ag_enrolled_later"
    Effects(store, registry=OPERATIONS, outside=lambda: gateway).execute_once(agent, "join", casino.join())
    account = gateway.dialect.find_account(agent, Service("casino"))
    accounts = ServiceAccounts(store)
    assert accounts.list_accounts(agent) == {"casino": account}
    assert accounts.enrol(agent, "casino", account)
    assert not accounts.enrol(agent, "casino", account)
    with pytest.raises(Conflict):
        accounts.enrol(agent, "casino", "ag_other")
    gateway.close()


def test_an_effect_that_cannot_be_known_any_more_is_left_to_a_person_at_once(
    sandbox: Any, store: Store, effects: AgentEffects, ledger: TransactionLedger
) -> None:
    sandbox.client.set_faults({"fault": "fill_without_row", "times": 1})
    with pytest.raises(EffectInDoubt):
        execute_named(effects, "open", "trading.open", {"coin": "ETH", "side": "long", "size": Decimal(50)})
    effects.resolve("open")
    assert effects.get("open").state == "in_doubt"
    quick = Gateway(sandbox.api, KEY, deadline_s=5, settle_scale=0.0)
    later = AgentEffects(Effects(store, registry=OPERATIONS, outside=lambda: quick), ledger.agent_id)
    assert later.resolve("open").state == "manual"
    assert [found.kind for found in Breaks(store).find(agent_id=ledger.agent_id)] == ["effect_manual"]
    quick.close()
