"""The wallet's own routes. It keeps no list of addresses and signs with a key that comes with each transfer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from agentstate.errors import CredentialMissing, ServiceError, ServiceInDoubt
from agentstate.services.cache.reading import UNREAD_MEMBER
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.answer import Answer
from agentstate.services.own.desk import Desk
from agentstate.services.own.references import is_reference, require_free, resolve, resolve_secret, store
from agentstate.services.own.registering import register
from agentstate.services.own.services_file import Entry


async def state(desk: Desk, _query: Mapping[str, str]) -> Body:
    """`GET wallet/usdc-balance/{address}` for every address of the services file, side by side.

    When some chains do not answer, the others are told and those are named in `unread`; when none does, that is it.
    """
    addresses = _addresses(desk)
    asked = (_balance(desk, chain, address) for chain, address in addresses.items())
    found = await asyncio.gather(*asked, return_exceptions=True)
    failed = [each for each in found if isinstance(each, BaseException)]
    for each in failed:
        if not isinstance(each, ServiceError) or len(failed) == len(found):
            raise each
    rows = [each for each in found if not isinstance(each, BaseException)]
    total = sum((Answer(row).number("amount") for row in rows), Decimal(0))
    state: Body = {"agent_id": desk.agent_id, "total_usdc": str(total), "addresses": rows}
    unread = [chain for chain, each in zip(addresses, found, strict=True) if isinstance(each, BaseException)]
    return state | {UNREAD_MEMBER: unread} if unread else state


async def balance(desk: Desk, query: Mapping[str, str]) -> Body:
    """USDC on one address."""
    return await _balance(desk, query.get("chain", "base"), query.get("address", ""))


async def activity(desk: Desk, _query: Mapping[str, str]) -> Body:
    """`GET wallet/activity`: swaps and referrals; transfers are in no list."""
    return await desk.get("wallet/activity", type="swaps")


async def create(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST wallet/create`: words and keys are written to files, and never come any further."""
    entry, chain = _entry(desk), str(body["chain"])
    what = f"a wallet for {desk.agent_id}"
    key, address = entry.signing_keys.get(chain, ""), entry.addresses.get(chain, "")
    for reference in (entry.words, key, address):
        require_free(reference, desk.agent_id, what)
    made = Answer(await desk.post("wallet/create", {}))
    found = made.inner("addresses").get(chain)
    private_key = made.inner("private_keys").get(chain) if made.has("private_keys") else None
    if not isinstance(found, str):
        raise ServiceInDoubt(f"{what} was made, but has no address on {chain}. Look at the wallet service.")
    store(entry.words, desk.agent_id, str(made.get("mnemonic")))
    if isinstance(private_key, str):
        store(key, desk.agent_id, private_key)
    store(address, desk.agent_id, found)
    return {"agent_id": desk.agent_id, "address": found, "chain": chain}


async def send(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST wallet/send`; the signing key joins the request here and nowhere else."""
    chain = str(body["chain"])
    reference = _entry(desk).signing_keys.get(chain)
    if reference is None:
        raise CredentialMissing(
            f"{desk.agent_id} has no signing key on {chain} in the services file. Nothing was sent."
        )
    secret = resolve_secret(reference, desk.agent_id)
    token = desk.file.token(desk.service, chain)
    sent = {**body, "private_key": secret, **({"token": token} if token else {})}
    return await desk.post("wallet/send", sent, secret=secret)


async def swap(desk: Desk, body: Mapping[str, Any]) -> Body:
    """`POST wallet/swap`: an order with an address to pay in at."""
    answer = await desk.post("wallet/swap", body)
    return {**answer, "deposit_address": Answer(answer).inner("deposit").get("address")}


async def _balance(desk: Desk, chain: str, address: str) -> Body:
    told = Answer(await desk.get(f"wallet/usdc-balance/{address}", chain=chain))
    return {"address": address, "chain": chain, "symbol": "USDC", "amount": str(told.inner("balance").number("amount"))}


def _entry(desk: Desk) -> Entry:
    return desk.file.entry(desk.agent_id, desk.service)


def _addresses(desk: Desk) -> dict[str, str]:
    """By chain; an address that was never made is none."""
    found = {}
    for chain, text in _entry(desk).addresses.items():
        try:
            found[chain] = resolve(text, desk.agent_id) if is_reference(text) else text
        except CredentialMissing:
            continue
    return found


VIEWS = {"state": state, "balance": balance, "activity": activity}
OPERATIONS = {"join": register, "create": create, "send": send, "swap": swap}
