"""The wallet: its transfers cannot be found again through it, so a call that was cut off is for a person.

At its own routes it keeps no list of addresses and signs with a key that comes with each transfer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final

from agentstate.errors import CredentialMissing, InvalidInput, ServiceAnswerInvalid, ServiceInDoubt, ServiceReadFailed
from agentstate.money.amounts import Amount, parse_money
from agentstate.money.effects.operation import Intent
from agentstate.money.effects.verdicts import Applied, Guarantee, Verdict
from agentstate.services.cache.reading import UNREAD_MEMBER
from agentstate.services.http.credential_references import (
    FILE,
    is_reference,
    require_unused_file,
    resolve_reference,
    resolve_secret,
    store_secret,
)
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.own_request import OwnRequest, own_view
from agentstate.services.operations.accounts import WalletDeposit, WalletJoin
from agentstate.services.operations.base import NO_BASELINE, ServiceOperation
from agentstate.services.operations.fields import AssetAmountRule, Dollars, Text
from agentstate.services.operations.receipts import R, Receipt
from agentstate.services.operations.wallet_assets import (
    SWAP_TOKENS,
    TOKEN_DECIMALS,
    Asset,
    Chain,
    check_amount,
    derive_evm_key,
    find_asset,
    to_base_units,
)
from agentstate.services.wire import Answer, Body

EVM_CHAINS: Final = ("base", "ethereum")
"""Chains with one address and one key between them."""


class BlindOperation(ServiceOperation[R]):
    """An operation of the wallet that leaves no trace there."""

    guarantee = Guarantee.BLIND
    serial = "wallet"  # one call at a time for an account.
    refusals = frozenset({"unsupported_chain", "not_implemented"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressReceipt(Receipt):
    """An address, as `reference`, on `chain`."""

    chain: str


@dataclass(frozen=True, kw_only=True)
class Create(BlindOperation[AddressReceipt]):
    """Make a wallet with an address on each chain; calling twice makes two, and the first cannot be asked for again."""

    name = "wallet.create"

    chain: Chain

    def build_body(self, tag: str) -> Body:
        """Return the chain."""
        del tag
        return {"chain": self.chain}

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`POST wallet/create`; words and keys are written to files, and go no further.

        The answer has the words and the addresses of all chains, and no keys: that of the EVM chains is derived from
        the words. Every address and key for which the services file names a place is kept.
        """
        entry = request.file.get_entry(request.agent_id, request.service)
        what = f"a wallet for {request.agent_id}"
        addresses, keys = self._find_places(entry.addresses), self._find_places(entry.signing_keys)
        for reference in (entry.words, *addresses.values(), *keys.values()):
            require_unused_file(reference, request.agent_id, what)
        made = Answer(await request.send_operation("wallet/create", {}))
        words = made.get_text("mnemonic")
        store_secret(entry.words, request.agent_id, words)
        found = made.get_object("addresses")
        if not isinstance(found.get(self.chain), str):
            raise ServiceInDoubt(f"{what} was made, but has no address on {self.chain}. Look at the wallet service.")
        for chain, reference in addresses.items():
            if isinstance(address := found.get(chain), str):
                store_secret(reference, request.agent_id, address)
        for chain, reference in keys.items():
            if chain in EVM_CHAINS:
                store_secret(reference, request.agent_id, derive_evm_key(words))
        return {"agent_id": request.agent_id, "address": found.get_text(self.chain)}

    def _find_places(self, references: Mapping[str, str]) -> dict[str, str]:
        """Return the references to files, by chain, and that of the operation's own chain in any case."""
        files = {chain: place for chain, place in references.items() if place.startswith(FILE)}
        return {**files, self.chain: references.get(self.chain, "")}

    def read_receipt(self, answer: Answer) -> AddressReceipt:
        """Take the address alone, since the answer may hold words and keys."""
        return AddressReceipt(reference=answer.get_text("address"), chain=self.chain)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReceipt(Receipt):
    """A transfer on a chain; `reference` is its transaction, `to` the address."""

    to: str


