"""Reading of a service's state: its quality, and the money in it, in micro-USDC.

The body is kept as it came; this is the one module that knows the meaning of its members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from agentstate.errors import ServiceAnswerInvalid
from agentstate.services.operations.names import Service
from agentstate.services.wire import Answer, Body

FIRST_HAND = "hyperliquid"
"""The trading service names the source of its positions; any other than the venue is second-hand."""

UNREAD_MEMBER = "unread"
"""The member of a state that names the parts which could not be read, where there are any."""


class Quality(StrEnum):
    """The reliability of an entry."""

    LIVE = "live"
    """Asked for within the service's time to live, and answered in full."""

    FALLBACK = "fallback"
    """As live, but the service itself had it from a second-hand source."""

    PARTIAL = "partial"
    """As live, but a part could not be read; what is there is right."""

    SUSPECT_ZERO = "suspect_zero"
    """As live, but money that was there is shown as zero, which services also do when they cannot tell."""

    STALE = "stale"
    """Older; the service could not be asked, or is being asked. Within the limit for stale entries."""

    UNKNOWN = "unknown"
    """Nothing is known that is young enough. There is no state; `as_of` tells of when the last one was."""


def assess_quality(service: Service, state: Mapping[str, Any]) -> tuple[Quality, str | None]:
    """Live, fallback or partial, and why it is not live."""
    unread = state.get(UNREAD_MEMBER)
    if unread:
        return Quality.PARTIAL, f"could not be read: {', '.join(map(str, unread))[:200]}"
    source = state.get("source") if service is Service.TRADING else None
    if source is not None and source != FIRST_HAND:
        return Quality.FALLBACK, f"positions come from {str(source)[:40]!r}, not from the venue"
    return Quality.LIVE, None


@dataclass(frozen=True, slots=True)
class Funds:
    """Money at one service, in micro-USDC.

    Attributes:
        cash: balance of the account that our ledger keeps for this service; None where it has none of its own.
        worth: what the service adds to a portfolio, open positions at present prices included.
    """

    cash: int | None
    worth: int


def validate_state(agent_id: str, service: Service, body: Body) -> Body:
    """`body` when it is the agent's state and its money can be read; raises ServiceAnswerInvalid else."""
    told = Answer(body).get_text("agent_id")
    if told != agent_id:
        raise ServiceAnswerInvalid(f"{service} answered with the state of agent {told[:40]!r}. Nothing was stored.")
    parse_funds(service, body)
    return body


def parse_funds(service: Service, body: Mapping[str, Any]) -> Funds:
    """The money in a state; raises ServiceAnswerInvalid when a member is missing or no amount."""
    return _FUNDS[service](Answer(body))


def parse_parts(service: Service, body: Mapping[str, Any]) -> dict[str, int]:
    """The money in a state by the place where it lies, in micro-USDC: by address in the wallet, else in one part."""
    if service is not Service.WALLET:
        return {service.value: parse_funds(service, body).worth}
    addresses = Answer(body).get_items("addresses")
    return {f"{each.get('chain')}:{each.get('address')}": each.get_micros("amount") for each in addresses}


def _parse_balance(state: Answer) -> Funds:
    balance = state.get_micros("balance_usd")
    return Funds(balance, balance)


def _parse_faucet(state: Answer) -> Funds:
    """Check the claim; the faucet pays onto the casino's balance and holds nothing itself."""
    if not (state.has_member("can_claim") and state.get("can_claim") is None):
        state.get_flag("can_claim")
    return Funds(None, 0)


def _parse_escrow(state: Answer) -> Funds:
    locked = state.get_micros("locked_usd")  # it has left the casino's balance, so it is not counted twice
    return Funds(locked, locked)


def _parse_wallet(state: Answer) -> Funds:
    total = sum(address.get_micros("amount") for address in state.get_items("addresses"))
    return Funds(total, total)


def register_funds_parser(service: Service, read: Callable[[Answer], Funds]) -> None:
    """Say how the money is read from a service's state."""
    _FUNDS[service] = read


_FUNDS: Final[dict[Service, Callable[[Answer], Funds]]] = {
    Service.WALLET: _parse_wallet,
    Service.CASINO: _parse_balance,
    Service.TRADING: lambda state: Funds(state.get_micros("balance_usd"), state.get_micros("equity_usd")),
    Service.DOMAINS: _parse_balance,
    Service.FAUCET: _parse_faucet,
    Service.ESCROW: _parse_escrow,
}
