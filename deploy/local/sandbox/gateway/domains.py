"""Domains on the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.shapes import Body, cents, iso, usd
from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.domains import ACCOUNT, Domains, price_of
from deploy.local.sandbox.model.funding import Funding


class DomainsFace:
    """Requests of the domain service in the gateway's words."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._domains = Domains(books)
        self._funding = Funding(books)

    def deposit(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`deposit {amount, reference?}`: test money; a reference is honoured as a key."""
        reference, amount = str(body.get("reference", "")), inputs.micros(body, "amount")
        balance = self._funding.deposit(agent_id, "domains", amount, reference, ACCOUNT)
        return {"agent_id": agent_id, "balance_usd": usd(balance), "reference": reference}

    def register(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`register {domain}`."""
        row = self._domains.register(agent_id, inputs.text(body, "domain", "invalid_domain"))
        return {"agent_id": agent_id, **domain_body(row)}

    def renew(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`renew {domain}`: another year."""
        row = self._domains.renew(agent_id, inputs.text(body, "domain", "invalid_domain"))
        return {"agent_id": agent_id, **domain_body(row), "price_paid": usd(price_of(row["domain"]))}

    def search(self, _agent_id: str, query: Mapping[str, str]) -> Body:
        """`search?domain`: whether it is free, and its price."""
        domain = query.get("domain", "")
        free, price = self._domains.search(domain)
        return {"domain": domain, "available": free, "price_usd": usd(price)}

    def list(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`list`: all names of the agent."""
        rows = self._domains.owned(agent_id)
        return {"domains": [domain_body(row) for row in rows], "count": len(rows)}

    def state(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`state`: account, rounded to cents, and all names."""
        spent, deposited = self._domains.totals(agent_id)
        owned = self.list(agent_id, query)
        return {
            "agent_id": agent_id,
            "balance_usd": cents(self._books.balance(agent_id, ACCOUNT)),
            "total_spent": cents(spent),
            "total_deposited": cents(deposited),
            "total_domains": owned["count"],
            "domains": owned["domains"],
        }


def domain_body(row: Row) -> Body:
    """A name as the service lists it."""
    return {
        "domain_id": row["domain_id"],
        "domain": row["domain"],
        "status": "active",
        "registered_at": iso(row["created_at"]),
        "expires_at": iso(row["expires_at"]),
        "auto_renew": False,
        "price_paid": usd(row["price"]),
        "renewal_price": usd(price_of(row["domain"])),
    }