@dataclass(frozen=True, kw_only=True)
class Send(BlindOperation[TransferReceipt]):
    """Send USDC, another known token, or on request the chain's native coin, from the agent's address."""

    name = "wallet.send"
    cost = "amount"

    chain: Chain
    to: Text
    amount: Annotated[Amount, AssetAmountRule()]
    asset: Asset = "USDC"

    def check_fields(self) -> None:
        """Give the amount its currency; refuse an asset that the wallet cannot send there."""
        try:
            money = check_amount(self.amount, find_asset(self.chain, self.asset))  # type: ignore[arg-type]  # as its rule made it
        except InvalidInput as error:
            raise type(error)(f"wallet.send: {error.message} Nothing was sent.") from None
        object.__setattr__(self, "amount", money)

    def build_body(self, tag: str) -> Body:
        """Return the transfer; the wallet takes amounts as text, in whole units."""
        del tag
        amount = parse_money(self.amount)
        return {"chain": self.chain, "to": self.to, "amount": f"{amount.amount.normalize():f}", "token": self.asset}

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`POST wallet/send`; contract and signing key join the request here and nowhere else.

        The answer has to name the same chain, amount and contract: the wallet would send native coins without one.
        """
        entry = request.file.get_entry(request.agent_id, request.service)
        reference = entry.signing_keys.get(self.chain)
        if reference is None:
            raise CredentialMissing(
                f"{request.agent_id} has no signing key on {self.chain} in the services file. Nothing was sent."
            )
        sent = {**body, "private_key": resolve_secret(reference, request.agent_id)}
        contract = find_asset(self.chain, self.asset, request.file.get_token(request.service, self.chain)).contract
        sent = {**sent, "token": contract} if contract else {key: sent[key] for key in sent if key != "token"}
        answer = await request.send_operation("wallet/send", sent, secret=sent["private_key"])
        told = (answer.get("chain"), answer.get("amount"), str(answer.get("token") or "").lower())
        if told != (self.chain, body["amount"], (contract or "").lower()):
            raise ServiceInDoubt(f"wallet.send was answered for {told} and not as asked. Look at the chain.")
        return {**answer, "token": self.asset}

    def read_receipt(self, answer: Answer) -> TransferReceipt:
        """Debit the amount, in its own currency."""
        if answer.get("token") != self.asset:
            raise ServiceAnswerInvalid(f"it tells that {answer.get('token')!r} was sent, not {self.asset}.")
        return TransferReceipt(
            reference=answer.get_text("tx_hash"), debited=parse_money(self.amount), to=self.to, raw=answer.body
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapReceipt(Receipt):
    """An order of a swap; nothing has moved before a payment arrives at `deposit_address`."""

    order_id: str
    deposit_address: str


@dataclass(frozen=True, kw_only=True)
class Swap(ServiceOperation[SwapReceipt]):
    """Order a swap of USDC between chains; a second order costs nothing, since nothing moves before it is paid."""

    name = "wallet.swap"
    guarantee = Guarantee.VERIFIABLE
    serial = "wallet:swap"  # one order at a time for an account.
    refusals = frozenset({"unsupported_chain", "not_implemented", "same_chain"})

    from_chain: Chain
    to_chain: Chain
    to_address: Text
    amount: Dollars

    def check_fields(self) -> None:
        """Refuse a swap on one chain."""
        if self.from_chain == self.to_chain:
            raise InvalidInput("wallet.swap: from_chain and to_chain are the same. Nothing was sent.")

    def build_body(self, tag: str) -> Body:
        """Return the order: tokens by their addresses, and the amount in the token's smallest units."""
        del tag
        return {
            "from_chain": self.from_chain,
            "to_chain": self.to_chain,
            "from_token": SWAP_TOKENS[self.from_chain],
            "to_token": SWAP_TOKENS[self.to_chain],
            "amount": to_base_units(parse_money(self.amount), TOKEN_DECIMALS),
            "to_address": self.to_address,
        }

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`POST wallet/swap`."""
        answer = await request.send_operation("wallet/swap", body)
        return {**answer, "deposit_address": Answer(answer).get_object("deposit").get("address")}

    def read_receipt(self, answer: Answer) -> SwapReceipt:
        """Take where to pay in; nothing has moved yet."""
        return SwapReceipt(
            reference=answer.get_text("swap_id"),
            order_id=answer.get_text("order_id"),
            deposit_address=answer.get_text("deposit_address"),
            raw=answer.body,
        )

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return the orders before the call."""
        return {"ids": [row.get_text("id") for row in self._list_orders(outside, agent_id)]}

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look for a new order with the same parameters; where to pay it in, its status tells."""
        if intent.baseline is None:
            return NO_BASELINE
        body = self.build_body(intent.remote_key)
        new = [
            row
            for row in self._list_orders(outside, intent.agent_id)
            if row.get_text("id") not in intent.baseline["ids"]
        ]
        fitting = [
            row
            for row in new
            if row.get("from_amount") == body["amount"]
            and all(row.get(name) == body[name] for name in ("from_chain", "to_chain", "to_address"))
        ]
        if not fitting and new:
            return self.unknown_for_good(outside, intent, f"{len(new)} new orders are there, and none fits")
        if not fitting:
            return self.absent_if_settled(outside, intent, "no new order is there")
        order_id = fitting[0].get_text("order_id")  # of several any serves: one that is not paid costs nothing
        status = self.read_view(outside, intent.agent_id, "swap-status", order_id=order_id)
        receipt = {"swap_id": fitting[0].get_text("id"), "order_id": order_id}
        return Applied(self.read_receipt(Answer({**receipt, "deposit_address": status.get_text("depositAddress")})))

    def _list_orders(self, outside: Gateway, agent_id: str) -> list[Answer]:
        return self.read_view(outside, agent_id, "activity").get_items("events")


@own_view("wallet", "state")
async def read_own_state(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """`GET wallet/usdc-balance` with the addresses of the services file, by chain.

    When some chains do not answer, `unread` names them; ServiceReadFailed when none does.
    """
    addresses: dict[str, str] = {}
    for chain, text in request.file.get_entry(request.agent_id, request.service).addresses.items():
        try:
            addresses[chain] = resolve_reference(text, request.agent_id) if is_reference(text) else text
        except CredentialMissing:  # an address that was never made
            continue
    rows, unread = await _read_balances(request, addresses) if addresses else ([], [])
    if unread and not rows:
        raise ServiceReadFailed(f"the wallet could read none of the chains {', '.join(unread)}. Nothing was changed.")
    total = sum((Answer(row).get_number("amount") for row in rows), Decimal(0))
    state: Body = {"agent_id": request.agent_id, "total_usdc": str(total), "addresses": rows}
    return state | {UNREAD_MEMBER: unread} if unread else state


@own_view("wallet", "balance")
async def read_own_balance(request: OwnRequest, query: Mapping[str, str]) -> Body:
    """USDC on one address."""
    chain = query.get("chain", "base")
    rows, _ = await _read_balances(request, {chain: query.get("address", "")})
    if not rows:
        raise ServiceReadFailed(f"the wallet could not read the chain {chain}. Nothing was changed.")
    return rows[0]


@own_view("wallet", "activity")
async def read_own_activity(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """`GET wallet/activity`: the newest 100 swaps; transfers are in no list."""
    return await request.read_json("wallet/activity", type="swaps", limit="100")


@own_view("wallet", "swap-status")
async def read_own_swap_status(request: OwnRequest, query: Mapping[str, str]) -> Body:
    """`GET wallet/swap/status/{order_id}`: the order as the exchange shows it."""
    return await request.read_json(f"wallet/swap/status/{query['order_id']}")


async def _read_balances(request: OwnRequest, addresses: Mapping[str, str]) -> tuple[list[Body], list[str]]:
    """Return the balances, and the chains that could not be read."""
    shown = Answer(await request.read_json("wallet/usdc-balance", **addresses)).get_items("balances")
    by_chain = {row.get_text("chain"): row for row in shown}
    missing = [chain for chain in addresses if chain not in by_chain or by_chain[chain].has_member("error")]
    rows = [
        {
            "address": address,
            "chain": chain,
            "symbol": "USDC",
            "amount": str(by_chain[chain].get_number("usdc_balance")),
        }
        for chain, address in addresses.items()
        if chain not in missing
    ]
    return rows, missing


create = Create
send = Send
swap = Swap
join = WalletJoin
deposit = WalletDeposit
