"""The registry: every kind of job and of bulk work there is, with its payload."""

from __future__ import annotations

from typing import Any

import msgspec

from agentstate.errors import InvalidInput
from agentstate.jobs.spec import BulkSpec, JobSpec, LastAction, Payload, RetryPolicy


class EmptyPayload(Payload, frozen=True):
    """A job that needs no further word."""


class ConversationPayload(Payload, frozen=True):
    """Names one conversation."""

    conversation_id: str


class ServicePayload(Payload, frozen=True):
    """Names one financial service of the job's agent."""

    service: str


class EffectPayload(Payload, frozen=True):
    """Names one effect."""

    effect_id: str


class PerformPayload(Payload, frozen=True):
    """Names an operation of a service to be done once, as `agent.effects.execute_once` would: key, name, parameters."""

    key: str
    operation: str
    params: dict[str, Any] = msgspec.field(default_factory=dict)


class SnapshotPayload(Payload, frozen=True):
    """Names a snapshot slot and where in the fleet this slice begins."""

    slot: str
    after: str = ""


class StatesPayload(Payload, frozen=True):
    """Names a round of migrating stored states and where in the fleet this slice begins."""

    slot: str
    after: str = ""


class SubmissionPayload(Payload, frozen=True):
    """A submission that came by the broker and was refused; the payload as JSON text."""

    kind: str
    payload: str
    key: str
    agent_id: str | None = None


class ErasePayload(Payload, frozen=True):
    """Names memories that were forgotten; none: all of the tenant that have no row."""

    tenant: str
    memories: tuple[str, ...] = ()


class IndexPayload(Payload, frozen=True):
    """Names a comparison of the index: a sample, or where in a walk over rows or points this slice begins."""

    slot: str
    walk: str = "sample"
    after: str = ""


_SPECS = (
    JobSpec(
        kind="embedding.verify_index",
        queue="embedding",
        payload=IndexPayload,
        summary="Compare a sample of the index with the truth; when it differs, all of it, slice by slice.",
        deadline_s=60.0,
        per_agent=False,
        by_agents=False,
    ),
    JobSpec(
        kind="embedding.erase",
        queue="embedding",
        payload=ErasePayload,
        summary="Remove what was forgotten from the index and from Redis, when no worker can hold it any more.",
        deadline_s=60.0,
        retry=RetryPolicy(max_attempts=50, cap_s=300.0),
        by_agents=False,
    ),
    JobSpec(
        kind="summarization.summarize_conversation",
        queue="summarization",
        payload=ConversationPayload,
        summary="Summarize the older turns of a conversation and keep the newest verbatim.",
        deadline_s=120.0,
    ),
    JobSpec(
        kind="summarization.draw_lessons",
        queue="summarization",
        payload=EmptyPayload,
        summary="Draw lessons from an agent's episodes into its semantic memory.",
        deadline_s=120.0,
        by_agents=False,
    ),
    JobSpec(
        kind="cache.refresh",
        queue="cache",
        payload=ServicePayload,
        summary="Read an agent's state at one service and cache it.",
        deadline_s=30.0,
        retry=RetryPolicy(max_attempts=3, cap_s=10.0),
        last_action=LastAction.DISCARD,
    ),
    JobSpec(
        kind="reconciliation.reconcile",
        queue="reconciliation",
        payload=ServicePayload,
        summary="Compare an agent's ledger with one service now, whether or not it is due.",
        deadline_s=45.0,
        retry=RetryPolicy(max_attempts=5, cap_s=30.0),
    ),
    JobSpec(
        kind="effects.resolve",
        queue="effects",
        payload=EffectPayload,
        summary="Find out what became of an effect that is in doubt.",
        deadline_s=45.0,
        retry=RetryPolicy(max_attempts=50, base_s=2.0, cap_s=300.0),
        by_agents=False,
    ),
    JobSpec(
        kind="effects.perform",
        queue="effects",
        payload=PerformPayload,
        summary='Do an operation of a service once for its key; an amount is text such as `"2.50"`.',
        deadline_s=60.0,
        retry=RetryPolicy(max_attempts=20, base_s=2.0, cap_s=60.0),
    ),
    JobSpec(
        kind="snapshots.take",
        queue="snapshots",
        payload=SnapshotPayload,
        summary="Snapshot the portfolios of a slice of the fleet, then submit the next slice.",
        deadline_s=90.0,
        per_agent=False,
        by_agents=False,
    ),
    JobSpec(
        kind="housekeeping.expire",
        queue="housekeeping",
        payload=EmptyPayload,
        summary="Remove jobs, live updates, uses of guards and lifted freezes past their time; thin old effects.",
        per_agent=False,
        by_agents=False,
        last_action=LastAction.DISCARD,
    ),
    JobSpec(
        kind="state.migrate_stored",
        queue="housekeeping",
        payload=StatesPayload,
        summary="Bring a slice of the stored agent states to the newest schema, then submit the next slice.",
        per_agent=False,
        by_agents=False,
    ),
    JobSpec(
        kind="housekeeping.attest",
        queue="housekeeping",
        payload=EmptyPayload,
        summary="Recompute the ledger's chains since the last time and fold them into one root.",
        deadline_s=120.0,
        per_agent=False,
        by_agents=False,
    ),
    JobSpec(
        kind="housekeeping.months",
        queue="housekeeping",
        payload=EmptyPayload,
        summary="Make the ledger's tables of the months to come.",
        per_agent=False,
        by_agents=False,
    ),
    JobSpec(
        kind="jobs.refused",
        queue="housekeeping",
        payload=SubmissionPayload,
        summary="A submission by the broker that could not be taken; requeued, it is tried again.",
        per_agent=False,
        by_agents=False,
        retry=RetryPolicy(max_attempts=1),
    ),
)

