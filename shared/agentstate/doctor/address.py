"""Addresses as they may be shown: without the password."""

from __future__ import annotations

from urllib.parse import urlsplit

MASK = "********"
_SECRET_WORDS = ("password", "passwd", "secret", "token", "key")


def mask_url(url: str) -> str:
    """`url` with the password in it, and any query value that is named like a secret, replaced by stars."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    before, at, host = parts.netloc.rpartition("@")
    if not at and "@" in url:
        # A password with an unescaped / or ? or #: where it ends, nobody can tell.
        return f"{parts.scheme}://{MASK}"
    user, colon, _ = before.partition(":")
    hidden = url.replace(parts.netloc, f"{user}{colon}{MASK}{at}{host}", 1) if colon else url
    return hidden.replace(parts.query, _masked_query(parts.query), 1) if parts.query else hidden


def _masked_query(query: str) -> str:
    return "&".join(_masked_pair(pair) for pair in query.split("&"))


def _masked_pair(pair: str) -> str:
    name = pair.partition("=")[0]
    return f"{name}={MASK}" if _is_secret(name) else pair


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_WORDS)
