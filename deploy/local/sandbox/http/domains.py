"""The domain service over HTTP: on the gateway, and its own routes below `/v1`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.local.sandbox.http import values
from deploy.local.sandbox.http.route import RequestData, Route, read_route, write_route
from deploy.local.sandbox.http.values import Body, to_cents, to_iso, to_usd
from deploy.local.sandbox.model.books import Books, Row
from deploy.local.sandbox.model.domains import ACCOUNT, Domains, euro_prices, price_of
from deploy.local.sandbox.model.funding import Funding, Keys


class DomainsHandler:
    """Requests of the domain service in the gateway's words."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._domains = Domains(books)
        self._funding = Funding(books)

    def deposit_money(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`deposit {amount, reference?}`: test money; a reference is honoured as a key."""
        reference, amount = str(body.get("reference", "")), values.read_micros(body, "amount")
        balance = self._funding.deposit_money(agent_id, "domains", amount, reference, ACCOUNT)
        return {"agent_id": agent_id, "balance_usd": to_usd(balance), "reference": reference}

    def register_domain(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`register {domain}`."""
        row = self._domains.register_domain(agent_id, values.read_text(body, "domain", "invalid_domain"))
        return {"agent_id": agent_id, **domain_json(row)}

    def renew_domain(self, agent_id: str, body: Mapping[str, Any]) -> Body:
        """`renew {domain}`: another year."""
        row = self._domains.renew_domain(agent_id, values.read_text(body, "domain", "invalid_domain"))
        return {"agent_id": agent_id, **domain_json(row), "price_paid": to_usd(price_of(row["domain"]))}

    def search_domain(self, _agent_id: str, query: Mapping[str, str]) -> Body:
        """`search?domain`: whether it is free, and its price."""
        domain = query.get("domain", "")
        free, price = self._domains.search_domain(domain)
        return {"domain": domain, "available": free, "price_eur": to_usd(price)}

    def list_domains(self, agent_id: str, _query: Mapping[str, str]) -> Body:
        """`list`: all names of the agent."""
        rows = self._domains.list_owned(agent_id)
        return {"domains": [domain_json(row) for row in rows], "count": len(rows)}

    def read_state(self, agent_id: str, query: Mapping[str, str]) -> Body:
        """`state`: account, rounded to cents, and all names."""
        spent, deposited = self._domains.sum_account(agent_id)
        owned = self.list_domains(agent_id, query)
        return {
            "agent_id": agent_id,
            "balance_usd": to_cents(self._books.read_balance(agent_id, ACCOUNT)),
            "total_spent": to_cents(spent),
            "total_deposited": to_cents(deposited),
            "total_domains": owned["count"],
            "domains": owned["domains"],
        }


def domain_json(row: Row) -> Body:
    """A name as the service lists it."""
    return {
        "domain_id": row["domain_id"],
        "domain": row["domain"],
        "status": "active",
        "registered_at": to_iso(row["created_at"]),
        "expires_at": to_iso(row["expires_at"]),
        "auto_renew": False,
        "price_paid": to_usd(row["price"]),
        "renewal_price": to_usd(price_of(row["domain"])),
    }


NEW_ACCOUNT: Body = {"tier": "free", "balance_usd": 0}


class DomainRoutes:
    """The domain service's own routes."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._domains = Domains(books)
        self._face = DomainsHandler(books)
        self._keys = Keys(books)

    def list_routes(self) -> Sequence[Route]:
        """The table."""
        base = "/v1"
        return (
            write_route(f"{base}/auth/register", "join", self.register_account, public=True, status=201),
            read_route(f"{base}/auth/account", "state", self.read_account),
            read_route(f"{base}/domains", "list", self.list_domains),
            read_route(f"{base}/domains/search", "search", self.search_domain),
            write_route(f"{base}/domains/register", "register", self.register_domain, status=201),
        )

    def register_account(self, _who: str, _given: RequestData) -> Body:
        """Answer `POST /v1/auth/register`."""
        account, key = self._keys.create_account("domains")
        return {"agent_id": account, "api_key": key, "referral_code": f"ref_{account[3:11]}", **NEW_ACCOUNT}

    def read_account(self, who: str, given: RequestData) -> Body:
        """Answer `GET /v1/auth/account`."""
        state = self._face.read_state(who, given.query)
        state.pop("domains")
        return {**state, "referral_code": f"ref_{who[3:11]}", "tier": "free", "created_at": to_iso(0)}

    def list_domains(self, who: str, given: RequestData) -> Body:
        """Answer `GET /v1/domains`."""
        listed = self._face.list_domains(who, given.query)
        rows = [{name: row[name] for name in row if name != "renewal_price"} for row in listed["domains"]]
        return {"total": listed["count"], "domains": rows}

    def search_domain(self, _who: str, given: RequestData) -> Body:
        """Answer `GET /v1/domains/search`."""
        domain = given.query.get("q", given.query.get("domain", ""))
        free, _ = self._domains.search_domain(domain)
        base, sold = euro_prices(domain)
        found = {"domain": domain, "available": free, "base_price_eur": to_usd(base), "price_eur": to_usd(sold)}
        return {"query": domain, "total": 1, "available": int(free), "currency": "EUR", "results": [found]}

    def register_domain(self, who: str, given: RequestData) -> Body:
        """Answer `POST /v1/domains/register`."""
        row = self._domains.register_domain(who, values.read_text(given.body, "domain", "invalid_domain"))
        base, sold = euro_prices(row["domain"])
        shown = domain_json(row)
        cost = {
            "base_price_eur": to_usd(base),
            "base_price_usd": to_cents(base * 108 // 100),
            "total_charged_eur": to_usd(sold),
            "total_charged_usd": to_usd(row["price"]),
        }
        names = ("domain_id", "domain", "status", "expires_at")
        balance = to_cents(self._books.read_balance(who, ACCOUNT))
        made = {"cost": cost, "balance_usd": balance, "transaction_id": f"tx_{row['domain_id'][4:]}"}
        return {**{name: shown[name] for name in names}, **made}
