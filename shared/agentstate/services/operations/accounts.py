"""Accounts at the services: making one, and putting test money on it.

At the unified gateway one registration serves all services. At their own routes casino, escrow and faucet share one;
trading, wallet and domains have one each, whose id and key are kept where the services file refers to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agentstate.errors import ServiceInDoubt
from agentstate.money.amounts import parse_money
from agentstate.money.effects.operation import Intent
from agentstate.money.effects.verdicts import Absent, Guarantee, Verdict
from agentstate.services.http.credential_references import require_unused_file, store_secret
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.own_request import OwnRequest
from agentstate.services.operations.base import ServiceOperation
from agentstate.services.operations.fields import Dollars, Text
from agentstate.services.operations.receipts import Receipt
from agentstate.services.operations.wallet_assets import Chain
from agentstate.services.wire import Answer, Body, wire_amount


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReceipt(Receipt):
    """An account; `created` is False where the agent had one."""

    created: bool = True


@dataclass(frozen=True, kw_only=True)
class Register(ServiceOperation[AccountReceipt]):
    """Register the agent at the unified gateway; harmless to repeat. The services' own routes have `join` instead."""

    name = "casino.register"
    guarantee = Guarantee.NATURAL

    referral_code: Text | None = None

    def build_body(self, tag: str) -> Body:
        """Return the referral code, where there is one."""
        del tag
        return referral_part(self.referral_code)

    def read_receipt(self, answer: Answer) -> AccountReceipt:
        """Read whether the agent is new."""
        return AccountReceipt(
            reference=answer.get_text("agent_id"), created=answer.get_flag("created"), raw=answer.body
        )

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Return Absent without looking: repeating is harmless."""
        del outside, intent
        return Absent("registering twice does nothing")


@dataclass(frozen=True, kw_only=True)
class Join(ServiceOperation[AccountReceipt]):
    """Register the agent at a service's own routes; doing it twice makes two accounts."""

    guarantee = Guarantee.BLIND
    has_gateway_route = False

    referral_code: Text | None = None

    def build_body(self, tag: str) -> Body:
        """Return the referral code, where there is one."""
        del tag
        return referral_part(self.referral_code)

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`POST auth/register`; id and key are written to the files that the services file names.

        Raises:
            ServiceRejected: there is an account already. CredentialMissing: no file is named. Nothing was sent.
        """
        entry = request.file.get_entry(request.agent_id, request.service)
        what = f"registering {request.agent_id} at {request.service}"
        for reference in (entry.account, entry.credential):
            require_unused_file(reference, request.agent_id, what)
        made = Answer(await request.send_operation("auth/register", body, keyless=True))
        key = made.get("api_key")
        if not isinstance(key, str) or not key:
            raise ServiceInDoubt(f"{what}: the answer has no key. The account may be there and cannot be used.")
        account = made.get_text("agent_id")
        store_secret(entry.credential, request.agent_id, key)
        store_secret(entry.account, request.agent_id, account)
        await asyncio.to_thread(request.accounts.record_account, request.service.value, request.agent_id, account)
        return {"agent_id": request.agent_id, "created": True}

    def read_receipt(self, answer: Answer) -> AccountReceipt:
        """Read the agent's id alone: no receipt holds a key."""
        return AccountReceipt(reference=answer.get_text("agent_id"))


@dataclass(frozen=True, kw_only=True)
class Deposit(ServiceOperation[Receipt]):
    """Put test money on an account of the sandbox, keyed by our tag; real accounts are funded on a chain."""

    guarantee = Guarantee.KEYED
    refusals = frozenset({"invalid_amount", "unsupported_chain"})

    amount: Dollars

    def build_body(self, tag: str) -> Body:
        """Return the amount and the tag, which the sandbox honours as a key."""
        return {"amount": wire_amount(self.amount), "reference": tag}

    def read_receipt(self, answer: Answer) -> Receipt:
        """Credit the amount."""
        return Receipt(reference=answer.get_text("reference"), credited=parse_money(self.amount), raw=answer.body)

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """Return Absent without looking: a second deposit with the same tag changes nothing."""
        del outside, intent
        return Absent("the tag is a key here; repeating does nothing")


def referral_part(code: str | None) -> Body:
    """Return the referral part of a request; empty without a code."""
    return {} if code is None else {"referral_code": code}


class CasinoJoin(Join):
    """Register the agent at the casino's own routes; the account serves escrow and faucet too."""

    name = "casino.join"


class TradingJoin(Join):
    """Register the agent at trading's own routes."""

    name = "trading.join"


class WalletJoin(Join):
    """Register the agent at the wallet's own routes."""

    name = "wallet.join"


class DomainsJoin(Join):
    """Register the agent at the domain service's own routes."""

    name = "domains.join"


class CasinoDeposit(Deposit):
    """Put test money on the balance of casino, escrow and faucet."""

    name = "casino.deposit"


class TradingDeposit(Deposit):
    """Put test money on the trading account."""

    name = "trading.deposit"


class DomainsDeposit(Deposit):
    """Put test money on the account of the domain service."""

    name = "domains.deposit"


@dataclass(frozen=True, kw_only=True)
class WalletDeposit(Deposit):
    """Put test money on the agent's address of a chain."""

    name = "wallet.deposit"

    chain: Chain

    def build_body(self, tag: str) -> Body:
        """Return amount, tag and chain; the wallet takes amounts as text."""
        return {"amount": str(wire_amount(self.amount)), "reference": tag, "chain": self.chain}


JOINS: Final[Sequence[type[Join]]] = (CasinoJoin, TradingJoin, WalletJoin, DomainsJoin)
"""The registrations that an agent needs for all services at their own routes."""
