"""Every error that agentstate raises, under one root.

Each has `retryable` and `retry_after`, whatever its place. By what to do, all of them are one of

RetryLater                  the same call may succeed later
Refused                     refused before any effect; the same call will be refused again
Ended                       the work has ended for good without success
ConfigurationError          a setting is missing, unknown or wrong
└── SchemaOutdated              the durable store, or what is stored, is at another schema revision

and by their subject:

AgentStateError
├── InvalidInput                a value was refused before anything happened
│   └── TooLarge                ... because it is over a size limit
├── NotFound                    what was asked for is not there
│   └── UpdatesLost             ... because updates are kept for a time only
├── Unavailable                 a part of the system does not answer; nothing was changed
│   ├── StoreUnavailable        the durable store
│   │   ├── StoreBusy           ... answers, but others hold what the call needs
│   │   └── StoreReadOnly       ... takes no writes
│   ├── RedisUnavailable        Redis
│   └── IndexUnavailable        Qdrant
├── Conflict                    what is stored contradicts what was asked
│   └── KeyReused               an idempotency key came back with other parameters
├── Fenced                      somebody else took this work over; the late result is not applied
├── JobDead                     a job ended without success
├── WaitTimeout                 what was waited for has not happened yet; it goes on
├── MoneyError
│   ├── AmountInvalid           an amount that money cannot be made from
│   ├── InsufficientFunds       a posting would pass an account's floor
│   ├── Unbalanced              the entries of one transaction do not sum to zero
│   ├── LimitExceeded           a rule of the agent forbids it
│   └── Frozen                  money moves of the agent at this service are stopped
├── EffectError
│   ├── EffectExpired           the call happened so long ago that its result is gone
│   ├── EffectFailed            the call was refused for certain; it is safe to decide anew
│   ├── EffectInDoubt           nobody knows yet whether the call happened; it is being found out
│   └── EffectInProgress        another process is making this very call
├── ProviderError               an embedding or language model provider
│   ├── ProviderTransient       try again later
│   ├── ProviderRateLimited     try again after `retry_after` seconds
│   ├── ProviderRefused         this request will never succeed
│   └── ProviderAnswerInvalid   the answer has the wrong shape
└── ServiceError                one of the financial services
    ├── ServiceUnreachable      the request was certainly not sent
    │   └── CredentialMissing   ... because there is no account or key to send it with
    ├── ServiceRejected         refused before any effect
    ├── ServiceInDoubt          the request may have been applied; verify it, never repeat it blindly
    └── ServiceReadFailed       a read got no answer; nothing was changed
        └── ServiceAnswerInvalid  ... or one of the wrong shape
"""

from __future__ import annotations

from typing import Any

from agentstate.redaction import redact_secrets


