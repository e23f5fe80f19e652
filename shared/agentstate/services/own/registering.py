"""Registering an agent at a service: the id and the key that it makes are kept before anything else is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentstate.errors import ServiceInDoubt
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.answer import Answer
from agentstate.services.own.desk import Desk
from agentstate.services.own.references import require_free, store


async def register(desk: Desk, body: Mapping[str, Any]) -> Body:
    """Make an account and keep its id and its key where the services file refers to.

    Raises:
        ServiceRejected: there is one already. CredentialMissing: there is no file to keep it in. Nothing was sent.
    """
    entry = desk.file.entry(desk.agent_id, desk.service)
    what = f"registering {desk.agent_id} at {desk.service}"
    for reference in (entry.account, entry.credential):
        require_free(reference, desk.agent_id, what)
    made = Answer(await desk.post("auth/register", body, keyless=True))
    key = made.get("api_key")
    if not isinstance(key, str) or not key:
        raise ServiceInDoubt(f"{what}: the answer has no key. The account may be there and cannot be used.")
    store(entry.credential, desk.agent_id, key)
    store(entry.account, desk.agent_id, made.text("agent_id"))
    return {"agent_id": desk.agent_id, "created": True}
