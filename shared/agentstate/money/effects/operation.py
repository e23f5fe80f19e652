"""Operations as values: one change at the outside, complete and checked when it is made.

An operation knows how to send itself, how to find out whether it happened, and what its receipt moves in the books. The
engine (`agentstate.money.effects.engine`) keeps the intent, the hold and the outcome around it. An operation of a class
of its own is registered by name, so that a worker can settle what another process began; a caller's own function
becomes an operation by `call`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from inspect import iscoroutinefunction
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar, overload

from agentstate.errors import ConfigurationError, NotFound
from agentstate.money.amounts import Money, parse_money
from agentstate.money.effects.verdicts import Guarantee, Unknown, Verdict
from agentstate.money.ledger.postings import Credit, Line
from agentstate.store.store import Transaction

R = TypeVar("R")

Postings: TypeAlias = Callable[[Any], Sequence[Line]]
"""Makes the ledger lines of a receipt."""

FollowUp: TypeAlias = Callable[[Transaction, Any], None]
"""Writes more in the transaction of the outcome; is given that transaction and the receipt."""

AgentService: TypeAlias = tuple[str, str]
"""An agent and a service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A call as it was written down before it was sent.

    Attributes:
        agent_id: the agent that calls.
        key: the caller's name for the call.
        remote_key: the name under which the remote knows it; the same at every attempt.
        params: the parameters, as they are stored.
        attempt: 1 at the first attempt.
        called_at: when the last attempt began, by the database's clock.
        baseline: what `Operation.read_baseline` returned before the first attempt.
    """

    agent_id: str
    key: str
    remote_key: str
    params: Mapping[str, Any]
    attempt: int
    called_at: datetime
    baseline: Any


class Operation(ABC, Generic[R]):
    """One change at the outside; `R` is the type of its receipt.

    A subclass is a frozen dataclass whose fields are the parameters, checked in `__post_init__`.

    Attributes:
        name: stored with each effect, such as `casino.bet`; its meaning never changes.
        service: where the money is held, and whose limits and freezes apply.
        guarantee: what the remote does for us; decides what may follow a lost answer.
        deadline_s: longest duration of `send`, in seconds; it keeps to that by its own timeouts.
        settle_s: seconds after the deadline from which "it is not there" is conclusive.
        follow_up: writes more in the transaction of the outcome, such as a job. It belongs to this process: when this
            one is lost and a worker settles the effect, it is not called.
        needs_outside: whether `send`, `verify` and `read_baseline` are to be given the gateway to the services.
        is_coroutine: whether `send` returns a coroutine, to be awaited by `execute_once_async`.
    """

    name: str
    service: str
    guarantee: Guarantee
    deadline_s: float = 30.0
    settle_s: float = 35.0
    follow_up: FollowUp | None = None
    needs_outside: ClassVar[bool] = True
    is_coroutine: bool = False

    @classmethod
    def parse(cls, params: Mapping[str, Any]) -> Self:
        """Make the operation again from stored parameters; raises InvalidInput."""
        return cls(**params)

    @property
    def is_verifiable(self) -> bool:
        """Whether `verify` can look the call up."""
        return type(self).verify is not Operation.verify

    @abstractmethod
    def params(self) -> Mapping[str, Any]:
        """Return the parameters as plain values: fingerprinted, and stored with the intent. No secrets."""

    @abstractmethod
    def send(self, outside: Any, intent: Intent) -> R:
        """Make exactly one call, marked with `intent.remote_key` where the remote takes a mark; return its receipt.

        Args:
            outside: the gateway to the services; None for an operation that does not need it.
            intent: the call, as it was written down.

        Raises:
            ServiceUnreachable: it was certainly not sent.
            ServiceRejected: it was refused before any effect; with `retry_after`, for now.
            Exception: anything else leaves the effect in doubt.
        """

    def verify(self, outside: Any, intent: Intent) -> Verdict:
        """Look whether the call happened; change nothing."""
        del outside, intent
        return Unknown(f"{self.name} cannot be looked up")

    def read_baseline(self, outside: Any, agent_id: str) -> Any:
        """Read the remote's state before the call, for `verify` to compare with; plain values."""
        del outside, agent_id
        return None

    def hold(self) -> Money | None:
        """Return the most that it may cost, to be held until the outcome is known; None when that is not known."""
        return None

    def serial_key(self) -> str | None:
        """Return a key of which one effect of the agent is open at a time; None where any number may be.

        For operations whose effects could not be told apart.
        """
        return None

    def invalidates(self, agent_id: str) -> Sequence[AgentService]:
        """Return the agents and services with cached states that an attempt may change."""
        return [(agent_id, self.service)]

    def postings(self, receipt: R) -> Sequence[Line] | None:
        """Return the ledger lines of the receipt, as if nothing had been held; None: the hold was spent."""
        del receipt
        return None

    def credits(self, receipt: R) -> Sequence[Credit]:
        """Return the ledger lines of the receipt for other agents."""
        del receipt
        return ()

    def store_receipt(self, receipt: R) -> Any:
        """Return the receipt as it is to be stored."""
        return receipt

    def load_receipt(self, stored: Any) -> R:
        """Return the receipt that `store_receipt` made `stored` from; raises InvalidInput."""
        receipt: R = stored
        return receipt


