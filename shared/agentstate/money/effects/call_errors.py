"""What an error of a call means for its effect: not sent, refused, or in doubt.

Only two errors are certain: not sent, and refused before any effect; and only while no earlier attempt can have
arrived. Everything else, a time-out, a broken answer, a cancelled task, leaves the effect in doubt.
"""

from __future__ import annotations

from agentstate.errors import EffectFailed, EffectInDoubt, ServiceRejected, ServiceUnreachable, StoreUnavailable
from agentstate.money.effects.claims import Claim
from agentstate.money.effects.recorder import OutcomeRecorder
from agentstate.money.effects.table import EffectState
from agentstate.state import codec

_LONGEST_NOTE = 500


def record_error(recorder: OutcomeRecorder, claim: Claim, error: BaseException) -> BaseException:
    """Record what `error` means for the claimed effect; return what its caller is to be told."""
    try:
        told = _recorded(recorder, claim, error)
    except StoreUnavailable:
        told = EffectInDoubt(
            f"{_name(claim)} ended with {type(error).__name__} and the store does not answer, so its outcome is not "
            "recorded; it will be looked up. Ask again with the same key."
        )
    return told if isinstance(error, Exception) else error


def _recorded(recorder: OutcomeRecorder, claim: Claim, error: BaseException) -> Exception:
    note = codec.legible(f"{type(error).__name__}: {error}", _LONGEST_NOTE)
    if claim.clean and isinstance(error, ServiceUnreachable):
        recorder.not_sent(claim, note)
        return error
    if claim.clean and isinstance(error, ServiceRejected):
        return _refused(recorder, claim, error)
    state = recorder.doubtful(claim, note, looked=not claim.clean)
    return EffectInDoubt(f"{_name(claim)} may have happened ({note}); it is {state}. {advice(state)}")


def advice(state: EffectState) -> str:
    """What a caller can do about an effect that is in doubt or left to a human."""
    if state is EffectState.MANUAL:
        return (
            "It is never called again, and asking again tells no more: look at the service, then say what happened "
            "with `agentstate effects resolve`. A new key would be a second call."
        )
    return "Ask again with the same key; a new key would be a second call."


def _refused(recorder: OutcomeRecorder, claim: Claim, error: ServiceRejected) -> Exception:
    if error.retry_after is not None:
        recorder.not_sent(claim, codec.legible(f"refused for now: {error}", _LONGEST_NOTE))
        return error
    recorder.failed(claim, error.code or "rejected", str(error))
    return EffectFailed(f"{_name(claim)} was refused before any effect: {error}")


def _name(claim: Claim) -> str:
    return f"{claim.effect.operation} {claim.effect.key!r}"
