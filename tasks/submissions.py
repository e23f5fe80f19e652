"""Submissions by the broker: an agent in any language sends one message and gets a durable job.

The message is `agentstate.jobs.submit` with the keywords `key`, `kind`, `payload` and `agent_id`. A worker writes the
row; the same key again changes nothing. A submission that cannot be taken becomes a dead job with the reason, and so do
bytes that are no message (see `agentstate.jobs.transport`). While neither row can be written the message goes back to
its queue: it is never acknowledged without a row.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from celery.exceptions import Reject

from agentstate.errors import AgentStateError, InvalidInput, RetryLater, SchemaOutdated
from agentstate.jobs import Claim
from agentstate.jobs.kinds import spec_of
from agentstate.runtime import Runtime
from agentstate.state import codec
from tasks.app import bulk_task, job_task

_SHOWN = 4_000
PUT_BACK_PAUSE_S = 1.0
"""Seconds that a worker waits before it puts a submission back, so that it does not spin while the store is away."""

_log = logging.getLogger(__name__)


class Submission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The message of an agent; `key` identifies the request."""

    key: str
    kind: str
    payload: dict[str, Any] | None = None
    agent_id: str | None = None


@bulk_task("jobs.submit")
def accept_submission(runtime: Runtime, *arguments: Any, **submission: Any) -> None:
    """Write the row of one submission, that of its job or that of its refusal.

    Raises:
        Reject: neither could be written, whatever the reason; the message goes back to the end of its queue.
    """
    try:
        try:
            _submit_job(runtime, _parse_submission(arguments, submission))
        except (RetryLater, SchemaOutdated):
            raise
        except Exception as error:  # noqa: BLE001 whatever is wrong with it is kept for its sender
            runtime.jobs.keep_refused(_legible_fields(submission), f"{type(error).__name__}: {error}")
    except Exception as error:
        # Here the message is all there is until a row is written.
        _log.warning("could not store a submission, will retry: %s", error)
        runtime.stopping.wait(PUT_BACK_PAUSE_S)
        raise Reject(str(error), requeue=True) from error


@job_task("jobs.refused")
def submit_again(runtime: Runtime, claim: Claim) -> None:
    """Try a refused submission again."""
    refused = claim.payload
    payload = codec.loads(refused.payload)
    _submit_job(runtime, Submission(key=refused.key, kind=refused.kind, payload=payload, agent_id=refused.agent_id))


def _parse_submission(arguments: tuple[Any, ...], submission: dict[str, Any]) -> Submission:
    if "unreadable" in submission:
        told = submission["unreadable"]
        raise InvalidInput(f"these bytes in a queue are no message: {told}. Their beginning is in the payload.")
    if arguments:
        raise InvalidInput("a submission names its parts: key, kind, payload and agent_id. Nothing was stored.")
    try:
        return msgspec.convert(submission, Submission)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the submission is refused: {error}. Nothing was stored.") from None


def _submit_job(runtime: Runtime, submission: Submission) -> None:
    if not spec_of(submission.kind).by_agents:
        raise InvalidInput(f"{submission.kind} is the system's own; agents cannot submit it.")
    runtime.jobs.submit(submission.kind, submission.payload, agent_id=submission.agent_id, dedupe_key=submission.key)


def _legible_fields(submission: dict[str, Any]) -> dict[str, str | None]:
    """Return the readable fields of a submission of any content."""
    agent_id = submission.get("agent_id")
    return {
        "kind": codec.storable_text(str(submission.get("kind")), 80),
        "key": codec.storable_text(str(submission.get("key")), 200),
        "agent_id": None if agent_id is None else codec.storable_text(str(agent_id), 200),
        "payload": codec.storable_text(_dump_or_repr(submission.get("payload")), _SHOWN),
    }


def _dump_or_repr(payload: Any) -> str:
    try:
        return codec.dumps(payload)
    except AgentStateError:
        return repr(payload)
