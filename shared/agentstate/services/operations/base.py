"""Operations of the services as values: request, routes in both dialects, receipt and verification of each.

A class of operations is a frozen dataclass whose fields are checked when it is made. It says its request
(`build_body`), its own route (`own_path`, `call_own_route`; the gateway's route is its name), how its receipt is read
and, where a lost answer can be looked up, `verify`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Self, TypeVar, get_args

from agentstate.errors import InvalidInput, ServiceAnswerInvalid, ServiceError, ServiceInDoubt, ServiceRejected
from agentstate.money.amounts import Money, parse_money
from agentstate.money.effects.operation import AgentService, Intent, Operation
from agentstate.money.effects.verdicts import Absent, Applied, Unknown, Verdict
from agentstate.money.ledger.postings import Line
from agentstate.services.http.dialect import Instruction
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.own_request import OwnRequest
from agentstate.services.operations.fields import check_names, describe_fields, field_specs, parse_field
from agentstate.services.operations.names import Service
from agentstate.services.operations.receipts import Receipt, balance_lines, pack_receipt, unpack_receipt
from agentstate.services.wire import Answer, Body

R = TypeVar("R", bound=Receipt)

NO_BASELINE = Unknown(
    "nothing was noted before the call, so its effect cannot be told from an earlier one", is_final=True
)
"""The verdict without a baseline."""

_LONGEST_TAG = 200


class ServiceOperation(Operation[R]):
    """One change at a service.

    A subclass is decorated with `@dataclass(frozen=True, kw_only=True)`; its fields are described in
    `agentstate.services.operations.fields`.

    Attributes:
        name: `service.operation`, stable.
        guarantee: how a call that was cut off is settled.
        refusals: codes that prove that nothing happened.
        already: refusals that can be the answer to the second copy of a request whose first copy succeeded.
        settle_window_s: seconds after the call at which absence is conclusive. The services wait up to 30 s for their
            databases; what is not there 35 s after the call did not happen.
        reference: where the service keeps our tag, such as `client_seed`; None when it keeps none.
        serial: calls of one agent with the same word are never open together, since they could not be told apart.
        cost: the field with the most that it may cost, which is held; None when its price is known only afterwards.
        own_path: the path of its own route, where the request and the answer are the gateway's there too; else
            `call_own_route` says how it is called.
        has_gateway_route: whether the unified gateway has a route for it.
    """

    refusals: ClassVar[frozenset[str]] = frozenset()
    already: ClassVar[frozenset[str]] = frozenset()
    settle_window_s: ClassVar[float] = 35.0
    reference: ClassVar[str | None] = None
    serial: ClassVar[str | None] = None
    cost: ClassVar[str | None] = None
    own_path: ClassVar[str | None] = None
    has_gateway_route: ClassVar[bool] = True
    receipt_class: ClassVar[type[Receipt]] = Receipt
    settle_s: float = 0.0  # `verify` itself knows when absence is conclusive.

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in vars(cls):
            cls.service = cls.name.partition(".")[0]
        for base in vars(cls).get("__orig_bases__", ()):
            receipts = [part for part in get_args(base) if isinstance(part, type) and issubclass(part, Receipt)]
            cls.receipt_class = receipts[0] if receipts else cls.receipt_class

    def __new__(cls, *args: Any, **given: Any) -> Self:
        """Refuse misspelt and missing fields by name, before the dataclass would with a TypeError."""
        if args:
            raise InvalidInput(f"{cls.name}: give its fields by name: {', '.join(field_specs(cls))}. Nothing was sent.")
        check_names(cls, cls.name, given)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name, spec in field_specs(type(self)).items():
            object.__setattr__(self, name, parse_field(self.name, name, spec, getattr(self, name)))
        self.check_fields()

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return partial(type(self), **self.params()), ()

    @classmethod
    def route_name(cls) -> str:
        """Return the operation's name at its service, such as `bet`."""
        return cls.name.partition(".")[2]

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON schema of its fields."""
        return describe_fields(cls)

    @classmethod
    def has_own_route(cls) -> bool:
        """Return whether it can be asked for at the service's own routes."""
        return cls.own_path is not None or cls.call_own_route is not ServiceOperation.call_own_route

    @classmethod
    def is_serialised(cls) -> bool:
        """Return whether calls of one agent are kept apart."""
        return cls.serial is not None or cls.serial_key is not ServiceOperation.serial_key

    def check_fields(self) -> None:
        """Check fields against each other; raises InvalidInput."""

    def params(self) -> Mapping[str, Any]:
        """Return the fields that are set, as plain values and Money."""
        return {name: value for name in field_specs(type(self)) if (value := getattr(self, name)) is not None}

    @abstractmethod
    def build_body(self, tag: str) -> Body:
        """Return the request; `tag` goes wherever the service keeps it."""

    @abstractmethod
    def read_receipt(self, answer: Answer) -> R:
        """Read the receipt from an answer, or from a row like it; raises ServiceAnswerInvalid."""

    async def call_own_route(self, request: OwnRequest, body: Body) -> Body:
        """Send `body` to the service's own route, once; return an answer in the form that `read_receipt` reads."""
        return await request.send_operation(self.own_path or self.route_name(), body)

    def send(self, outside: Gateway, intent: Intent) -> R:
        """Send the operation once, in the gateway's dialect.

        Raises:
            ServiceUnreachable: nothing was sent.
            ServiceRejected: refused before any effect.
            ServiceInDoubt: it may have happened; `verify` finds out.
        """
        called_at = outside.now()
        try:
            answer = outside.act(self.build_instruction(intent.agent_id, intent.remote_key))
        except ServiceRejected as refused:
            if intent.baseline is None or refused.code not in self.already:
                raise
            return self._look_into_refusal(outside, replace(intent, called_at=called_at), refused)
        try:
            return self.read_receipt(Answer(answer))
        except ServiceAnswerInvalid as error:
            raise ServiceInDoubt(f"{self.name} was answered, but {error.message} Verify it.") from error

    def build_instruction(self, agent_id: str, tag: str) -> Instruction:
        """Return the instruction for the gateway; raises InvalidInput for a tag that no service would keep."""
        if not 0 < len(tag) <= _LONGEST_TAG or not tag.isprintable():
            raise InvalidInput(f"{self.name}: a tag is 1 to {_LONGEST_TAG} printable characters. Nothing was sent.")
        return Instruction(
            agent_id=agent_id,
            service=Service(self.service),
            operation=self.route_name(),
            body=self.build_body(tag),
            tag=tag,
            refusals=self.refusals,
            has_gateway_route=self.has_gateway_route,
            own_route=self.call_own_route if self.has_own_route() else None,
        )

    def hold(self) -> Money | None:
        """Return the amount of the field that `cost` names."""
        return None if self.cost is None else parse_money(getattr(self, self.cost))

    def serial_key(self) -> str | None:
        """Return `serial`; a subclass may make it depend on its fields."""
        return self.serial

    def find_counterparties(self) -> Sequence[str]:
        """Return the other agents of which it may move money."""
        return ()

    def invalidates(self, agent_id: str) -> Sequence[AgentService]:
        """Return the agent and its counterparties, each at this service."""
        return [(each, self.service) for each in (agent_id, *self.find_counterparties())]

    def postings(self, receipt: R) -> Sequence[Line]:
        """Return the lines for money that left the agent's balance and came onto it."""
        return balance_lines(self.service, receipt)

    def store_receipt(self, receipt: R) -> dict[str, Any]:
        """Return the receipt as a dict."""
        return pack_receipt(receipt)

    def load_receipt(self, stored: Any) -> R:
        """Return the receipt from its dict; raises InvalidInput."""
        receipt: Any = unpack_receipt(self.receipt_class, stored)
        return receipt  # type: ignore[no-any-return]  # of the class that the operation is declared with

    def read_view(self, outside: Gateway, agent_id: str, view: str = "state", **query: str) -> Answer:
        """Return a view of the operation's service; raises as `Gateway.read`."""
        return Answer(outside.read(agent_id, Service(self.service), view, **query))

    def is_settled(self, outside: Gateway, called_at: datetime) -> bool:
        """Return whether the settle window of a call is over."""
        return self._seconds_since(outside, called_at) >= self.settle_window_s * outside.settle_scale

    def absent_if_settled(self, outside: Gateway, intent: Intent, what: str) -> Absent | Unknown:
        """Return Absent once the settle window is over, Unknown before.

        Args:
            outside: the gateway.
            intent: the call.
            what: the thing that was not found, for the reason.
        """
        waited, window = self._seconds_since(outside, intent.called_at), self.settle_window_s * outside.settle_scale
        if waited >= window:
            return Absent(f"{what}, {waited:.0f} s after the call")
        return Unknown(f"{what} yet; it may still come", settles_in_s=window - waited)

    def unknown_for_good(self, outside: Gateway, intent: Intent, reason: str) -> Unknown:
        """Return Unknown, final once the settle window is over: no later look can tell more."""
        waited, window = self._seconds_since(outside, intent.called_at), self.settle_window_s * outside.settle_scale
        if waited >= window:
            return Unknown(reason, is_final=True)
        return Unknown(reason, settles_in_s=window - waited)

    def match_only_one(
        self,
        outside: Gateway,
        intent: Intent,
        new: Sequence[Answer],
        fits: Callable[[Answer], bool],
        what: str,
        *,
        all_shown: bool,
    ) -> Verdict:
        """Take the one new row that fits for ours.

        The call is absent only when there is nothing new at all: a new row that does not fit may be ours as the service
        changed it, so it keeps the effect in doubt, as does a list that may lack rows.
        """
        fitting = [row for row in new if fits(row)]
        if len(fitting) == 1:
            return Applied(self.read_receipt(fitting[0]))
        if new or not all_shown:
            shown = "" if all_shown else ", and more may be missing"
            reason = f"{len(new)} new {what}s are there, {len(fitting)} of them fit{shown}; look at {self.service}"
            return self.unknown_for_good(outside, intent, reason)
        return self.absent_if_settled(outside, intent, f"no new {what} is there")

    def _look_into_refusal(self, outside: Gateway, intent: Intent, refused: ServiceRejected) -> R:
        """Return the receipt when "already done" is the answer to the second copy of our own request.

        A proxy may deliver a request twice; the service does it once and refuses the copy, whose answer comes back.
        """
        try:
            verdict = self.verify(outside, intent)
        except ServiceError as error:
            verdict = Unknown(error.message, settles_in_s=self.settle_window_s)
        if isinstance(verdict, Applied):
            receipt: R = verdict.receipt
            return receipt
        if isinstance(verdict, Unknown) and verdict.settles_in_s is not None:
            raise ServiceInDoubt(
                f"{self.name} was refused with {refused.code}, which may be its own success: {verdict.reason}"
            )
        raise refused

    def _seconds_since(self, outside: Gateway, called_at: datetime) -> float:
        return (outside.now() - called_at).total_seconds()