@dataclass(frozen=True, kw_only=True, eq=False)
class FunctionCall(Operation[R]):
    """A function of the caller's as an operation; made by `call`, which explains the fields."""

    function: Callable[[str], R] | Callable[[str], Coroutine[Any, Any, R]]
    service: str
    name: str = "call"
    guarantee: Guarantee = Guarantee.BLIND
    given: Mapping[str, Any] = field(default_factory=dict)
    look: Callable[[Intent], Verdict] | None = None
    amount: Money | None = None
    book: Postings | None = None
    follow_up: FollowUp | None = None
    baseline: Any = None
    serial: str | None = None
    deadline_s: float = 30.0
    settle_s: float = 35.0
    is_coroutine: bool = False
    needs_outside: ClassVar[bool] = False

    @property
    def is_verifiable(self) -> bool:
        """Whether a function that looks was given."""
        return self.look is not None

    def params(self) -> Mapping[str, Any]:
        """Return the parameters that were given for the fingerprint."""
        return self.given

    def send(self, outside: Any, intent: Intent) -> R:
        """Call the function with the key for the remote."""
        del outside
        receipt: Any = self.function(intent.remote_key)
        return receipt  # type: ignore[no-any-return]  # a coroutine when `is_coroutine`, which the engine awaits

    def verify(self, outside: Any, intent: Intent) -> Verdict:
        """Ask the function that was given for it."""
        return super().verify(outside, intent) if self.look is None else self.look(intent)

    def read_baseline(self, outside: Any, agent_id: str) -> Any:
        """Return the baseline that was given."""
        del outside, agent_id
        return self.baseline

    def hold(self) -> Money | None:
        """Return the amount that was given."""
        return self.amount

    def serial_key(self) -> str | None:
        """Return the serial key that was given."""
        return self.serial

    def invalidates(self, agent_id: str) -> Sequence[AgentService]:
        """Return nothing: the caller knows which states its function changes."""
        del agent_id
        return ()

    def postings(self, receipt: R) -> Sequence[Line] | None:
        """Return the lines that the given function makes of the receipt."""
        return None if self.book is None else self.book(receipt)


