"""Effects: doing those that were queued, and finding out what became of those whose outcome nobody recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from agentstate.agent import Fleet
from agentstate.errors import EffectFailed, EffectInDoubt, EffectInProgress, Fenced, ServiceRejected
from agentstate.jobs import Claim, Postpone
from agentstate.jobs.kinds import BULK
from agentstate.money.effects.lookup import EffectSweeper
from agentstate.money.effects.table import Effect, EffectState
from agentstate.runtime import Runtime
from agentstate.services.operations.names import Service
from tasks.shell import bulk_task, job_task
from tasks.slices import repeat_until_done

SWEEP = "effects.sweep"
ASK_AGAIN_S = 5.0
"""Between two looks of a queued effect whose outcome is open; the sweep looks meanwhile."""


@job_task("effects.perform")
def perform(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Do one operation once; while nobody knows whether it happened, the job waits and asks again with the same key.

    It is done when the outcome is certain, or when a human has to find it out.
    """
    agent, wanted = Fleet(runtime).agent(claim.job.agent_id or ""), claim.payload
    try:
        receipt = agent.effects.perform(wanted.key, wanted.operation, wanted.params)
    except EffectFailed as error:
        return {"state": str(EffectState.FAILED), "message": error.message}
    except EffectInDoubt as error:
        if agent.effects.engine.get(wanted.key).state is EffectState.MANUAL:
            return {"state": str(EffectState.MANUAL), "message": error.message}
        raise Postpone(ASK_AGAIN_S, error.message) from error
    except (EffectInProgress, Fenced) as error:
        raise Postpone(ASK_AGAIN_S, error.message) from error
    except ServiceRejected as error:
        raise Postpone(error.retry_after or ASK_AGAIN_S, error.message) from error
    return {"state": str(EffectState.SUCCEEDED), "receipt": receipt}


@job_task("effects.resolve")
def resolve(runtime: Runtime, claim: Claim) -> dict[str, Any]:
    """Look for one effect; when it cannot be told yet, the sweep takes it up at its next due time."""
    effect = runtime.effect_resolver.resolve(UUID(claim.payload.effect_id))
    _spoil(runtime, [effect])
    return {"state": str(effect.state)}


@bulk_task(SWEEP)
def sweep(runtime: Runtime) -> None:
    """Look for the effects that are due."""
    sweeper = EffectSweeper(runtime.store, runtime.effect_resolver)
    repeat_until_done(runtime, BULK[SWEEP].deadline_s, lambda: _spoil(runtime, sweeper.run_once(limit=10)))


def _spoil(runtime: Runtime, found: Sequence[Effect]) -> int:
    """Drop cached states that what was settled has made out of date; return how many effects were looked at."""
    ours = {service.value for service in Service}
    if runtime.gateway_if_any is not None:
        for effect in found:
            if effect.ended and effect.service in ours:
                runtime.cache.invalidate(effect.agent_id, effect.service)
    return len(found)