_BULK_SPECS = (
    BulkSpec(
        kind="cache.refresh_ahead",
        queue="cache",
        summary="Read anew, ahead of need, the cached states that are in use and soon out of date.",
        deadline_s=45.0,
    ),
    BulkSpec(
        kind="embedding.embed_pending",
        queue="embedding",
        summary="Embed memories that wait, in batches, and put them into the index.",
        deadline_s=60.0,
    ),
    BulkSpec(
        kind="reconciliation.reconcile_due",
        queue="reconciliation",
        summary="Reconcile the accounts that are due.",
    ),
    BulkSpec(kind="effects.sweep", queue="effects", summary="Take up effects whose caller was lost."),
    BulkSpec(
        kind="housekeeping.fire",
        queue="housekeeping",
        summary="Submit the job of a schedule for the present slot, once however often it is fired.",
    ),
    BulkSpec(
        kind="jobs.submit",
        queue="housekeeping",
        summary="Take a submission that an agent sent by the broker and write its row.",
    ),
    BulkSpec(
        kind="housekeeping.sweep",
        queue="housekeeping",
        summary="Send lost wake-ups again, free expired leases, and wake bulk work that waits.",
    ),
)

KINDS: dict[str, JobSpec] = {spec.kind: spec for spec in _SPECS}
"""Every kind of job that has a row."""

BULK: dict[str, BulkSpec] = {spec.kind: spec for spec in _BULK_SPECS}
"""Every kind of bulk work."""


def spec_of(kind: str) -> JobSpec:
    """The declaration of `kind`; raises InvalidInput for a kind that does not exist."""
    spec = KINDS.get(kind)
    if spec is None:
        raise InvalidInput(f"there is no kind of job {kind[:80]!r}; known are {', '.join(sorted(KINDS))}.")
    return spec


def parse_payload(spec: JobSpec, payload: dict[str, Any]) -> Payload:
    """`payload` as the kind's own type; raises InvalidInput naming the field that is wrong."""
    try:
        return msgspec.convert(payload, spec.payload)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the payload of {spec.kind} is refused: {error}. Nothing was stored.") from None
