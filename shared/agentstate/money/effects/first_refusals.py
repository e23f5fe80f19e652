"""Refusals that may be a success: "already done" can be the answer to the second of two copies of one request.

A proxy may deliver a request twice; the service does it once and refuses the copy, and the refusal is what comes back.
So such a refusal is looked into before it counts, also at the first attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentstate.errors import ServiceError, ServiceInDoubt, ServiceRejected
from agentstate.money.effects.verdicts import Applied, Unknown, Verdict


def look_into_refusal(operation: str, refused: ServiceRejected, verify: Callable[[], Verdict]) -> Any:
    """Return the receipt when the refused call was done before; raise the refusal when it was not.

    Raises:
        ServiceInDoubt: looking cannot tell as yet. ServiceRejected: it was not done.
    """
    try:
        verdict = verify()
    except ServiceError as error:
        raise _make_doubt(operation, refused, error.message) from error
    if isinstance(verdict, Applied):
        return verdict.receipt
    if isinstance(verdict, Unknown) and verdict.settles_in_s is not None:
        raise _make_doubt(operation, refused, verdict.reason)
    raise refused


def _make_doubt(operation: str, refused: ServiceRejected, why: str) -> ServiceInDoubt:
    return ServiceInDoubt(f"{operation} was refused with {refused.code}, which may be its own success: {why}")
