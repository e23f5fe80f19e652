"""The domain service's own routes: no ledger, and a price that only the list tells exactly."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from agentstate.errors import ServiceAnswerInvalid
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.answer import Answer
from agentstate.services.own.casino import ours
from agentstate.services.own.desk import Desk
from agentstate.services.own.registering import register as join


async def state(desk: Desk, _query: Mapping[str, str]) -> Body:
    """`GET auth/account` and `domains`."""
    account, listed = await asyncio.gather(desk.get("auth/account"), desk.get("domains"))
    return {**ours(desk, account), "domains": listed.get("domains")}


async def owned(desk: Desk, _query: Mapping[str, str]) -> Body:
    """`GET domains`: all of the agent's."""
    return await desk.get("domains")


async def search(desk: Desk, query: Mapping[str, str]) -> Body:
    """`GET domains/search`: whether the very name is free."""
    domain = query["domain"]
    for row in Answer(await desk.get("domains/search", q=domain)).items("results"):
        if row.get("domain") == domain:
            return {"domain": domain, "available": row.flag("available"), "price_usd": row.get("price")}
    raise ServiceAnswerInvalid(f"the search for {domain} does not tell about it.")


async def register(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST domains/register`; what was paid stands in the list."""
    await desk.post("domains/register", body)
    for row in Answer(await desk.get("domains")).items("domains"):
        if row.get("domain") == body["domain"]:
            return {"domain_id": row.text("domain_id"), "domain": body["domain"], "price_paid": row.get("price_paid")}
    raise ServiceAnswerInvalid(f"{body['domain']} was bought and is not in the list.")


VIEWS = {"state": state, "list": owned, "search": search}
OPERATIONS = {"join": join, "register": register}
