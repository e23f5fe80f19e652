"""Mapping of SDK errors to provider errors: retry, retry later, or never.

Both SDKs raise the same family of errors, so one mapping serves both. Their own retries are off: a worker
slot must not sleep through a Retry-After, the job is put back instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import Final, Protocol

from pydantic import SecretStr

from agentstate.clock import utc_now
from agentstate.errors import (
    ProviderAnswerInvalid,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTransient,
)

RETRYABLE: Final = frozenset({408, 409, 425, 429})
"""Statuses below 500 that may pass; every status from 500 on may."""
NO_QUOTA: Final = "insufficient_quota"
_MAX_DETAIL: Final = 300
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500


class _Response(Protocol):
    @property
    def headers(self) -> Mapping[str, str]: ...


class StatusError(Protocol):
    """Common shape of the status errors of both SDKs."""

    status_code: int
    body: object

    @property
    def response(self) -> _Response:
        """The HTTP response."""
        ...


@contextmanager
def provider_faults(sdk: ModuleType, provider: str, secret: SecretStr | None) -> Iterator[None]:
    """Turn the SDK's errors inside the block into `ProviderError`s that never show `secret`."""
    try:
        yield
    except sdk.APIStatusError as error:
        raise _translate_status(error, provider, secret) from None
    except sdk.APITimeoutError:
        raise ProviderTransient(f"{provider} did not answer in time. The work is kept and tried again.") from None
    except sdk.APIConnectionError as error:
        cause = type(error.__cause__ or error).__name__
        raise ProviderTransient(f"{provider} cannot be reached ({cause}). The work is kept and tried again.") from None
    except (sdk.APIError, json.JSONDecodeError) as error:
        raise ProviderAnswerInvalid(
            f"{provider} answered what cannot be read ({type(error).__name__}). Nothing of it was stored."
        ) from None


def _translate_status(error: StatusError, provider: str, secret: SecretStr | None) -> ProviderError:
    """Return the provider error for an answer with an error status, with its text but without `secret`."""
    status, body = error.status_code, error.body
    details: Mapping[str, object] = {}
    if isinstance(body, Mapping):  # some servers wrap the error once in `error`, and the SDK may unwrap it
        inner = body.get("error")
        details = inner if isinstance(inner, Mapping) else body
    text = " ".join(str(details.get("message") or (body if isinstance(body, str) else "no explanation")).split())
    if secret is not None and secret.get_secret_value():
        text = text.replace(secret.get_secret_value(), "***")
    said = f"{provider} answered {status}: {text[:_MAX_DETAIL].rstrip('.')}"
    has_no_quota = NO_QUOTA in (details.get("type"), details.get("code"))
    if has_no_quota or not (status in RETRYABLE or status >= _SERVER_ERROR):
        return ProviderRefused(
            f"{said}. It was not tried again; correct the key, quota, model or request, then requeue."
        )
    retry_after = retry_after_s(error.response.headers)
    if status == _TOO_MANY or retry_after is not None:
        wait = "" if retry_after is None else f" in {retry_after:g} s"
        return ProviderRateLimited(f"{said}. The work is kept and tried again{wait}.", retry_after=retry_after)
    return ProviderTransient(f"{said}. The work is kept and tried again.")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the provider asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date."""
    milliseconds = _read_number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _read_number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - utc_now()).total_seconds())


def _read_number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None
