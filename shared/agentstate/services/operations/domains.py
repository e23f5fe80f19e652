"""Domains: the name itself is the key; a name that is gone is ours only when our list has it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from agentstate.errors import ServiceAnswerInvalid
from agentstate.money.effects.operation import Intent
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Verdict
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.own_request import OwnRequest, add_own_paths, own_view
from agentstate.services.operations.accounts import DomainsDeposit, DomainsJoin
from agentstate.services.operations.base import NO_BASELINE, ServiceOperation
from agentstate.services.operations.fields import Text
from agentstate.services.operations.names import Service
from agentstate.services.operations.receipts import Receipt
from agentstate.services.wire import Answer, Body

SKEW: Final = timedelta(seconds=2)
"""How far the service's clock may be behind ours, where nothing was noted before the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainReceipt(Receipt):
    """A domain that was paid for, until `expires_at` where the service says so."""

    domain: str
    expires_at: str = ""


@dataclass(frozen=True, kw_only=True)
class Register(ServiceOperation[DomainReceipt]):
    """Buy a domain for a year."""

    name = "domains.register"
    guarantee = Guarantee.NATURAL
    settle_window_s = 60.0
    refusals = frozenset({"invalid_domain", "domain_unavailable", "insufficient_balance", "availability_check_failed"})
    already = frozenset({"domain_unavailable"})
    reference = "domain"
    serial = "domains"  # the real service loses debits of purchases that run together.

    domain: Text

    def build_body(self, tag: str) -> Body:
        """Return the name."""
        del tag
        return {"domain": self.domain.lower()}

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """`POST domains/register`; the price stands in the list."""
        await request.send_operation("domains/register", body)
        for row in Answer(await request.read_json("domains")).get_items("domains"):
            if row.get("domain") == body["domain"]:
                return {"domain_id": row.get_text("domain_id"), "price_paid": row.get("price_paid")}
        raise ServiceAnswerInvalid(f"{self.domain} was bought and is not in the list.")

    def read_receipt(self, answer: Answer) -> DomainReceipt:
        """Debit the price."""
        return DomainReceipt(
            reference=answer.get_text("domain_id"),
            debited=answer.get_money("price_paid"),
            domain=self.domain.lower(),
            raw=answer.body,
        )

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return whether the agent had the name before the call."""
        return {"owned": _find_owned(outside, agent_id, self.domain) is not None}

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """In our list it is ours; free means that nothing happened; taken by another is for a person."""
        domain = self.domain.lower()
        row = _find_owned(outside, intent.agent_id, domain)
        if row is not None:
            noted = intent.baseline["owned"] if intent.baseline is not None else None
            if noted if noted is not None else row.get_time("registered_at") < intent.called_at - SKEW:
                return Absent("the agent had the name before this call, which was therefore refused")
            return Applied(self.read_receipt(row))
        found = self.read_view(outside, intent.agent_id, "search", domain=domain)
        if found.get_flag("available"):
            return self.absent_if_settled(outside, intent, f"{domain} is free")
        reason = f"{domain} is taken and not in the agent's list: lost on the way, or bought by another"
        return self.unknown_for_good(outside, intent, reason)


@dataclass(frozen=True, kw_only=True)
class Renew(ServiceOperation[DomainReceipt]):
    """Renew a domain for a year; the services' own routes have none for it."""

    name = "domains.renew"
    guarantee = Guarantee.VERIFIABLE
    settle_window_s = 60.0
    refusals = frozenset({"invalid_domain", "domain_not_found", "insufficient_balance"})
    reference = "domain"
    serial = "domains"  # one of both at a time for an account.

    domain: Text

    def build_body(self, tag: str) -> Body:
        """Return the name."""
        del tag
        return {"domain": self.domain.lower()}

    def read_receipt(self, answer: Answer) -> DomainReceipt:
        """Debit the price."""
        return DomainReceipt(
            reference=answer.get_text("domain_id"),
            debited=answer.get_money("price_paid"),
            domain=self.domain.lower(),
            expires_at=answer.get_text("expires_at"),
            raw=answer.body,
        )

    def read_baseline(self, outside: Gateway, agent_id: str) -> Mapping[str, Any]:
        """Return until when the domain was paid before the call."""
        row = _find_owned(outside, agent_id, self.domain)
        return {"expires_at": row.get_text("expires_at") if row else None}

    def verify(self, outside: Gateway, intent: Intent) -> Verdict:
        """A later date of expiry than before is this renewal's, since no other ran beside it."""
        if intent.baseline is None:
            return NO_BASELINE
        row = _find_owned(outside, intent.agent_id, self.domain)
        if row is None or row.get("expires_at") == intent.baseline["expires_at"]:
            return self.absent_if_settled(outside, intent, "the domain expires when it did before")
        return Applied(self.read_receipt(Answer({**row.body, "price_paid": row.get("renewal_price")})))


def _find_owned(outside: Gateway, agent_id: str, domain: str) -> Answer | None:
    rows = Answer(outside.read(agent_id, Service.DOMAINS, "list")).get_items("domains")
    return next((row for row in rows if row.get("domain") == domain.lower()), None)


@own_view("domains", "state")
async def read_own_state(request: OwnRequest, _query: Mapping[str, str]) -> Body:
    """`GET auth/account` and `domains`."""
    account, listed = await asyncio.gather(request.read_json("auth/account"), request.read_json("domains"))
    return {**request.rename_account(account), "domains": listed.get("domains")}


@own_view("domains", "search")
async def read_own_search(request: OwnRequest, query: Mapping[str, str]) -> Body:
    """`GET domains/search`: whether the very name is free."""
    domain = query["domain"]
    for row in Answer(await request.read_json("domains/search", q=domain)).get_items("results"):
        if row.get("domain") == domain:
            return {"domain": domain, "available": row.get_flag("available"), "price_eur": row.get("price_eur")}
    raise ServiceAnswerInvalid(f"the search for {domain} does not tell about it.")


add_own_paths("domains", {"list": "domains"})

register = Register
renew = Renew
join = DomainsJoin
deposit = DomainsDeposit
