"""A refusal that may be a success is looked into: done, not done, or in doubt when looking cannot tell."""

from __future__ import annotations

from typing import Any

import pytest

from agentstate.clock import utc_now
from agentstate.errors import ServiceInDoubt, ServiceReadFailed, ServiceRejected
from agentstate.money.effects.operation import Intent
from agentstate.money.effects.operations import Operations
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown


class Refusing:
    """An operation that is refused, and what looking for it finds."""

    name = "escrow.release"
    service = "escrow"
    guarantee = Guarantee.NATURAL
    already = frozenset({"invalid_status"})

    def __init__(self, code: str, finds: Any) -> None:
        self.code, self.finds, self.looked = code, finds, 0

    def check(self, *_: Any, **__: Any) -> None:
        """Every parameter will do."""

    def call(self, *_: Any, **__: Any) -> Any:
        raise ServiceRejected("refused", code=self.code)

    def verify(self, *_: Any, **__: Any) -> Any:
        self.looked += 1
        if isinstance(self.finds, Exception):
            raise self.finds
        return self.finds


def ask(operation: Any, baseline: Any = True) -> Any:
    intent = Intent(
        agent_id="ag", key="k", remote_key="tag", params={}, attempt=1, called_at=utc_now(), baseline=baseline
    )
    return Operations([operation]).parse(operation.name, {}).send(None, intent)


def test_what_was_done_after_all_is_a_success() -> None:
    assert ask(Refusing("invalid_status", Applied({"a": 1}))) == {"a": 1}


@pytest.mark.parametrize("finds", [Absent("not there"), Unknown("somebody else's")])
def test_what_was_not_done_is_refused(finds: Any) -> None:
    with pytest.raises(ServiceRejected):
        ask(Refusing("invalid_status", finds))


@pytest.mark.parametrize("finds", [ServiceReadFailed("502"), Unknown("not yet", settles_in_s=5.0)])
def test_what_cannot_be_told_now_is_in_doubt(finds: Any) -> None:
    with pytest.raises(ServiceInDoubt, match="may be its own success"):
        ask(Refusing("invalid_status", finds))


@pytest.mark.parametrize(("code", "baseline"), [("not_creator", True), ("invalid_status", None)])
def test_any_other_refusal_is_not_looked_into(code: str, baseline: Any) -> None:
    operation = Refusing(code, Applied({}))
    with pytest.raises(ServiceRejected):
        ask(operation, baseline)
    assert operation.looked == 0
