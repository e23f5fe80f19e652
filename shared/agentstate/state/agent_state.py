"""An agent's state between sessions: a small record with a schema version, and the way up from older versions.

Immutable: a change is a new record (`dataclasses.replace`). Fields that this version does not know are kept in `extra`
and written back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any

from agentstate.errors import InvalidInput
from agentstate.ids import validate_name
from agentstate.state import codec
from agentstate.state.schema import VERSION_FIELD, Blob, Schema

SCHEMA = Schema(
    "agent state",
    newest_shape=lambda raw: (
        all(isinstance(raw.get(name), dict) for name in ("portfolio", "preferences")) and "balance" not in raw
    ),
)
"""The versions of `AgentState`."""


@SCHEMA.add_step(
    1,
    takes=frozenset({"balance"}),
    shape=lambda raw: "balance" in raw and not {"portfolio", "preferences"} & set(raw),
)
def _portfolio_for_balance(blob: Blob) -> Blob:
    """Version 1 had one balance in USDC; version 2 has a portfolio."""
    if "portfolio" in blob:
        raise InvalidInput("agent state of version 1 has a portfolio, which came with version 2. Nothing was changed.")
    balance = blob.get("balance")
    if isinstance(balance, bool) or not isinstance(balance, str | int | Decimal):
        raise InvalidInput(
            f"agent state of version 1 has a balance of type {type(balance).__name__}; an exact amount is needed: "
            "text, Decimal or int. Nothing was changed."
        )
    rest = {key: value for key, value in blob.items() if key != "balance"}
    return {**rest, "portfolio": {"usdc": balance}}


@SCHEMA.add_step(
    2, shape=lambda raw: isinstance(raw.get("portfolio"), dict) and not {"balance", "preferences"} & set(raw)
)
def _with_preferences(blob: Blob) -> Blob:
    """Version 2 had no preferences."""
    return {"preferences": {}, **blob}


CURRENT_SCHEMA = SCHEMA.newest_version
_MOST_SESSIONS = 2**63


@dataclass(frozen=True, slots=True)
class AgentState:
    """One agent's state.

    Attributes:
        schema_version: always the newest; `migrate` brings older blobs up to it.
        agent_id: whose.
        portfolio: what it owns, by name; amounts are Decimal, Money, int or text, never float.
        session_count: sessions begun.
        preferences: what it was told to keep to.
        extra: fields that this version does not know; kept, and written back.
        version: number of the save that it was read from; 0 before the first. Not part of the content.

    Raises:
        InvalidInput: a field has the wrong type, or holds what cannot be stored exactly.
    """

    schema_version: int = CURRENT_SCHEMA
    agent_id: str = ""
    portfolio: dict[str, Any] = field(default_factory=dict)
    session_count: int = 0
    preferences: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict, kw_only=True)
    version: int = field(default=0, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        validate_name(self.agent_id)
        if SCHEMA.version_of({VERSION_FIELD: self.schema_version}) != CURRENT_SCHEMA:
            raise InvalidInput(
                f"{VERSION_FIELD} {self.schema_version} is not {CURRENT_SCHEMA}; bring the blob up to it by "
                "AgentState.migrate. Nothing was changed."
            )
        for name in ("portfolio", "preferences", "extra"):
            value: object = getattr(self, name)
            if not isinstance(value, dict):
                raise InvalidInput(f"{name} is a dict, not {type(value).__name__}. Nothing was changed.")
            object.__setattr__(self, name, codec.deep_copy(value))
        count: object = self.session_count
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < _MOST_SESSIONS:
            raise InvalidInput("session_count is a whole number from 0 to 2^63-1. Nothing was changed.")
        if names := sorted(_FIELDS.intersection(self.extra)):
            raise InvalidInput(f"extra holds {', '.join(names)}, which has a field of its own. Nothing was changed.")

    @classmethod
    def migrate(cls, raw: Mapping[str, Any], *, agent_id: str | None = None, version: int = 0) -> AgentState:
        """Return the state in `raw`, a blob of any known version; leave `raw` unchanged.

        Args:
            raw: a blob as `to_dict` wrote it, in this version or an older one.
            agent_id: whose it must be; needed when `raw` does not say.
            version: see `AgentState.version`.

        Raises:
            SchemaOutdated: `raw` is of a newer version.
            InvalidInput: its version cannot be told, it is another agent's, or a field is wrong.
        """
        blob = SCHEMA.migrate(raw)
        owner = blob.setdefault("agent_id", agent_id)
        if owner is None or owner == "":
            raise InvalidInput("agent state does not say whose it is; give agent_id. Nothing was changed.")
        if agent_id is not None and owner != agent_id:
            raise InvalidInput(f"the state is of agent {owner!r:.60}, not of {agent_id}. Nothing was changed.")
        known = {name: blob.pop(name) for name in _FIELDS if name in blob}
        return cls(**known, extra=blob, version=version)

    def to_dict(self) -> dict[str, Any]:
        """Return the state as a blob: its fields and `extra`, in a new dict."""
        blob: dict[str, Any] = codec.deep_copy({**{name: getattr(self, name) for name in _FIELDS}, **self.extra})
        return blob


_FIELDS = frozenset(item.name for item in fields(AgentState)) - {"extra", "version"}
