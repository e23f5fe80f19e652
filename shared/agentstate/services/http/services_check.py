"""Checks of the services' configuration: each service asked once, and each entry of the services file looked up.

Nothing is changed by it: a service is asked for a state with the key of an agent that the file names, or without a key,
which a service that is there refuses. `template()` is a services file with comments, to begin from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from agentstate.errors import ConfigurationError, CredentialMissing
from agentstate.services.http.credential_references import is_reference, resolve_reference, resolve_secret
from agentstate.services.http.services_file import EVERYBODY, REGISTERED_AT, URLS, Entry, ServicesFile

TIMEOUT_S: Final = 3.0
MOST_SKEW_S: Final = 5.0
"""Difference of clocks from which on ages and settle windows are wrong."""

OK, WARN, FAIL = "ok", "warn", "fail"

_STATE_PATHS: Final[Mapping[str, str]] = {
    "casino": "auth/balance",
    "escrow": "escrow/stats",
    "faucet": "faucet/stats",
    "trading": "auth/account",
    "wallet": "wallet/activity",
    "domains": "auth/account",
}
_UNAUTHORIZED, _NOT_FOUND, _SERVER_FAULT = 401, 404, 500


@dataclass(frozen=True, slots=True)
class ServiceFinding:
    """One finding: the service or the entry it is about, `ok`, `warn` or `fail`, the fact, and the remedy.

    `is_reached` is False for a service that did not answer.
    """

    about: str
    verdict: str
    found: str
    remedy: str = ""
    is_reached: bool = True


def check_services(
    file: ServicesFile, *, now: Callable[[], datetime] = lambda: datetime.now(UTC), timeout_s: float = TIMEOUT_S
) -> list[ServiceFinding]:
    """Ask every service of the file once: whether it answers, takes our key, has the route, and tells our time.

    Args:
        file: the services file.
        now: present time, UTC.
        timeout_s: seconds that each may take.
    """
    with httpx.Client(timeout=timeout_s, follow_redirects=False) as client:
        return [_check_service(client, file, service, now) for service in URLS]


def check_url(url: str, key: str, *, timeout_s: float = TIMEOUT_S) -> ServiceFinding:
    """Ask the unified gateway for a state; an agent that it does not know is an answer too."""
    with httpx.Client(timeout=timeout_s) as client:
        try:
            answer = client.get(f"{url.rstrip('/')}/casino/state?agent_id=doctor", headers=_bearer(key))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return _unreachable("gateway", url, error)
    if answer.status_code == _UNAUTHORIZED:
        return ServiceFinding("gateway", FAIL, f"{url} does not accept the key", "Set AGENTSTATE_SERVICES_API_KEY.")
    if answer.status_code == _NOT_FOUND and _error_of(answer) == "not_found":
        return ServiceFinding(
            "gateway", FAIL, f"{url} has no route casino/state", "Check AGENTSTATE_SERVICES_URL and the dialect."
        )
    return _judge_status("gateway", url, answer)


def check_entries(file: ServicesFile) -> Iterator[ServiceFinding]:
    """Look up every reference of the services file; yield a finding for each entry of an agent."""
    for agent_id, entries in file.read_agents().items():
        for service, given in entries.items():
            about = f"agents.{agent_id}.{service}"
            if agent_id == EVERYBODY:
                yield ServiceFinding(about, OK, "serves every agent without an entry of its own; looked up when used")
                continue
            missing = list(_missing_references(Entry(**given), agent_id))
            if missing:
                remedy = f"Register with `{service}.join`, or provide them."
                yield ServiceFinding(about, WARN, f"nothing there yet: {', '.join(missing)}", remedy)
            else:
                yield ServiceFinding(about, OK, "account and credentials are there")


def _missing_references(entry: Entry, agent_id: str) -> Iterator[str]:
    named = {"account": entry.account, "credential": entry.credential}
    named |= {f"addresses.{chain}": text for chain, text in entry.addresses.items()}
    named |= {f"signing_keys.{chain}": text for chain, text in entry.signing_keys.items()}
    for name, text in named.items():
        if not text:
            yield name
        elif is_reference(text):
            try:
                resolve_reference(text, agent_id)
            except CredentialMissing:
                yield name


def _check_service(
    client: httpx.Client, file: ServicesFile, service: str, now: Callable[[], datetime]
) -> ServiceFinding:
    url = file.get_url(service)
    agent_id, key = _find_key(file, service)
    try:
        if service == "venue":
            answer = client.post(f"{url}/info", json={"type": "meta"})
        else:
            header = file.get_auth_header(service)
            headers = {header: key} if header and key else _bearer(key)
            answer = client.get(f"{url}/{_STATE_PATHS[service]}", headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _unreachable(service, url, error)
    if answer.status_code == _UNAUTHORIZED:
        if key:
            remedy = f"Check the credential of {agent_id} at {service}."
            return ServiceFinding(service, FAIL, f"{url} does not accept the key of {agent_id}", remedy)
        return ServiceFinding(service, OK, f"{url} answers; no agent has a key to try yet")
    if skew := _clock_skew_s(answer, now()):
        remedy = "Synchronize this machine's clock: ages and settle windows are measured by it."
        return ServiceFinding(service, WARN, f"{url} answers; its clock differs by {skew:+.0f} s", remedy)
    return _judge_status(service, url, answer)


def _judge_status(service: str, url: str, answer: httpx.Response) -> ServiceFinding:
    if answer.status_code == _NOT_FOUND and _error_of(answer) in {"", "not_found"}:
        remedy = f"Check the url in [services.{service}], with its prefix, such as {URLS.get(service, url)}."
        return ServiceFinding(service, FAIL, f"{url} answers, but has not the route that is asked for", remedy)
    if answer.status_code >= _SERVER_FAULT:
        return ServiceFinding(service, WARN, f"{url} answers {answer.status_code}", "The service itself is in trouble.")
    try:
        answer.json()
    except ValueError:
        return ServiceFinding(service, FAIL, f"{url} answers {answer.status_code} without JSON", "Check the url.")
    return ServiceFinding(service, OK, f"{url} answers")


def _find_key(file: ServicesFile, service: str) -> tuple[str, str]:
    """Return the first agent of the file with a key at the service, and that key; empty texts when there is none."""
    home = REGISTERED_AT.get(service, service)
    for agent_id, entries in file.read_agents().items():
        credential = entries.get(home, {}).get("credential", "")
        if agent_id != EVERYBODY and credential and service != "faucet":
            try:
                return agent_id, resolve_secret(credential, agent_id)
            except (CredentialMissing, ConfigurationError):
                continue
    return "", ""


def _clock_skew_s(answer: httpx.Response, now: datetime) -> float:
    """Return by how many seconds the service's clock is ahead of ours; 0 when it is near, or tells no time."""
    try:
        skew = (parsedate_to_datetime(answer.headers.get("Date", "")) - now).total_seconds()
    except (TypeError, ValueError):
        return 0.0
    return skew if abs(skew) > MOST_SKEW_S else 0.0


