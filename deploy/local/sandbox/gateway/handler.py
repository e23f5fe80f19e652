"""One request of the gateway: one key for all services, the agent in the query or the body."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from deploy.local.sandbox.gateway.routes import CREATES, GatewayRoutes
from deploy.local.sandbox.gateway.shapes import Body
from deploy.local.sandbox.model.refusal import Refusal
from deploy.local.sandbox.serving import Answer, Parts, ServiceHandler, ServiceRequest

KEY_PREFIX = "Bearer pf_"


class GatewayHandler(ServiceHandler):
    """`/api/v1/{service}/{name}`."""

    def initialize(self, parts: Parts, **others: Any) -> None:
        """Take the parts of the process (Tornado hands them in)."""
        super().initialize(parts)
        self._routes: GatewayRoutes = others["routes"]

    async def get(self, service: str, name: str) -> None:
        """Read something."""
        query = self.read_query()
        agent_id = query.get("agent_id", "")

        def act() -> Answer:
            view = self._routes.find_view(f"{service}/{name}")
            return 200, view(_require_agent_id(agent_id), query)

        await self._serve_authorized(service, name, agent_id, act, reads=True)

    async def post(self, service: str, name: str) -> None:
        """Do something."""
        body = self.read_body()
        given = body or {}
        agent_id, key, path = str(given.get("agent_id", "")), self.read_request_key(given), f"{service}/{name}"

        def act() -> Answer:
            if body is None:
                raise Refusal(400, "invalid_json", "The body is a JSON object.")
            operation = self._routes.find_operation(path)
            answer = self.answer_once(_require_agent_id(agent_id), path, key, lambda: operation(agent_id, body))
            return 201 if path in CREATES else 200, answer

        await self._serve_authorized(service, name, agent_id, act, key=key)

    async def _serve_authorized(
        self, service: str, name: str, agent_id: str, act: Callable[[], Answer], *, reads: bool = False, key: str = ""
    ) -> None:
        if not self.request.headers.get("Authorization", "").startswith(KEY_PREFIX):
            self.write_answer(
                401, {"error": "unauthorized", "message": "A key that begins with pf_ is needed."}, service
            )
            return
        path = f"{service}/{name}"
        await self.serve_request(
            ServiceRequest(service=service, name=name, agent_id=agent_id, act=act, path=path, reads=reads, key=key)
        )

    def answer_once(self, agent_id: str, path: str, key: str, act: Callable[[], Body]) -> Body:
        """Honour an idempotency key when the switch says so, and ignore it as the real services do otherwise."""
        if not key or not self._books.read_switch("idempotency_keys", default=False):
            return act()
        where = (agent_id, path, key)
        sql = "SELECT body FROM answers WHERE agent_id = ? AND route = ? AND request_key = ?"
        stored = self._books.query_row(sql, *where)
        if stored is not None:
            body: Body = json.loads(stored["body"])
            return body
        answer = act()
        self._books.execute("INSERT INTO answers VALUES (?, ?, ?, ?)", *where, json.dumps(answer))
        return answer


def _require_agent_id(agent_id: str) -> str:
    if not agent_id:
        raise Refusal(400, "invalid_request", "agent_id is missing.")
    return agent_id
