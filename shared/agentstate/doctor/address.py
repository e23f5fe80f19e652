"""Addresses as they may be shown: without the password."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

MASK = "********"
_SECRET_WORDS = ("password", "passwd", "secret", "token", "key")


def masked(url: str) -> str:
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
    netloc = f"{user}{colon}{MASK if colon else ''}{at}{host}"
    return urlunsplit(parts._replace(netloc=netloc, query=_masked_query(parts.query)))


def _masked_query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    hidden = [(name, MASK if _is_secret(name) else value) for name, value in pairs]
    return urlencode(hidden, safe="*/:") if hidden else query


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET_WORDS)
