"""Operations sent without the books: one call, and a look at one that was cut off."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from agentstate.errors import ServiceInDoubt, ServiceRejected, ServiceUnreachable
from agentstate.money.effects.operation import Intent, Operation
from agentstate.money.effects.verdicts import Applied, Verdict
from agentstate.services.http.gateway import Gateway

R = TypeVar("R")


@dataclass(frozen=True)
class InDoubt:
    """A call whose answer was lost."""

    called_at: datetime
    baseline: Any = None


def send(gateway: Gateway, agent: str, tag: str, operation: Operation[R]) -> R:
    """Send an operation once; return its receipt."""
    return operation.send(gateway, _intent(agent, tag, operation, gateway.now()))


def attempt(
    gateway: Gateway, agent: str, tag: str, operation: Operation[Any]
) -> Applied | ServiceRejected | ServiceUnreachable | InDoubt:
    """Read the baseline and send an operation once; return what is certain."""
    baseline, called_at = operation.read_baseline(gateway, agent), gateway.now()
    try:
        return Applied(operation.send(gateway, _intent(agent, tag, operation, called_at)))
    except (ServiceRejected, ServiceUnreachable) as error:
        return error
    except ServiceInDoubt:
        return InDoubt(called_at, baseline)


def look(gateway: Gateway, agent: str, tag: str, operation: Operation[Any], doubt: InDoubt) -> Verdict:
    """Look for a call that was cut off."""
    return operation.verify(gateway, _intent(agent, tag, operation, doubt.called_at, doubt.baseline))


def _intent(agent: str, tag: str, operation: Operation[Any], called_at: datetime, baseline: Any = None) -> Intent:
    return Intent(
        agent_id=agent,
        key=tag,
        remote_key=tag,
        params=operation.params(),
        attempt=1,
        called_at=called_at,
        baseline=baseline,
    )
