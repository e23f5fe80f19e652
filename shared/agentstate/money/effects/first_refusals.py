"""Refusals that may be a success: "already done" can be the answer to the second of two copies of one request.

A proxy may deliver a request twice; the service does it once and refuses the copy, and the refusal is what comes back.
So such a refusal is looked into before it counts, also at the first attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentstate.clock import utc_now
from agentstate.errors import ServiceError, ServiceInDoubt, ServiceRejected
from agentstate.money.effects.operations import Operation
from agentstate.money.effects.table import Params
from agentstate.money.effects.verdicts import Applied, Unknown, Verdict


def called(operation: Operation, gateway: Any, agent_id: str, tag: str, *, params: Params, baseline: Any) -> Any:
    """The receipt of `operation`, also when its refusal turns out to be its own success; raises as it does.

    Raises:
        ServiceInDoubt: whether it was its own success cannot be told now. ServiceRejected: it was not.
    """
    called_at = utc_now()
    try:
        return operation.call(gateway, agent_id, tag, **params)
    except ServiceRejected as refused:
        if baseline is None or refused.code not in getattr(operation, "already", ()):
            raise
        return _looked_into(
            operation, refused, lambda: operation.verify(gateway, agent_id, tag, params, called_at, baseline=baseline)
        )


def _looked_into(operation: Operation, refused: ServiceRejected, look: Callable[[], Verdict]) -> Any:
    """The receipt when it was done, the refusal when it was not; in doubt when looking cannot tell as yet."""
    try:
        verdict = look()
    except ServiceError as error:
        raise _doubtful(operation, refused, error.message) from error
    if isinstance(verdict, Applied):
        return verdict.receipt
    if isinstance(verdict, Unknown) and verdict.settles_in_s is not None:
        raise _doubtful(operation, refused, verdict.reason)
    raise refused


def _doubtful(operation: Operation, refused: ServiceRejected, why: str) -> ServiceInDoubt:
    return ServiceInDoubt(f"{operation.name} was refused with {refused.code}, which may be its own success: {why}")
