"""One provider client per process, made at its first use after the fork.

A client that was used before a fork shares its sockets with every child: their first answers get mixed up.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from agentstate.errors import ConfigurationError

if TYPE_CHECKING:
    import anthropic
    import openai

OPENAI_URL: Final = "https://api.openai.com/v1"
ANTHROPIC_URL: Final = "https://api.anthropic.com"
NO_KEY: Final = "none"  # servers of one's own ask for no key, and the SDKs insist on some text


class Closable(Protocol):
    """A client that can give its connections back."""

    def close(self) -> None:
        """Close all connections."""
        ...


ClientT = TypeVar("ClientT", bound=Closable)


class PerProcessClient(Generic[ClientT]):
    """Holds the client of this process and makes a new one in a child."""

    def __init__(self, make: Callable[[], ClientT]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._client: ClientT | None = None
        self._inherited: list[ClientT | None] = []

    def get(self) -> ClientT:
        """This process's client."""
        if self._pid != os.getpid():
            # The parent's client is kept, unused: collecting it would close it, and its locks may be held.
            self._lock = threading.Lock()
            self._inherited.append(self._client)
            self._client = None
            self._pid = os.getpid()
        with self._lock:
            if self._client is None:
                self._client = self._make()
            return self._client

    def close(self) -> None:
        """Close this process's client; the next `get` makes a new one."""
        if self._pid != os.getpid():
            return
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()


def strip_credentials(url: str) -> str:
    """The URL without user and password, to be shown."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def openai_sdk() -> ModuleType:
    """Import the `openai` package, which takes about 0.7 s of CPU and 48 MB; raise ConfigurationError without it."""
    return _import_sdk("openai")


def anthropic_sdk() -> ModuleType:
    """Import the `anthropic` package, which takes about 1.5 s of CPU and 74 MB; raise ConfigurationError without it."""
    return _import_sdk("anthropic")


def _import_sdk(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ConfigurationError(
            f"the {package} provider needs a package that is not installed: pip install 'agentstate[{package}]'."
        ) from None


def openai_client(base_url: str | None, key: SecretStr | None, timeout_s: float) -> openai.OpenAI:
    """Return a client without retries of its own that ignores the SDK's environment variables for the address."""
    client: openai.OpenAI = openai_sdk().OpenAI(
        base_url=base_url or OPENAI_URL,
        api_key=key.get_secret_value() if key is not None else NO_KEY,
        timeout=timeout_s,
        max_retries=0,
    )
    return client


def anthropic_client(base_url: str | None, key: SecretStr | None, timeout_s: float) -> anthropic.Anthropic:
    """Return a client without retries of its own that ignores the SDK's environment variables for the address."""
    client: anthropic.Anthropic = anthropic_sdk().Anthropic(
        base_url=base_url or ANTHROPIC_URL,
        api_key=key.get_secret_value() if key is not None else NO_KEY,
        timeout=timeout_s,
        max_retries=0,
    )
    return client
