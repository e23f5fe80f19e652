"""The domain service's own routes, below `/v1`."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.domains import DomainsHandler
from deploy.local.sandbox.gateway.shapes import Body, to_usd
from deploy.local.sandbox.model.books import Books
from deploy.local.sandbox.model.domains import Domains
from deploy.local.sandbox.model.keys import Keys
from deploy.local.sandbox.own.route import RequestData, Route, read_route, write_route


class DomainRoutes:
    """What the domain service answers under its own address."""

    def __init__(self, books: Books) -> None:
        self._domains = Domains(books)
        self._face = DomainsHandler(books)
        self._keys = Keys(books)

    def list_routes(self) -> Sequence[Route]:
        """The table."""
        base = "/v1"
        return (
            write_route(f"{base}/auth/register", "join", self._register_account, public=True, status=201),
            read_route(f"{base}/auth/account", "state", self._read_account),
            read_route(f"{base}/domains", "list", self._list_domains),
            read_route(f"{base}/domains/search", "search", self._search_domain),
            write_route(f"{base}/domains/register", "register", self._register_domain, status=201),
        )

    def _register_account(self, _who: str, _given: RequestData) -> Body:
        account, key = self._keys.create_account("domains")
        return {"agent_id": account, "api_key": key}

    def _read_account(self, who: str, given: RequestData) -> Body:
        state = self._face.read_state(who, given.query)
        state.pop("domains")
        return state

    def _list_domains(self, who: str, given: RequestData) -> Body:
        listed = self._face.list_domains(who, given.query)
        rows = [{name: row[name] for name in row if name != "renewal_price"} for row in listed["domains"]]
        return {"total": listed["count"], "domains": rows}

    def _search_domain(self, _who: str, given: RequestData) -> Body:
        domain = given.query.get("q", given.query.get("domain", ""))
        free, price = self._domains.search_domain(domain)
        return {"query": domain, "results": [{"domain": domain, "available": free, "price": to_usd(price)}]}

    def _register_domain(self, who: str, given: RequestData) -> Body:
        row = self._domains.register_domain(who, inputs.read_text(given.body, "domain", "invalid_domain"))
        cost = {"total_charged": to_usd(row["price"])}
        return {"domain_id": row["domain_id"], "domain": row["domain"], "status": "active", "cost": cost}
