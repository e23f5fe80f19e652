"""Submissions by the broker: an agent in any language sends one message and gets a durable job.

The message is `agentstate.jobs.submit` with the keywords `key`, `kind`, `payload` and `agent_id`. A worker writes the
row; the same key again changes nothing. A submission that cannot be taken becomes a dead job with the reason.
"""

from __future__ import annotations

from typing import Any

from agentstate.errors import AgentStateError, InvalidInput, Unavailable
from agentstate.jobs import Claim
from agentstate.jobs.kinds import spec_of
from agentstate.runtime import Runtime
from agentstate.state import codec
from tasks.shell import bulk_task, job_task

_SHOWN = 4_000


# Here the message is all there is until the row is written, so it is tried until the store answers.
@bulk_task("jobs.submit", autoretry_for=(Unavailable,), max_retries=None, retry_backoff=1, retry_backoff_max=60)
def submit(
    runtime: Runtime,
    key: str = "",
    kind: str = "",
    payload: dict[str, Any] | None = None,
    agent_id: str | None = None,
    **unknown: Any,
) -> None:
    """Write the row of one submission; whatever is wrong with it is kept with the reason."""
    try:
        _refuse(unknown)
        _submit(runtime, str(key), str(kind), payload, agent_id if agent_id is None else str(agent_id))
    except Unavailable:
        raise
    except AgentStateError as error:
        shown = {"kind": str(kind)[:80], "payload": _text(payload), "key": str(key)[:200]}
        named = {} if agent_id is None else {"agent_id": str(agent_id)[:128]}
        runtime.jobs.refuse({**shown, **named}, f"{type(error).__name__}: {error}")


@job_task("jobs.refused")
def submit_again(runtime: Runtime, claim: Claim) -> None:
    """Try a refused submission again."""
    refused = claim.payload
    _submit(runtime, refused.key, refused.kind, codec.loads(refused.payload), refused.agent_id)


def _submit(runtime: Runtime, key: str, kind: str, payload: dict[str, Any] | None, agent_id: str | None) -> None:
    if not spec_of(kind).by_agents:
        raise InvalidInput(f"{kind} is the system's own; agents cannot submit it.")
    runtime.jobs.submit(kind, payload, agent_id=agent_id, dedupe_key=key)


def _refuse(unknown: dict[str, Any]) -> None:
    if unknown:
        raise InvalidInput(f"a submission has key, kind, payload and agent_id, not {', '.join(sorted(unknown))[:200]}.")


def _text(payload: Any) -> str:
    try:
        return codec.dumps(payload)[:_SHOWN]
    except AgentStateError:
        return repr(payload)[:_SHOWN]
