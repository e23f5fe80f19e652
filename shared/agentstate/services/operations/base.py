"""What an operation is: how it is asked for, what its answer says, and how to find out whether it happened.

An operation is one object without state. `call` sends it once; `verify` reads the service and gives a verdict, so that
whoever keeps the intents can settle a call that was cut off. Its `guarantee` says which of the two may follow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, TypeAlias

from agentstate.errors import InvalidInput, ServiceAnswerInvalid, ServiceInDoubt
from agentstate.money.amounts import Money
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown, Verdict
from agentstate.money.ledger.postings import Credit, Line
from agentstate.services.http.dialect import Instruction
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.bookings import balance_lines
from agentstate.services.operations.names import Service
from agentstate.services.operations.params import Params
from agentstate.services.operations.receipt import Receipt

Baseline: TypeAlias = dict[str, Any]
"""What stood at the service before the call, fit for JSON; kept with the intent."""

SETTLE_S = 35.0
"""The services wait up to 30 s for their databases; what is not there 35 s after the call did not happen."""

LONGEST_TAG = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A call that was cut off, as `verify` was told of it; `body` is the request that it sent."""

    gateway: Gateway
    agent_id: str
    tag: str
    body: Body
    called_at: datetime
    baseline: Baseline | None


class Operation(ABC):
    """One kind of request that changes something at a service.

    Attributes:
        name: `service.operation`, stable.
        guarantee: how a call that was cut off is settled.
        refusals: codes that prove that nothing happened.
        already: refusals that, on a second attempt, may be the first attempt's success: verify before failing.
        settle_s: seconds after the call at which absence is conclusive.
        cost: the parameter that is the most it can cost; None when its price is known only afterwards.
        reference: where the service keeps our tag, such as `client_seed`; None when it keeps none.
    """

    name: ClassVar[str]
    guarantee: ClassVar[Guarantee]
    refusals: ClassVar[frozenset[str]] = frozenset()
    already: ClassVar[frozenset[str]] = frozenset()
    settle_s: ClassVar[float] = SETTLE_S
    cost: ClassVar[str | None] = None
    reference: ClassVar[str | None] = None

    @property
    def service(self) -> Service:
        """Where it is done."""
        return Service(self.name.partition(".")[0])

    @property
    def route(self) -> str:
        """The operation's name at the gateway."""
        return self.name.partition(".")[2]

    def check(self, tag: str, **params: Any) -> Body:
        """The request that `call` would send; InvalidInput when a parameter is wrong. Sends nothing."""
        if not 0 < len(tag) <= LONGEST_TAG or not tag.isprintable():
            raise InvalidInput(f"{self.name}: a tag is 1 to {LONGEST_TAG} printable characters. Nothing was sent.")
        given = Params(self.name, params)
        body = self.request(tag, given)
        given.done()
        return body

    def call(self, gateway: Gateway, agent_id: str, tag: str, **params: Any) -> Receipt:
        """Do it, once.

        Args:
            gateway: the way to the service.
            agent_id: who does it.
            tag: the intent's name; sent along wherever the service keeps it.
            **params: see the operation's own docstring. Amounts are Decimal in dollars.

        Raises:
            InvalidInput: a parameter is wrong; nothing was sent.
            ServiceUnreachable: nothing was sent.
            ServiceRejected: refused before any effect.
            ServiceInDoubt: it may have happened; `verify` finds out.
        """
        body = self.check(tag, **params)
        answer = gateway.act(
            Instruction(
                agent_id=agent_id,
                service=self.service,
                operation=self.route,
                body=body,
                tag=tag,
                refusals=self.refusals,
            )
        )
        try:
            return self.receipt(Answer(answer), body)
        except ServiceAnswerInvalid as error:
            raise ServiceInDoubt(f"{self.name} was answered, but {error.message} Verify it.") from error

    def baseline(self, gateway: Gateway, agent_id: str, params: Mapping[str, Any]) -> Baseline | None:
        """What to keep with the intent before the call, where `verify` needs it; None where it does not."""
        del gateway, agent_id, params
        return None

    def verify(
        self,
        gateway: Gateway,
        agent_id: str,
        tag: str,
        params: Mapping[str, Any],
        called_at: datetime,
        *,
        baseline: Baseline | None = None,
    ) -> Verdict:
        """Find out whether a call that was cut off has happened. Changes nothing.

        Args:
            gateway: the way to the service.
            agent_id: who called.
            tag: the intent's name, as it was given to `call`.
            params: the parameters of the call.
            called_at: a moment not after the first byte was sent, and of the last attempt when there were several.
            baseline: what `baseline` gave before the call.

        Raises:
            ServiceUnreachable, ServiceRejected, ServiceReadFailed: the service cannot be read; nothing is known.
        """
        body = self.check(tag, **params)
        return self.found(
            Case(gateway=gateway, agent_id=agent_id, tag=tag, body=body, called_at=called_at, baseline=baseline)
        )

    def serial_key(self, params: Mapping[str, Any]) -> str | None:
        """Calls of one agent with the same key must not be in flight together; None where any number may."""
        del params
        return None

    def hold(self, params: Mapping[str, Any]) -> Money | None:
        """The most that it may cost, where the parameters tell."""
        return None if self.cost is None else Money(params[self.cost])

    def postings(self, params: Mapping[str, Any], receipt: Receipt) -> Sequence[Line]:
        """What the receipt moved for the agent: off its balance and onto it."""
        del params
        return balance_lines(receipt)

    def credits(self, params: Mapping[str, Any], receipt: Receipt) -> Sequence[Credit]:
        """What the receipt moved for other agents."""
        del params, receipt
        return ()

    @abstractmethod
    def request(self, tag: str, params: Params) -> Body:
        """The wire request for checked parameters."""

    @abstractmethod
    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """What the answer to `body` says was done."""

    @abstractmethod
    def found(self, case: Case) -> Verdict:
        """The verdict for a call that was cut off."""

    def made(self, reference: str, *, debited: int = 0, credited: int = 0, fee: int = 0, **facts: str | int) -> Receipt:
        """A receipt; amounts in micro-USDC."""
        amounts = {"debited": debited, "credited": credited, "fee": fee}
        return {"operation": self.name, "reference": reference, **amounts, **facts}

    def only_one(self, case: Case, fitting: Sequence[Answer], what: str, *, all_shown: bool) -> Verdict:
        """The one new row that fits is ours; several tell nothing, nor does none where not all rows are shown."""
        if len(fitting) == 1:
            return Applied(self.receipt(fitting[0], case.body))
        if fitting or not all_shown:
            return Unknown(f"{len(fitting)} new {what}s fit; look at the {self.service} service")
        return self.missing(case, f"no new {what} that fits is there")

    def missing(self, case: Case, what: str) -> Absent | Unknown:
        """Absent once the settle time is over, Unknown before."""
        waited = (case.gateway.now() - case.called_at).total_seconds()
        settled = self.settle_s * case.gateway.settle_scale
        if waited >= settled:
            return Absent(f"{what}, {waited:.0f} s after the call")
        return Unknown(f"{what} yet; it may still come", settles_in_s=settled - waited)
