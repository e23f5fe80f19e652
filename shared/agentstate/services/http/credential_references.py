"""Credentials by reference: a file of settings names where a secret is, never the secret itself.

`env:NAME` is an environment variable, `file:/path` the text of a file. `{agent}` in either stands for the agent's id.
What is read is remembered, so that it appears in no text.
"""

from __future__ import annotations

import os
from pathlib import Path

from agentstate.errors import ConfigurationError, CredentialMissing, ServiceRejected
from agentstate.redaction import register_secret

ENV, FILE = "env:", "file:"
LARGEST = 65_536


def is_reference(text: str) -> bool:
    """Return whether a text is a reference."""
    return text.startswith((ENV, FILE))


def expand_reference(reference: str, agent_id: str) -> str:
    """Return the reference for one agent."""
    return reference.replace("{agent}", agent_id)


def resolve_reference(reference: str, agent_id: str) -> str:
    """Return the text that a reference leads to.

    Raises:
        CredentialMissing: there is nothing; names the reference.
    """
    place = expand_reference(reference, agent_id)
    kind, _, where = place.partition(":")
    found = os.environ.get(where) if f"{kind}:" == ENV else _read_file(Path(where))
    if not found or not found.strip():
        raise CredentialMissing(f"{place} holds nothing; {agent_id} cannot act without it. Nothing was sent.")
    return found.strip()


def resolve_secret(reference: str, agent_id: str) -> str:
    """Return the secret that a reference leads to, and register it for redaction."""
    secret = resolve_reference(reference, agent_id)
    register_secret(secret)
    return secret


def store_secret(reference: str, agent_id: str, value: str) -> None:
    """Write a new secret where a `file:` reference points, readable by this user alone; never over another one.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    register_secret(value)
    path = Path(expand_reference(reference, agent_id).removeprefix(FILE))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(value + "\n")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}. The new secret was not kept.") from error


def require_unused_file(reference: str, agent_id: str, what: str) -> None:
    """Raise unless a reference names an unused file in which a new secret can be kept.

    Raises:
        CredentialMissing: the reference is no file. ServiceRejected: the file is there.
    """
    if not reference.startswith(FILE):
        raise CredentialMissing(f"{what}: the services file has to say file:/path, to keep it. Nothing was sent.")
    path = Path(expand_reference(reference, agent_id).removeprefix(FILE))
    if path.exists():
        text = f"{what}: {path} is there already; making another would lose it. Nothing was sent."
        raise ServiceRejected(text, code="already_there")


def _read_file(path: Path) -> str | None:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(LARGEST)
    except (OSError, UnicodeDecodeError):
        return None