class AgentStateError(Exception):
    """Something went wrong inside agentstate.

    The text says what happened, what was kept, and what to do. The docstring of a class is its text
    when none is given.
    """

    retryable: bool = False
    """True when the same call may well succeed later, and repeating it does no harm."""
    retry_after: float | None = None
    """Seconds to wait before the next try, where that is known."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(redact_secrets(message) if message is not None else self._default_message())

    @classmethod
    def _default_message(cls) -> str:
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    @property
    def message(self) -> str:
        """The whole text for a user."""
        return str(self.args[0])


class RetryLater(AgentStateError):
    """The same call may succeed later; nothing was done twice."""

    retryable = True


class Refused(AgentStateError):
    """The call was refused before any effect; the same call will be refused again until something changes."""


class Ended(AgentStateError):
    """The work has ended for good without success."""


class ConfigurationError(AgentStateError):
    """A setting is missing, unknown or wrong; nothing was started."""


class SchemaOutdated(ConfigurationError):
    """The durable store, or what is stored, is at another schema revision than this version of agentstate."""


class InvalidInput(Refused):
    """A value was refused before anything happened."""


class TooLarge(InvalidInput):
    """A value is over its size limit; nothing was stored."""


class NotFound(Refused):
    """The requested item does not exist."""


class UpdatesLost(NotFound):
    """Updates after the last one seen are no longer kept; read the state itself, then go on from `resume_from`.

    Args:
        message: text for the user.
        resume_from: number after which everything is still there.
    """

    def __init__(self, message: str | None = None, *, resume_from: int = 0) -> None:
        super().__init__(message)
        self.resume_from = resume_from


class Unavailable(RetryLater):
    """A part of the system does not answer; nothing was changed."""


class StoreUnavailable(Unavailable):
    """The durable store does not answer; nothing was changed."""


class StoreBusy(StoreUnavailable):
    """The durable store is busy: a lock, connection or statement timed out; nothing was changed."""


class StoreReadOnly(StoreUnavailable):
    """The durable store takes no writes, as a standby or a primary that is being changed; nothing was changed."""


class RedisUnavailable(Unavailable):
    """Redis does not answer; durable state is unaffected."""


class IndexUnavailable(Unavailable):
    """Qdrant does not answer; memories are kept and will be indexed later."""


class Conflict(Refused):
    """The request contradicts the stored data; nothing was changed."""


class KeyReused(Conflict):
    """This key was used before with other parameters; use a new key for a new operation."""


class Fenced(AgentStateError):
    """Another process took this work over after the lease ran out; the late result was not applied."""


class JobDead(Ended):
    """The job ended without success; `agentstate jobs show` tells why."""


class WaitTimeout(RetryLater):
    """Timed out waiting; the work continues in the background."""


class MoneyError(AgentStateError):
    """Root of the errors about amounts and accounts."""


class AmountInvalid(MoneyError, InvalidInput):
    """An amount that no money can be made from; nothing was posted."""


class AmountMixed(AmountInvalid, TypeError):
    """Money was combined with something that is no Money; write the other as Money first."""


class InsufficientFunds(MoneyError, Refused):
    """The posting would take an account below its floor; nothing was posted."""


class Unbalanced(MoneyError, InvalidInput):
    """The entries of one transaction do not sum to zero per currency; nothing was posted."""


class LimitExceeded(MoneyError, Refused):
    """A rule of the agent forbids this; nothing was called and nothing was posted.

    Args:
        message: text for the user.
        rule: which limit, such as `total`.
        limit: the most that it allows; an amount, or a count for a rate.
        used: what was used of it already.
        asked: what was asked for now.
    """

    def __init__(
        self, message: str | None = None, *, rule: str = "", limit: Any = None, used: Any = None, asked: Any = None
    ) -> None:
        super().__init__(message)
        self.rule = rule
        self.limit = limit
        self.used = used
        self.asked = asked


class Frozen(MoneyError, Refused):
    """Money moves of this agent at this service are stopped; nothing was called and nothing was posted."""


class EffectError(AgentStateError):
    """Root of the errors about effects on the outside."""


class EffectExpired(EffectError, Ended):
    """The call happened under this key, so long ago that its result is not kept any more. Nothing was called."""


class EffectFailed(EffectError, Ended):
    """The call was refused for certain and had no effect."""


class EffectInDoubt(EffectError, RetryLater):
    """The call may or may not have happened; it is being verified and is never repeated blindly."""


class EffectInProgress(EffectError, RetryLater):
    """Another process is making this call right now."""


class ProviderError(AgentStateError):
    """Root of the errors about embedding and language model providers.

    Attributes:
        calls: requests that the provider answered, and charges for, before it failed.
        input_tokens: tokens that it charges for them.
        output_tokens: the same of what it answered.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class ProviderTransient(ProviderError, RetryLater):
    """The provider failed in a way that may pass; the work is kept and tried again."""


class ProviderRateLimited(ProviderTransient):
    """The provider asks to wait; the work is kept and tried again.

    Args:
        message: text for the user.
        retry_after: seconds that the provider asked for, None when it did not say.
    """

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ProviderRefused(ProviderError, Refused):
    """The provider will never take this request: a wrong key, no quota, or a request it cannot read."""


class ProviderAnswerInvalid(ProviderTransient):
    """The provider's answer has the wrong count, width or values; nothing of it was stored."""


class ServiceError(AgentStateError):
    """Root of the errors about the financial services."""


class ServiceUnreachable(ServiceError, RetryLater):
    """The request was certainly not sent."""


class CredentialMissing(ServiceUnreachable):
    """The agent has no account or key at this service; nothing was sent."""

    retryable = False


class ServiceRejected(ServiceError, Refused):
    """The service refused the request before any effect.

    Args:
        message: text for the user.
        code: the service's own error code.
        retry_after: seconds to wait when the refusal was a rate limit, else None.
    """

    def __init__(self, message: str | None = None, *, code: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.retryable = retry_after is not None


class ServiceInDoubt(ServiceError):
    """The request may have been applied; it must be verified, not repeated."""


class ServiceReadFailed(ServiceError, RetryLater):
    """The service gave no answer to a read; nothing was changed, and its state is unknown for now."""


class ServiceAnswerInvalid(ServiceReadFailed):
    """The service's answer to a read has the wrong shape; nothing of it was stored."""