def _unreachable(service: str, url: str, error: Exception) -> ServiceFinding:
    remedy = f"Check the address of {service}, and that this machine may reach it."
    found = f"{url} cannot be reached ({type(error).__name__})"
    return ServiceFinding(service, FAIL, found, remedy, is_reached=isinstance(error, httpx.InvalidURL))


def _error_of(answer: httpx.Response) -> str:
    try:
        found = answer.json()
    except ValueError:
        return ""
    return str(found.get("error", "")) if isinstance(found, dict) else ""


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def template() -> str:
    """Return a services file to begin from: every service with its address, every kind of entry, and comments."""
    services = "\n".join(f'[services.{name}]\nurl = "{url}"\n' for name, url in URLS.items())
    return f"""\
# Services file of agentstate: set AGENTSTATE_SERVICES_DIALECT=services and AGENTSTATE_SERVICES_FILE to its path.
# It names places of secrets (env:NAME or file:/path), never a secret. {{agent}} stands for the agent's id.
# `agentstate services check` looks up every entry and asks every service once.

# Addresses with their prefix; these are the defaults. `venue` is the exchange behind trading.
# auth = "bearer" sends the key as a bearer token, any other text is the name of a header that takes it bare.
{services}
# [services.wallet]
# tokens = {{ base = "0x..." }}       # USDC of a test network; the real contracts are built in

# Every agent without an entry of its own. `casino.join`, `trading.join`, `domains.join` and `wallet.join` register an
# agent and write account and key to these files, readable by this user alone. Casino also serves escrow and faucet.
[agents."*".casino]
account = "file:/run/secrets/{{agent}}/casino.id"
credential = "file:/run/secrets/{{agent}}/casino.key"

[agents."*".trading]
account = "file:/run/secrets/{{agent}}/trading.id"
credential = "file:/run/secrets/{{agent}}/trading.key"

[agents."*".domains]
account = "file:/run/secrets/{{agent}}/domains.id"
credential = "file:/run/secrets/{{agent}}/domains.key"

# `wallet.create` writes words, addresses and the key of Base and Ethereum. The wallet service keeps no list of them.
[agents."*".wallet]
account = "file:/run/secrets/{{agent}}/wallet.id"
credential = "file:/run/secrets/{{agent}}/wallet.key"
words = "file:/run/secrets/{{agent}}/wallet.words"
addresses = {{ base = "file:/run/secrets/{{agent}}/wallet.base" }}
signing_keys = {{ base = "file:/run/secrets/{{agent}}/wallet.base.key" }}
"""
