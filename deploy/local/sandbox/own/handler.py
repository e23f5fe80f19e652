"""One request of the services' own dialect: whose key is it, which route, then as in the other dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.local.sandbox.model.keys import Keys
from deploy.local.sandbox.model.refusal import Refusal
from deploy.local.sandbox.own.route import RequestData, Route, find_route
from deploy.local.sandbox.serving import Answer, Parts, ServiceHandler, ServiceRequest, refusal_answer


class OwnHandler(ServiceHandler):
    """`/own/{service}/...`."""

    def initialize(self, parts: Parts, **others: Any) -> None:
        """Take the parts of the process (Tornado hands them in)."""
        super().initialize(parts)
        self._faces: Mapping[str, Sequence[Route]] = others["faces"]
        self._keys = Keys(self._books)

    async def get(self, service: str, path: str) -> None:
        """Read something."""
        await self._serve_route(service, path)

    async def post(self, service: str, path: str) -> None:
        """Do something."""
        await self._serve_route(service, path)

    async def _serve_route(self, service: str, path: str) -> None:
        try:
            route, places = find_route(self._faces.get(service, ()), self.request.method or "", path)
            account = "" if route.public else self._find_account(service)
        except Refusal as refusal:
            self.write_answer(*refusal_answer(refusal), service)
            return
        body = self.read_body()
        given = RequestData(places=places, query=self.read_query() if route.reads else {}, body=body or {})

        def act() -> Answer:
            if body is None:
                raise Refusal(400, "invalid_json", "The body is a JSON object.")
            return route.status, route.act(account, given)

        whose = account or str(given.body.get("agent_casino_id", ""))
        asked = ServiceRequest(
            service=service,
            name=route.name,
            agent_id=whose,
            act=act,
            path=f"{service}{path}",
            reads=route.reads,
            key=self.read_request_key(dict(given.body)),
        )
        await self.serve_request(asked)

    def _find_account(self, service: str) -> str:
        scheme, _, key = self.request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            raise Refusal(401, "unauthorized", "Authorization: Bearer KEY is needed.")
        return self._keys.find_account(service, key)
