"""Refusals: error answers that prove that nothing was done, which are known codes and rate limits.

Error codes of the services are unreliable about effects (a 400 `trade_failed` comes after the trade), so a code that is
not listed proves nothing. Each operation lists its own codes; the ones here hold for all.
"""

from __future__ import annotations

from datetime import datetime

from agentstate.clock import Clock
from agentstate.errors import ServiceAnswerInvalid, ServiceRejected
from agentstate.services.wire import Answer, decode_json
from agentstate.state import codec

COMMON_CODES = frozenset({"not_found", "agent_not_found", "unauthorized", "invalid_request"})
"""Codes that every operation may be refused with before any effect."""

SHORT_WAIT_S = 60.0
"""The services count requests in windows of a minute and tell no time of reset in most answers."""

LONG_WAIT_S = 86_400.0
"""`ip_rate_limited` at the faucet is a rule of one claim a day per address."""

UNAUTHORIZED, TOO_MANY = 401, 429
_REFUSING = frozenset({400, 401, 402, 403, 404, 409, 422, 429})


def error_code(content: bytes) -> str:
    """Return the answer's `error` in lower case, "" when it has none or is not JSON."""
    try:
        code = decode_json(content).get("error", "")
    except ServiceAnswerInvalid:
        return ""
    return codec.storable_text(code, 80).lower() if isinstance(code, str) else ""


def parse_refusal(status: int, content: bytes, codes: frozenset[str], clock: Clock) -> ServiceRejected | None:
    """Return the refusal that an error answer proves, None when it proves nothing."""
    code = error_code(content)
    if status == TOO_MANY:
        wait = LONG_WAIT_S if code == "ip_rate_limited" else seconds_until_reset(content, clock)
        text = f"the service asks to wait {wait:.0f} s ({code or 'rate limit'}). Nothing was done."
        return ServiceRejected(text, code=code or "rate_limited", retry_after=wait)
    if status == UNAUTHORIZED:
        return ServiceRejected("the service does not accept our key. Nothing was done.", code="unauthorized")
    if status in _REFUSING and code in COMMON_CODES | codes:
        again = decode_json(content).get("next_claim_in_seconds")
        when = f"; it can be asked again in {str(again)[:12]} s" if again else ""
        return ServiceRejected(f"the service refused with {status} {code}{when}. Nothing was done.", code=code)
    return None


def seconds_until_reset(content: bytes, clock: Clock) -> float:
    """Return the seconds until the reset time in a 429: a minute when it has none, a day at most."""
    try:
        reset: datetime = Answer(decode_json(content)).get_time("reset_at")
    except ServiceAnswerInvalid:
        return SHORT_WAIT_S
    return min(max((reset - clock()).total_seconds(), 0.0), LONG_WAIT_S)
