"""Jobs of effects: execute submitted ones, and settle those with an open outcome."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from agentstate.agent import Fleet
from agentstate.errors import EffectFailed, EffectInDoubt, EffectInProgress, Fenced, ServiceRejected
from agentstate.jobs import Claim, Postpone
from agentstate.jobs.kinds import BULK
from agentstate.money.effects.table import EffectState
from agentstate.runtime import Runtime
from tasks.app import bulk_task, job_task, repeat_until_done

SWEEP = "effects.sweep"
ASK_AGAIN_S = 5.0
"""Seconds between two attempts of a submitted effect whose outcome is open; the sweep looks meanwhile."""


@job_task("effects.perform")
def execute_submitted(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Execute one operation once; while its outcome is open the job waits and asks again with the same key.

    It is done when the outcome is certain, or when a human has to find it out.
    """
    agent, wanted = Fleet(runtime).agent(claim.job.agent_id or ""), claim.payload
    operation = runtime.operations.parse(wanted.operation, wanted.params)
    try:
        receipt = agent.effects.execute_once(wanted.key, operation)
    except EffectFailed as error:
        return {"state": str(EffectState.FAILED), "message": error.message}
    except EffectInDoubt as error:
        if agent.effects.get(wanted.key).state is EffectState.MANUAL:
            return {"state": str(EffectState.MANUAL), "message": error.message}
        raise Postpone(ASK_AGAIN_S, error.message) from error
    except (EffectInProgress, Fenced) as error:
        raise Postpone(ASK_AGAIN_S, error.message) from error
    except ServiceRejected as error:
        raise Postpone(error.retry_after or ASK_AGAIN_S, error.message) from error
    return {"state": str(EffectState.SUCCEEDED), "receipt": operation.store_receipt(receipt)}


@job_task("effects.resolve")
def resolve_effect(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Look for one effect; when its outcome stays open, the sweep takes it up at its next due time."""
    return {"state": str(runtime.effects.resolver.resolve(UUID(claim.payload.effect_id)).state)}


@bulk_task(SWEEP)
def sweep_effects(runtime: Runtime) -> None:
    """Look for the effects that are due."""
    repeat_until_done(runtime, BULK[SWEEP].deadline_s, lambda: len(runtime.effects.resolver.sweep(limit=10)))
