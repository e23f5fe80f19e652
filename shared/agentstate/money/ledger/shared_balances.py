"""Which services keep one balance together.

Casino, escrow and faucet are three services over one balance: an escrow is paid from, and a faucet credits, what the
casino shows. Their ledger accounts stay apart by service, and are compared and shown as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_shared = {"escrow": "casino", "faucet": "casino"}

SHARED_BALANCES: Mapping[str, str] = MappingProxyType(_shared)
"""Service to the one that shows its balance; a service that is not named shows its own."""


def share_balance(service: str, shown_by: str) -> None:
    """Say that `service` keeps no balance of its own: `shown_by` shows it."""
    _shared[service] = balance_service(shown_by)


def balance_service(service: str) -> str:
    """The service that shows the balance of `service`."""
    return SHARED_BALANCES.get(service, service)


def services_of_balance(service: str) -> list[str]:
    """All services whose balance `balance_service(service)` shows, itself among them; sorted."""
    root = balance_service(service)
    return sorted({root, *(member for member, shown_by in SHARED_BALANCES.items() if shown_by == root)})
