"""The domain service's own routes, below `/v1`."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.local.sandbox.gateway import inputs
from deploy.local.sandbox.gateway.domains import DomainsFace
from deploy.local.sandbox.gateway.shapes import Body, usd
from deploy.local.sandbox.model.books import Books
from deploy.local.sandbox.model.domains import Domains
from deploy.local.sandbox.model.keys import Keys
from deploy.local.sandbox.own.route import Given, Route, read, write


class DomainRoutes:
    """What the domain service answers under its own address."""

    def __init__(self, books: Books) -> None:
        self._domains = Domains(books)
        self._face = DomainsFace(books)
        self._keys = Keys(books)

    def routes(self) -> Sequence[Route]:
        """The table."""
        base = "/v1"
        return (
            write(f"{base}/auth/register", "join", self._account_made, public=True, status=201),
            read(f"{base}/auth/account", "state", self._account),
            read(f"{base}/domains", "list", self._list),
            read(f"{base}/domains/search", "search", self._search),
            write(f"{base}/domains/register", "register", self._register, status=201),
        )

    def _account_made(self, _who: str, _given: Given) -> Body:
        account, key = self._keys.register("domains")
        return {"agent_id": account, "api_key": key}

    def _account(self, who: str, given: Given) -> Body:
        state = self._face.state(who, given.query)
        state.pop("domains")
        return state

    def _list(self, who: str, given: Given) -> Body:
        listed = self._face.list(who, given.query)
        rows = [{name: row[name] for name in row if name != "renewal_price"} for row in listed["domains"]]
        return {"total": listed["count"], "domains": rows}

    def _search(self, _who: str, given: Given) -> Body:
        domain = given.query.get("q", given.query.get("domain", ""))
        free, price = self._domains.search(domain)
        return {"query": domain, "results": [{"domain": domain, "available": free, "price": usd(price)}]}

    def _register(self, who: str, given: Given) -> Body:
        row = self._domains.register(who, inputs.text(given.body, "domain", "invalid_domain"))
        cost = {"total_charged": usd(row["price"])}
        return {"domain_id": row["domain_id"], "domain": row["domain"], "status": "active", "cost": cost}
