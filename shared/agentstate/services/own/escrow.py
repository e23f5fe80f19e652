"""The escrow service's own routes. It has no list: an agent's escrows are known by our books and its ledger's locks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from agentstate.errors import ServiceRejected
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.escrow import LOCK
from agentstate.services.operations.names import Service
from agentstate.services.operations.service_ledger import LedgerPage
from agentstate.services.own.casino import ledger_page
from agentstate.services.own.desk import Desk
from agentstate.services.own.registry import Registry

FINAL = frozenset({"released", "refunded"})
LOCKING = frozenset({"funded", "completed", "disputed"})
MOST_KEPT = 10_000


class EscrowList:
    """What the service lacks: the escrows of an agent.

    Args:
        registry: knows which escrows our books have for an agent.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._ended: dict[str, Body] = {}

    async def state(self, desk: Desk) -> Body:
        """The escrows of an agent's making, read side by side, and what they lock.

        `complete_since` is the moment from which on none can be missing; None when any may be.
        """
        page = await ledger_page(desk)
        mine = await asyncio.to_thread(self._registry.escrows, desk.agent_id)
        ids = sorted({*mine, *locks_in(page)})
        found = await asyncio.gather(*(self._read(desk, escrow_id) for escrow_id in ids))
        rows = [row for row in found if row is not None]
        locked = [row for row in rows if row["creator_agent_id"] == desk.agent_id and row["status"] in LOCKING]
        since = page.complete_since
        return {
            "agent_id": desk.agent_id,
            "locked_usd": sum(Answer(row).number("amount_usd") for row in locked),
            "escrows": rows,
            "truncated": not (page.whole and page.linked_from == 0),
            "complete_since": None if since is None else since.isoformat(),
        }

    async def _read(self, desk: Desk, escrow_id: str) -> Body | None:
        """None for an escrow that is not there although money was locked for it: the service died between the two."""
        if escrow_id in self._ended:
            return self._ended[escrow_id]
        try:
            row = await get(desk, {"escrow_id": escrow_id})
        except ServiceRejected as error:
            if error.code != "not_found":
                raise
            return None
        if row["status"] in FINAL:
            if len(self._ended) >= MOST_KEPT:
                self._ended.clear()
            self._ended[escrow_id] = row
        return row


def locks_in(page: LedgerPage) -> set[str]:
    """The escrows that the ledger shows money locked in."""
    return {row.reason.removeprefix(LOCK) for row in page.rows if row.reason.startswith(LOCK)}


async def get(desk: Desk, query: Mapping[str, str]) -> Body:
    """`GET escrow/{id}`."""
    return await _in_our_words(desk, await desk.get(f"escrow/{query['escrow_id']}"))


async def stats(desk: Desk, _query: Mapping[str, str]) -> Body:
    """`GET escrow/stats`."""
    return await desk.get("escrow/stats")


async def create(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST escrow/create`; the description carries our tag."""
    counterparty = desk.account_of(body["counterparty_agent_id"])
    return await _in_our_words(desk, await desk.post("escrow/create", {**body, "counterparty_agent_id": counterparty}))


async def complete(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST escrow/complete/{id}`."""
    return await _moved(desk, "complete", body)


async def release(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST escrow/release/{id}`."""
    return await _moved(desk, "release", body)


async def dispute(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST escrow/dispute/{id}`."""
    return await _moved(desk, "dispute", body)


async def _moved(desk: Desk, verb: str, body: Mapping[str, Any]) -> Body:
    """The answers tell only a part each; the whole escrow is read afterwards."""
    await desk.post(f"escrow/{verb}/{body['escrow_id']}", {})
    return await get(desk, {"escrow_id": str(body["escrow_id"])})


async def _in_our_words(desk: Desk, body: Body) -> Body:
    answer, casino = Answer(body), desk.at(Service.CASINO)
    return {
        **body,
        "escrow_id": answer.text("escrow_id"),
        "status": answer.text("status"),
        "creator_agent_id": await casino.agent_behind(answer.text("creator_id")),
        "counterparty_agent_id": await casino.agent_behind(answer.text("counterparty_id")),
    }


VIEWS = {"get": get, "stats": stats}
OPERATIONS = {"create": create, "complete": complete, "release": release, "dispute": dispute}
