"""Effects: finding out what became of those whose outcome nobody recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from agentstate.jobs import Claim
from agentstate.jobs.kinds import BULK
from agentstate.money.effect_lookup import EffectSweeper
from agentstate.money.effect_rows import Effect
from agentstate.runtime import Runtime
from agentstate.services.names import Service
from tasks.shell import bulk_task, job_task
from tasks.slices import until_done

SWEEP = "effects.sweep"


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
    until_done(runtime, BULK[SWEEP].deadline_s, lambda: _spoil(runtime, sweeper.run_once(limit=10)))


def _spoil(runtime: Runtime, found: Sequence[Effect]) -> int:
    """Drop cached states that what was settled has made out of date; return how many effects were looked at."""
    ours = {service.value for service in Service}
    if runtime.gateway_if_any is not None:
        for effect in found:
            if effect.ended and effect.service in ours:
                runtime.cache.invalidate(effect.agent_id, effect.service)
    return len(found)
