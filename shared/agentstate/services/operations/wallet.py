"""The wallet: its transfers cannot be found again through it, so a call that was cut off is for a person.

At its own routes it keeps no list of addresses and signs with a key that comes with each transfer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from agentstate.errors import CredentialMissing, ServiceError, ServiceInDoubt
from agentstate.money.amounts import parse_money
from agentstate.money.effects.operation import Intent
from agentstate.money.effects.verdicts import Applied, Guarantee, Unknown, Verdict
from agentstate.services.cache.reading import UNREAD_MEMBER
from agentstate.services.http.credential_references import (
    is_reference,
    require_unused_file,
    resolve_reference,
    resolve_secret,
    store_secret,
)
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.own_request import OwnRequest, own_view
from agentstate.services.operations.accounts import Chain, WalletDeposit, WalletJoin
from agentstate.services.operations.base import NO_BASELINE, ServiceOperation
from agentstate.services.operations.fields import Dollars, Text
from agentstate.services.operations.receipts import R, Receipt
from agentstate.services.wire import Answer, Body, wire_amount

_SWAP_MARKS: Final = ("from_chain", "to_chain", "amount", "to_address")


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
    """Make an address; calling twice makes two."""

    name = "wallet.create"

    chain: Chain

    def build_body(self, tag: str) -> Body:
        """Return the chain."""
        del tag
        return {"chain": self.chain}

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`POST wallet/create`; words and keys are written to files, and go no further."""
        entry = request.file.get_entry(request.agent_id, request.service)
        what = f"a wallet for {request.agent_id}"
        key, address = entry.signing_keys.get(self.chain, ""), entry.addresses.get(self.chain, "")
        for reference in (entry.words, key, address):
            require_unused_file(reference, request.agent_id, what)
        made = Answer(await request.send_operation("wallet/create", {}))
        found = made.get_object("addresses").get(self.chain)
        private_key = made.get_object("private_keys").get(self.chain) if made.has_member("private_keys") else None
        if not isinstance(found, str):
            raise ServiceInDoubt(f"{what} was made, but has no address on {self.chain}. Look at the wallet service.")
        store_secret(entry.words, request.agent_id, str(made.get("mnemonic")))
        if isinstance(private_key, str):
            store_secret(key, request.agent_id, private_key)
        store_secret(address, request.agent_id, found)
        return {"agent_id": request.agent_id, "address": found}

    def read_receipt(self, answer: Answer) -> AddressReceipt:
        """Take the address alone, since the answer may hold words and keys."""
        return AddressReceipt(reference=answer.get_text("address"), chain=self.chain)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReceipt(Receipt):
    """A transfer on a chain; `reference` is its transaction, `to` the address."""

    to: str


@dataclass(frozen=True, kw_only=True)
class Send(BlindOperation[TransferReceipt]):
    """Send USDC from the agent's newest address."""

    name = "wallet.send"
    cost = "amount"

    chain: Chain
    to: Text
    amount: Dollars

    def build_body(self, tag: str) -> Body:
        """Return the transfer; the wallet takes amounts as text."""
        del tag
        return {"chain": self.chain, "to": self.to, "amount": str(wire_amount(self.amount))}

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`POST wallet/send`; the signing key joins the request here and nowhere else."""
        entry = request.file.get_entry(request.agent_id, request.service)
        reference = entry.signing_keys.get(self.chain)
        if reference is None:
            raise CredentialMissing(
                f"{request.agent_id} has no signing key on {self.chain} in the services file. Nothing was sent."
            )
        secret = resolve_secret(reference, request.agent_id)
        token = request.file.get_token(request.service, self.chain)
        sent = {**body, "private_key": secret, **({"token": token} if token else {})}
        return await request.send_operation("wallet/send", sent, secret=secret)

    def read_receipt(self, answer: Answer) -> TransferReceipt:
        """Debit the amount."""
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

    def build_body(self, tag: str) -> Body:
        """Return the order; the wallet takes amounts as text."""
        del tag
        return {
            "from_chain": self.from_chain,
            "to_chain": self.to_chain,
            "from_token": "USDC",
            "to_token": "USDC",
            "amount": str(wire_amount(self.amount)),
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
        return {
            "ids": [row.get_text("swap_id") for row in self.read_view(outside, agent_id, "activity").get_items("swaps")]
        }

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Look for a new order with the same parameters."""
        if intent.baseline is None:
            return Unknown(NO_BASELINE)
        body, known = self.build_body(intent.remote_key), intent.baseline["ids"]
        new = [
            row
            for row in self.read_view(outside, intent.agent_id, "activity").get_items("swaps")
            if row.get_text("swap_id") not in known
        ]
        fitting = [row for row in new if all(row.get(name) == body[name] for name in _SWAP_MARKS)]
        if fitting:
            return Applied(self.read_receipt(fitting[0]))
        return self.absent_if_settled(outside, intent, "no new order is there")


@own_view("wallet", "state")
async def read_own_state(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """`GET wallet/usdc-balance/{address}` for every address of the services file, side by side.

    When some chains do not answer, `unread` names them; when none does, their error is raised.
    """
    addresses: dict[str, str] = {}
    for chain, text in request.file.get_entry(request.agent_id, request.service).addresses.items():
        try:
            addresses[chain] = resolve_reference(text, request.agent_id) if is_reference(text) else text
        except CredentialMissing:  # an address that was never made
            continue
    reads = (_read_balance(request, chain, address) for chain, address in addresses.items())
    found = await asyncio.gather(*reads, return_exceptions=True)
    failed = [each for each in found if isinstance(each, BaseException)]
    for each in failed:
        if not isinstance(each, ServiceError) or len(failed) == len(found):
            raise each
    rows = [each for each in found if not isinstance(each, BaseException)]
    total = sum((Answer(row).get_number("amount") for row in rows), Decimal(0))
    state: Body = {"agent_id": request.agent_id, "total_usdc": str(total), "addresses": rows}
    unread = [chain for chain, each in zip(addresses, found, strict=True) if isinstance(each, BaseException)]
    return state | {UNREAD_MEMBER: unread} if unread else state


@own_view("wallet", "balance")
async def read_own_balance(request: OwnRequest, query: Mapping[str, str]) -> Body:
    """USDC on one address."""
    return await _read_balance(request, query.get("chain", "base"), query.get("address", ""))


@own_view("wallet", "activity")
async def read_own_activity(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """`GET wallet/activity`: swaps and referrals; transfers are in no list."""
    return await request.read_json("wallet/activity", type="swaps")


async def _read_balance(request: OwnRequest, chain: str, address: str) -> Body:
    balance = Answer(await request.read_json(f"wallet/usdc-balance/{address}", chain=chain)).get_object("balance")
    return {"address": address, "chain": chain, "symbol": "USDC", "amount": str(balance.get_number("amount"))}


create = Create
send = Send
swap = Swap
join = WalletJoin
deposit = WalletDeposit
