"""Identifiers: which names are accepted, and how ids are made.

Random ids are UUID version 7 (RFC 9562), so that rows of one moment lie together in an index. Ids that a retry must
make again are UUID version 5 over what identifies the thing.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections import deque

from agentstate.errors import InvalidInput

MAX_NAME = 128
"""Longest agent, session or service name, in characters."""

_ID_BYTES = 10
_DRAWN_AT_ONCE = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]*\Z")
_NAMESPACE = uuid.UUID("6f9f6f0e-94f5-5f2d-8a0e-6c1f0b1d7a55")


def validate_name(value: object, what: str = "agent id") -> str:
    """Return `value` when it may name an agent, a session or an account; raise InvalidInput else.

    Allowed are 1 to 128 characters of `A-Z a-z 0-9 . _ @ : + -`, beginning with a letter or a digit: such a name is
    safe in a Redis key, a file name, a URL path and a log line.
    """
    if not isinstance(value, str) or len(value) > MAX_NAME or not _NAME.match(value):
        raise InvalidInput(
            f"{what} {shorten_repr(value)} is refused: use 1 to {MAX_NAME} of the characters A-Z a-z 0-9 . _ @ : + -, "
            "beginning with a letter or a digit. Nothing was stored."
        )
    return value


def shorten_repr(value: object) -> str:
    """Return the value as an error shows it, 60 characters at most."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits has no text
        text = f"a very long {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004


def new_id() -> uuid.UUID:
    """A new UUID version 7: 48 bits of Unix milliseconds, then random bits."""
    return uuid.UUID(int=_new_uuid7())


def new_hex() -> str:
    """The 32 hexadecimal digits of a new UUID version 7, where the digits are all that is needed."""
    return f"{_new_uuid7():032x}"


def new_ordered_hex() -> str:
    """The digits of a new UUID version 7 that sorts after all that this process has made before: RFC 9562, method 3."""
    global _last_tick  # noqa: PLW0603 the order is the process's; threads that race have no order
    # 48 bits of milliseconds and 12 bits of their fraction.
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    _last_tick = tick = max((milliseconds << 12) | (rest << 12) // 1_000_000, _last_tick + 1)
    value = (tick >> 12 << 80) | (0x7 << 76) | ((tick & 0xFFF) << 64) | (0x2 << 62) | (_random_bits() >> 18)
    return f"{value:032x}"


def _new_uuid7() -> int:
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | _random_bits()
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    return (value & ~(0x3 << 62)) | (0x2 << 62)


def _random_bits() -> int:
    """80 bits that no other process has: asking the system for each id alone would cost more than making the id."""
    while True:
        try:
            return _drawn.pop()
        except IndexError:
            many = os.urandom(_DRAWN_AT_ONCE * _ID_BYTES)
            starts = range(0, len(many), _ID_BYTES)
            _drawn.extend(int.from_bytes(many[start : start + _ID_BYTES], "big") for start in starts)


_drawn: deque[int] = deque()
_last_tick = 0
# A child must not draw what its parent draws.
os.register_at_fork(after_in_child=_drawn.clear)


def derive_id(*parts: str) -> uuid.UUID:
    """The UUID version 5 of `parts`: the same parts give the same id, in every process and for ever."""
    return uuid.uuid5(_NAMESPACE, "\x1f".join(f"{len(part)}:{part}" for part in parts))
