"""The gateway to the services: one pool of connections a process, in one dialect.

A request that was certainly not sent is ServiceUnreachable; one that a known code refused before any effect is
ServiceRejected; everything else about a money operation is ServiceInDoubt. A POST is never repeated here.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import SecretStr

from agentstate.clock import Clock, utc_now
from agentstate.errors import ServiceRejected
from agentstate.ids import validate_name
from agentstate.services.http.dialect import Dialect, Instruction, UnifiedGateway
from agentstate.services.http.exchange import Exchange, doubt_error, read_error
from agentstate.services.http.traffic import Traffic
from agentstate.services.http.transport import DEADLINE_S, AnswerLost, Transport
from agentstate.services.operations.names import Service
from agentstate.services.wire import Body


class Gateway:
    """Calls of the services, for any number of agents, threads and event loops.

    Args:
        base_url: of the unified gateway, such as `https://purpleflea.com/api/v1`.
        api_key: the unified gateway's key.
        dialect: another way to speak, in place of the two.
        deadline_s: longest time of one exchange in seconds, connecting and reading included. What takes several
            exchanges ends within twice as long.
        clock: present time, UTC.
        traffic: who lets requests pass: the limiter and the breaker of all processes.
        settle_scale: share of the operations' settle times after which absence is conclusive. Below 1 only against a
            sandbox that settles sooner than the services.
    """

    def __init__(
        self,
        base_url: str = "",
        api_key: SecretStr | None = None,
        *,
        dialect: Dialect | None = None,
        deadline_s: float = DEADLINE_S,
        clock: Clock = utc_now,
        traffic: Traffic | None = None,
        settle_scale: float = 1.0,
    ) -> None:
        self.dialect = dialect or UnifiedGateway(base_url, api_key or SecretStr(""))
        self.settle_scale = settle_scale
        self._clock = clock
        self._transport = Transport(self.dialect.urls, deadline_s=deadline_s)
        self._exchange = Exchange(self._transport, clock, traffic)

    @property
    def deadline_s(self) -> float:
        """Longest time of one exchange, in seconds."""
        return self._transport.deadline_s

    def mark(self, agent_id: str, service: Service) -> str:
        """A mark of the address, account and key that are used for an agent, the same in all processes that use them.

        It gives the key away to nobody.
        """
        return self.dialect.mark(agent_id, service)

    def now(self) -> datetime:
        """The present time, UTC."""
        return self._clock()

    def read(self, agent_id: str, service: Service, view: str = "state", **query: str) -> Body:
        """Read a view of an agent; every service has the view `state`.

        Raises:
            ServiceUnreachable: not sent.
            ServiceRejected: refused, such as an unknown agent, a wrong key or a rate limit (`retry_after`).
            ServiceReadFailed: no answer, or one that cannot be read (ServiceAnswerInvalid).
        """
        work = self.dialect.read(self._exchange, validate_name(agent_id), service, view, query)
        try:
            return self._transport.run_work(work)
        except AnswerLost as lost:
            raise read_error(service, lost) from lost

    def act(self, asked: Instruction) -> Body:
        """Do something, once.

        Raises:
            ServiceUnreachable: not sent.
            ServiceRejected: refused before any effect, also because this dialect has no such operation.
            ServiceInDoubt: anything else; it may have been applied.
        """
        validate_name(asked.agent_id)
        if not self.dialect.offers(gateway_route=asked.has_gateway_route, own_route=asked.own_route is not None):
            text = f"{asked.what} has no route in the dialect `{self.dialect.name}`. Nothing was sent."
            raise ServiceRejected(text, code="not_offered")
        try:
            return self._transport.run_work(self.dialect.act(self._exchange, asked))
        except AnswerLost as lost:
            raise doubt_error(asked.what, str(lost)) from lost

    def close(self) -> None:
        """Give up the connections; the next call opens new ones."""
        self._transport.close()
