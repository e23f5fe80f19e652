"""The faucet's own routes. It shows no state: whether an agent has claimed is told by the shared ledger alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentstate.services.http.json_wire import Body
from agentstate.services.operations.amounts import from_micros
from agentstate.services.operations.service_ledger import LedgerPage, LedgerRow
from agentstate.services.own.casino import ledger_page
from agentstate.services.own.desk import Desk


async def state(desk: Desk, _query: Mapping[str, str]) -> Body:
    """From the ledger's row of the claim; `can_claim` is null when the window does not reach back far enough."""
    page = await ledger_page(desk)
    claim = next((row for row in page.rows if row.service == "faucet"), None)
    return {
        "agent_id": desk.agent_id,
        "can_claim": _can_claim(page, claim),
        "claim_id": None if claim is None else claim.reference,
        "claimed_at": None if claim is None else claim.at.isoformat(),
        "credited_usd": from_micros(0 if claim is None else claim.amount),
    }


def _can_claim(page: LedgerPage, claim: LedgerRow | None) -> bool | None:
    if claim is not None:
        return False
    return True if page.whole and page.linked_from == 0 else None


async def stats(desk: Desk, _query: Mapping[str, str]) -> Body:
    """`GET faucet/stats`."""
    return await desk.get("faucet/stats")


async def claim(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST faucet/claim`; takes no key."""
    return await desk.post("faucet/claim", {**body, "agent_casino_id": desk.account}, keyless=True)


VIEWS = {"state": state, "stats": stats}
OPERATIONS = {"claim": claim}
