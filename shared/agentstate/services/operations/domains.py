"""Domains: the name itself is the key; a name that is gone is ours only when our list has it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown, Verdict
from agentstate.services.http.gateway import Gateway
from agentstate.services.http.json_wire import Body
from agentstate.services.operations.answer import Answer
from agentstate.services.operations.base import Baseline, Case, Operation
from agentstate.services.operations.funding import Deposit
from agentstate.services.operations.names import Service
from agentstate.services.operations.params import Params
from agentstate.services.operations.receipt import Receipt

SKEW = timedelta(seconds=2)
"""How far the service's clock may be behind ours, where nothing was noted before the call."""


class Register(Operation):
    """Buy a domain for a year. Params: `domain`."""

    name = "domains.register"
    guarantee = Guarantee.NATURAL
    settle_s = 60.0
    refusals = frozenset({"invalid_domain", "domain_unavailable", "insufficient_balance", "availability_check_failed"})
    already = frozenset({"domain_unavailable"})
    reference = "domain"

    def request(self, tag: str, params: Params) -> Body:
        """Only the name."""
        del tag
        return {"domain": params.text("domain").lower()}

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """The price has left the account."""
        price = answer.micros("price_paid")
        return self.made(answer.text("domain_id"), debited=price, domain=body["domain"])

    def baseline(self, gateway: Gateway, agent_id: str, params: Mapping[str, Any]) -> Baseline:
        """Whether the agent had the name before the call."""
        domain = str(params.get("domain", "")).lower()
        return {"owned": any(row.get("domain") == domain for row in owned(gateway, agent_id))}

    def serial_key(self, params: Mapping[str, Any]) -> str:
        """One purchase an account: the real service loses debits of purchases that run together."""
        del params
        return "domains"

    def found(self, case: Case) -> Verdict:
        """In our list it is ours; free means that nothing happened; gone elsewhere is for a person."""
        domain = case.body["domain"]
        for row in owned(case.gateway, case.agent_id):
            if row.get("domain") == domain:
                return self._owned(row, case)
        if Answer(case.gateway.read(case.agent_id, self.service, "search", domain=domain)).flag("available"):
            return self.missing(case, f"{domain} is free")
        return Unknown(f"{domain} is taken and not in the agent's list: lost on the way, or somebody else's")

    def _owned(self, row: Answer, case: Case) -> Verdict:
        noted = case.baseline["owned"] if case.baseline is not None else None
        if noted if noted is not None else row.time("registered_at") < case.called_at - SKEW:
            return Absent("the agent had the name before this call, which was therefore refused")
        return Applied(self.receipt(row, case.body))


class Renew(Operation):
    """Renew a domain for a year. Params: `domain`. The services' own routes have none for it."""

    name = "domains.renew"
    guarantee = Guarantee.VERIFIABLE
    settle_s = 60.0
    refusals = frozenset({"invalid_domain", "domain_not_found", "insufficient_balance"})
    reference = "domain"

    def request(self, tag: str, params: Params) -> Body:
        """Only the name."""
        del tag
        return {"domain": params.text("domain").lower()}

    def receipt(self, answer: Answer, body: Body) -> Receipt:
        """The price has left the account."""
        price, until = answer.micros("price_paid"), answer.text("expires_at")
        return self.made(answer.text("domain_id"), debited=price, domain=body["domain"], expires_at=until)

    def baseline(self, gateway: Gateway, agent_id: str, params: Mapping[str, Any]) -> Baseline:
        """Until when the domain was paid before the call."""
        domain = str(params.get("domain", "")).lower()
        rows = [row for row in owned(gateway, agent_id) if row.get("domain") == domain]
        return {"expires_at": rows[0].text("expires_at") if rows else None}

    def serial_key(self, params: Mapping[str, Any]) -> str:
        """With the purchases: one at a time for an account."""
        del params
        return "domains"

    def found(self, case: Case) -> Verdict:
        """A later date of expiry than before is this renewal's, since no other ran beside it."""
        if case.baseline is None:
            return Unknown("nothing was noted before the call")
        for row in owned(case.gateway, case.agent_id):
            if row.get("domain") == case.body["domain"] and row.get("expires_at") != case.baseline["expires_at"]:
                return Applied(self.receipt(_renewal(row), case.body))
        return self.missing(case, "the domain expires when it did before")


def owned(gateway: Gateway, agent_id: str) -> list[Answer]:
    """The agent's domains."""
    return Answer(gateway.read(agent_id, Service.DOMAINS, "list")).items("domains")


def _renewal(row: Answer) -> Answer:
    return Answer(
        {name: row.get(name) for name in ("domain_id", "expires_at")} | {"price_paid": row.get("renewal_price")}
    )


register: Final = Register()
renew: Final = Renew()
deposit: Final = Deposit("domains.deposit")
