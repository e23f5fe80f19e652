"""Chance that a seed decides: the same seed, agent and nonce give the same draw, whatever runs beside it."""

from __future__ import annotations

import hashlib
import hmac


class Chance:
    """Draws and identifiers derived from one seed.

    Args:
        seed: any integer; two sandboxes with one seed and one history give the same answers.
    """

    def __init__(self, seed: int) -> None:
        self._key = str(seed).encode()

    def derive_bytes(self, *parts: str | int) -> bytes:
        """32 bytes that depend on the seed and on every part."""
        text = "\x1f".join(str(part) for part in parts)
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()

    def draw_below(self, limit: int, *parts: str | int) -> int:
        """A whole number from 0 to `limit` - 1; the bias of the remainder is under 2**-64 for small limits."""
        return int.from_bytes(self.derive_bytes(*parts)[:16], "big") % limit

    def make_token(self, prefix: str, *parts: str | int) -> str:
        """An identifier such as `bet_5f0c…`, 96 bits long."""
        return f"{prefix}_{self.derive_bytes(prefix, *parts).hex()[:24]}"
