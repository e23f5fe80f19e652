"""Refusals that may be a success: "already done" can be the answer to the second of two copies of one request.

A proxy may deliver a request twice; the service does it once and refuses the copy, and the refusal is what comes back.
So such a refusal is looked into before it counts, also at the first attempt.
"""

from __future__ import annotations

from typing import Any

from agentstate.clock import utc_now
from agentstate.errors import ServiceError, ServiceRejected
from agentstate.money.effect_rows import Params
from agentstate.money.operations import Operation
from agentstate.money.verdicts import Applied


def called(operation: Operation, gateway: Any, agent_id: str, tag: str, *, params: Params, baseline: Any) -> Any:
    """The receipt of `operation`, also when its refusal turns out to be its own success; raises as it does."""
    called_at = utc_now()
    try:
        return operation.call(gateway, agent_id, tag, **params)
    except ServiceRejected as refused:
        if baseline is None or refused.code not in getattr(operation, "already", ()):
            raise
        try:
            verdict = operation.verify(gateway, agent_id, tag, params, called_at, baseline=baseline)
        except ServiceError:
            raise refused from None
        if not isinstance(verdict, Applied):
            raise
        return verdict.receipt
