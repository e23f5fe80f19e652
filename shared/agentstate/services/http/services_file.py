"""The services file: where each service is, and which account and credential an agent has there.

TOML. `[services.casino]` has `url` and `auth` (`bearer`, or the name of a header). `[agents.ag_7.casino]` has `account`
and `credential`; `[agents."*".casino]` is for every agent without an entry. It holds references, never secrets, and is
read anew when it changes.
"""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from agentstate.errors import ConfigurationError, CredentialMissing
from agentstate.services.http.credential_references import is_reference, resolve_reference, resolve_secret

EVERYBODY = "*"
URLS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "casino": "https://casino.purpleflea.com/api/v1",
        "escrow": "https://escrow.purpleflea.com",
        "faucet": "https://faucet.purpleflea.com",
        "trading": "https://trading.purpleflea.com/v1",
        "wallet": "https://wallet.purpleflea.com/v1",
        "domains": "https://domains.purpleflea.com/v1",
        "venue": "https://api.hyperliquid.xyz",
    }
)
"""Addresses where the file names none; `venue` is the exchange behind trading."""

REGISTERED_AT: Final[Mapping[str, str]] = MappingProxyType({"escrow": "casino", "faucet": "casino"})
"""Services that take another's account and key."""

_ENTRY = frozenset({"account", "credential", "addresses", "signing_keys", "words"})
_SERVICE = frozenset({"url", "auth", "tokens"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One agent's account at a service, as the file has it.

    Attributes:
        account: its id at the service, or a reference to it; `{agent}` when it is our own id.
        credential: reference to its key; empty where none is needed.
        addresses: the wallet's address by chain, or references.
        signing_keys: references to the wallet's private keys by chain.
        words: reference to a file for the words of a new wallet.
    """

    account: str = "{agent}"
    credential: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)
    signing_keys: Mapping[str, str] = field(default_factory=dict)
    words: str = ""


class ServicesFile:
    """The file, checked whole when it is read.

    Raises:
        ConfigurationError: it is missing, no TOML, or has an unknown or wrong entry.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] = (0, 0)
        self._content: dict[str, Any] = {}
        self._agents: dict[tuple[str, str], str] = {}
        self._read_if_changed()

    @property
    def urls(self) -> tuple[str, ...]:
        """All addresses."""
        return tuple(self.get_url(service) for service in {*URLS, *self._read_if_changed().get("services", {})})

    def read_agents(self) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        """All entries by agent and service, as they stand in the file."""
        agents: Mapping[str, Mapping[str, Mapping[str, Any]]] = self._read_if_changed().get("agents", {})
        return agents

    def get_url(self, service: str) -> str:
        """A service's base address."""
        named = self._read_if_changed().get("services", {}).get(service, {})
        url: str | None = named.get("url", URLS.get(service))
        if url is None:
            raise ConfigurationError(f"{self._path}: [services.{service}] has no url.")
        return url.rstrip("/")

    def get_auth_header(self, service: str) -> str:
        """The header that takes the key bare; empty when it goes as a bearer token."""
        auth: str = self._read_if_changed().get("services", {}).get(service, {}).get("auth", "bearer")
        return "" if auth == "bearer" else auth

    def get_token(self, service: str, chain: str) -> str | None:
        """The address of USDC on a chain, None where it is not named."""
        tokens: Mapping[str, str] = self._read_if_changed().get("services", {}).get(service, {}).get("tokens", {})
        return tokens.get(chain)

    def get_entry(self, agent_id: str, service: str) -> Entry:
        """An agent's entry at the service where it is registered. Raises CredentialMissing when there is none."""
        agents = self._read_if_changed().get("agents", {})
        name = REGISTERED_AT.get(service, service)
        found = agents.get(agent_id, {}).get(name, agents.get(EVERYBODY, {}).get(name))
        if found is None:
            raise CredentialMissing(f"{self._path} has no [agents.{agent_id}.{name}]; nothing was sent.")
        return Entry(**found)

    def get_account(self, agent_id: str, service: str) -> str:
        """The agent's id at a service."""
        text = self.get_entry(agent_id, service).account
        account = resolve_reference(text, agent_id) if is_reference(text) else text.replace("{agent}", agent_id)
        self._agents[REGISTERED_AT.get(service, service), account] = agent_id
        return account

    def find_account(self, agent_id: str, service: str) -> str | None:
        """The agent's id at a service; None when the file leads to none, as for somebody who is no agent of ours."""
        try:
            return self.get_account(agent_id, service)
        except CredentialMissing:
            return None

    def find_agent(self, service: str, account: str) -> str | None:
        """Our agent behind an id at a service, as far as the file tells."""
        name = REGISTERED_AT.get(service, service)
        if (name, account) not in self._agents:
            self._learn_accounts(name)
        return self._agents.get((name, account))

    def get_key(self, agent_id: str, service: str) -> str:
        """The agent's key at a service. Raises CredentialMissing."""
        reference = self.get_entry(agent_id, service).credential
        if not reference:
            raise CredentialMissing(f"{self._path} names no credential of {agent_id} at {service}. Nothing was sent.")
        return resolve_secret(reference, agent_id)

    def _learn_accounts(self, service: str) -> None:
        for agent_id, entries in self._read_if_changed().get("agents", {}).items():
            if agent_id != EVERYBODY and service in entries:
                try:
                    self.get_account(agent_id, service)
                except CredentialMissing:
                    continue

    def _read_if_changed(self) -> dict[str, Any]:
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp != self._stamp:
                with self._lock:
                    self._content, self._stamp = _parse_file(self._path), stamp
        except OSError as error:
            raise ConfigurationError(
                f"{self._path}: {error.strerror}. Name the file in AGENTSTATE_SERVICES_FILE."
            ) from None
        return self._content


def _parse_file(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is no TOML: {error}.") from None
    unknown = set(content) - {"services", "agents"}
    if unknown:
        raise ConfigurationError(f"{path}: unknown section {', '.join(sorted(unknown))}; use services and agents.")
    for name, service in content.get("services", {}).items():
        _check_keys(path, f"services.{name}", service, _SERVICE)
        if "url" in service and urlsplit(str(service["url"])).scheme not in {"http", "https"}:
            raise ConfigurationError(f"{path}: services.{name}.url: begin with http:// or https://.")
    for agent, entries in content.get("agents", {}).items():
        for name, entry in entries.items():
            _check_keys(path, f"agents.{agent}.{name}", entry, _ENTRY)
            _refuse_secrets(path, f"agents.{agent}.{name}", entry)
    return content


def _check_keys(path: Path, where: str, found: Any, known: frozenset[str]) -> None:
    if not isinstance(found, dict) or not set(found) <= known:
        raise ConfigurationError(f"{path}: [{where}] takes {', '.join(sorted(known))}.")


def _refuse_secrets(path: Path, where: str, entry: Mapping[str, Any]) -> None:
    """The file names places of secrets; a secret in it is refused without being shown."""
    places = [("credential", entry.get("credential", "env:")), ("words", entry.get("words", "env:"))]
    places += [(f"signing_keys.{chain}", value) for chain, value in entry.get("signing_keys", {}).items()]
    for name, value in places:
        if not isinstance(value, str) or not is_reference(value):
            raise ConfigurationError(
                f"{path}: {where}.{name} has to be env:NAME or file:/path, never the secret itself."
            )
