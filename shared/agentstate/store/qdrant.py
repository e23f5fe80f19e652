"""The connection to Qdrant: one client per process, made on first use.

The client keeps no connection alive to a server on loopback unless it is told to, which costs a new one per call; and
it would start a thread that asks for the server's version.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

TIMEOUT_S = 10
MAX_CONNECTIONS = 16
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def open_qdrant(url: str, *, api_key: SecretStr | None = None, timeout_s: int = TIMEOUT_S) -> QdrantClient:
    """A client for the server at `url`; connects on first use. `timeout_s` is the deadline of one call."""
    import httpx
    from qdrant_client import QdrantClient

    address = urlsplit(url)
    on_this_machine = address.hostname in LOOPBACK
    with warnings.catch_warnings():
        if on_this_machine:
            # The key does not leave this machine.
            warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return QdrantClient(
            url=url,
            api_key=None if api_key is None else api_key.get_secret_value(),
            timeout=timeout_s,
            check_compatibility=False,
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS),
            # A proxy of the environment does not reach this machine.
            trust_env=not on_this_machine,
            # Reading the certificates of the authorities takes 30 ms, and plain HTTP has no use for them.
            verify=address.scheme == "https",
        )