@overload
def call(
    function: Callable[[str], Coroutine[Any, Any, R]],
    *,
    service: str,
    guarantee: Guarantee = ...,
    params: Mapping[str, Any] | None = ...,
    verify: Callable[[Intent], Verdict] | None = ...,
    hold: Money | None = ...,
    postings: Callable[[R], Sequence[Line]] | None = ...,
    follow_up: Callable[[Transaction, R], None] | None = ...,
    baseline: Any = ...,
    serial_key: str | None = ...,
    deadline_s: float = ...,
    settle_s: float = ...,
    name: str = ...,
) -> FunctionCall[R]: ...
@overload
def call(
    function: Callable[[str], R],
    *,
    service: str,
    guarantee: Guarantee = ...,
    params: Mapping[str, Any] | None = ...,
    verify: Callable[[Intent], Verdict] | None = ...,
    hold: Money | None = ...,
    postings: Callable[[R], Sequence[Line]] | None = ...,
    follow_up: Callable[[Transaction, R], None] | None = ...,
    baseline: Any = ...,
    serial_key: str | None = ...,
    deadline_s: float = ...,
    settle_s: float = ...,
    name: str = ...,
) -> FunctionCall[R]: ...
def call(
    function: Callable[[str], Any],
    *,
    service: str,
    guarantee: Guarantee = Guarantee.BLIND,
    params: Mapping[str, Any] | None = None,
    verify: Callable[[Intent], Verdict] | None = None,
    hold: Money | None = None,
    postings: Callable[[Any], Sequence[Line]] | None = None,
    follow_up: Callable[[Transaction, Any], None] | None = None,
    baseline: Any = None,
    serial_key: str | None = None,
    deadline_s: float = 30.0,
    settle_s: float = 35.0,
    name: str = "call",
) -> FunctionCall[Any]:
    """Make an operation of a function of your own, to be executed once by `agent.effects.execute_once`.

    Args:
        function: makes the call. It is given the key for the remote (40 hex digits, the same at every attempt) and
            returns the receipt; a coroutine function goes to `execute_once_async`.
        service: where it happens, and where the money is held.
        guarantee: what the remote does for us; decides what may follow a lost answer.
        params: what the call does; the same key with other parameters is refused. No secrets: they are stored.
        verify: looks whether the call happened, changing nothing; needed for VERIFIABLE.
        hold: the most that it may cost; moved from available to in flight until the outcome is known.
        postings: the ledger lines of a receipt, as if nothing had been held; without it the hold was spent.
        follow_up: writes more in the transaction of the outcome. It is not called when a worker settles the effect.
        baseline: what the remote showed before, for `verify` to compare with.
        serial_key: effects of one agent with the same one are never open together.
        deadline_s: longest duration of `function`, in seconds; it has to keep to that by its own timeouts.
        settle_s: seconds after that from which "it is not there" is conclusive.
        name: the name of the operation in lists and reports.

    Example:
        mail = call(send, service="mail", guarantee=Guarantee.VERIFIABLE, verify=was_sent, params={"to": address})
        agent.effects.execute_once("mail:7", mail)
    """
    return FunctionCall(
        function=function,
        service=service,
        name=name,
        guarantee=Guarantee(guarantee),
        given=params or {},
        look=verify,
        amount=None if hold is None else parse_money(hold),
        book=postings,
        follow_up=follow_up,
        baseline=baseline,
        serial=serial_key,
        deadline_s=deadline_s,
        settle_s=settle_s,
        is_coroutine=iscoroutinefunction(function),
    )


class OperationRegistry:
    """Operations by name, so that a stored effect leads back to the code that sends, looks and books."""

    def __init__(self) -> None:
        self._by_name: dict[str, type[Operation[Any]]] = {}

    def add(self, operation: type[Operation[Any]]) -> None:
        """Register a class of operations.

        Raises:
            ConfigurationError: its name belongs to another class, or its guarantee is unknown.
        """
        if self._by_name.setdefault(operation.name, operation) is not operation:
            raise ConfigurationError(f"two operations are named {operation.name!r}.")
        if operation.guarantee not in set(Guarantee):
            raise ConfigurationError(f"operation {operation.name!r}: unknown guarantee {operation.guarantee!r}.")

    def find(self, name: str) -> type[Operation[Any]] | None:
        """Return the class of operations named `name`; None when this process does not know it."""
        return self._by_name.get(name)

    def parse(self, name: str, params: Mapping[str, Any]) -> Operation[Any]:
        """Make the operation `name` with these parameters.

        Raises:
            NotFound: no such operation is registered. InvalidInput: a parameter is wrong or missing.
        """
        found = self._by_name.get(name)
        if found is None:
            raise NotFound(f"no operation {name!r}; known are {', '.join(self.names()) or 'none'}.")
        return found.parse(params)

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self._by_name)
