"""Operations on the outside: what each declares, and what looking for its effect can find.

A worker that resolves an effect knows it only by the name of its operation; the registry leads from the name to the
code that calls, looks, and books. The code itself belongs to whoever talks to the service; it is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from agentstate.errors import ConfigurationError
from agentstate.money.amounts import Money
from agentstate.money.postings import Line


class Guarantee(StrEnum):
    """What the remote does for us, and so what may be promised; declared per operation."""

    KEYED = "keyed"
    """It dedupes our key: calling again is safe. Exactly once while it remembers the key."""
    NATURAL = "natural"
    """The thing itself can happen only once (a domain is registered, an escrow released). Exactly once."""
    VERIFIABLE = "verifiable"
    """The effect can be looked up afterwards. Once, and a late sender is detected."""
    BLIND = "blind"
    """Neither. Never called again: at most once, a human finds out the rest."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The effect happened; `receipt` is what its call would have returned."""

    receipt: Any


@dataclass(frozen=True, slots=True)
class Absent:
    """The effect is not there. Conclusive only once the settle window has passed."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Looking did not tell. `settles_in_s`: seconds after which looking again can help, None when only a person can."""

    reason: str = ""
    settles_in_s: float | None = None


Verdict: TypeAlias = Applied | Absent | Unknown


class Operation(Protocol):
    """One operation of a service, such as `casino.bet`."""

    @property
    def name(self) -> str:
        """The name that is stored with each effect; never changes its meaning."""

    @property
    def service(self) -> str:
        """Where it happens."""

    @property
    def guarantee(self) -> Guarantee:
        """What the service does for us."""

    @property
    def settle_s(self) -> float:
        """Seconds after the call from which "it is not there" is conclusive."""

    def call(self, gateway: Any, agent_id: str, tag: str, /, **params: Any) -> Any:
        """Do it, marked with `tag` where the service takes a mark; return the receipt.

        Raises ServiceUnreachable when it was certainly not sent, ServiceRejected when it was certainly refused;
        whatever else it raises leaves the effect in doubt.
        """

    def baseline(self, gateway: Any, agent_id: str, params: Mapping[str, Any], /) -> Any:
        """What the service shows before the call, where `verify` needs it; None where it does not."""

    def verify(
        self,
        gateway: Any,
        agent_id: str,
        tag: str,
        params: Mapping[str, Any],
        called_at: datetime,
        /,
        *,
        baseline: Any = None,
    ) -> Verdict:
        """Look whether it happened, changing nothing."""

    def hold(self, params: Mapping[str, Any], /) -> Money | None:
        """The most that it may cost, where the parameters tell; held while the outcome is unknown."""

    def postings(self, params: Mapping[str, Any], receipt: Any, /) -> Sequence[Line]:
        """What it moved, written as if no money had been held for it."""


class Operations:
    """The operations by name."""

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self._by_name: dict[str, Operation] = {}
        for operation in operations:
            self.add(operation)

    def add(self, operation: Operation) -> None:
        """Register `operation`; raises ConfigurationError when its name is taken by another."""
        if self._by_name.setdefault(operation.name, operation) is not operation:
            raise ConfigurationError(f"two operations are named {operation.name!r}.")

    def get(self, name: str) -> Operation | None:
        """The operation called `name`, None when this process does not know it."""
        return self._by_name.get(name)

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._by_name)
