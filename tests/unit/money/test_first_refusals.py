"""A refusal that may be a success is looked into: done, not done, or in doubt when looking cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from agentstate.clock import utc_now
from agentstate.errors import ServiceInDoubt, ServiceReadFailed, ServiceRejected
from agentstate.money.effects.operation import Intent
from agentstate.money.effects.verdicts import Absent, Applied, Guarantee, Unknown
from agentstate.services.operations.base import ServiceOperation
from agentstate.services.operations.receipts import Receipt
from agentstate.services.wire import Answer


class RefusingGateway:
    """A gateway at which every operation is refused with one code."""

    settle_scale = 1.0

    def __init__(self, code: str) -> None:
        self._code = code

    def act(self, asked: Any) -> Any:
        raise ServiceRejected("refused", code=self._code)

    def now(self) -> Any:
        return utc_now()


@dataclass(frozen=True, kw_only=True)
class Release(ServiceOperation[Receipt]):
    """An operation whose verification finds what a test says."""

    name = "escrow.release"
    guarantee = Guarantee.NATURAL
    already = frozenset({"invalid_status"})
    finds: ClassVar[Any]
    looked: ClassVar[list[Intent]]

    def build_body(self, tag: str) -> dict[str, Any]:
        return {}

    def read_receipt(self, answer: Answer) -> Receipt:
        raise NotImplementedError

    def verify(self, outside: Any, intent: Intent) -> Any:
        self.looked.append(intent)
        if isinstance(self.finds, Exception):
            raise self.finds
        return self.finds


def refusing(code: str, finds: Any) -> tuple[Release, RefusingGateway]:
    Release.finds, Release.looked = finds, []
    return Release(), RefusingGateway(code)


def ask(refused: tuple[Release, RefusingGateway], baseline: Any = True) -> Any:
    operation, gateway = refused
    intent = Intent(
        agent_id="ag", key="k", remote_key="tag", params={}, attempt=1, called_at=utc_now(), baseline=baseline
    )
    return operation.send(gateway, intent)  # type: ignore[arg-type]  # stands in for the gateway


def test_what_was_done_after_all_is_a_success() -> None:
    assert ask(refusing("invalid_status", Applied(Receipt(reference="e1")))) == Receipt(reference="e1")


@pytest.mark.parametrize("finds", [Absent("not there"), Unknown("somebody else's")])
def test_what_was_not_done_is_refused(finds: Any) -> None:
    with pytest.raises(ServiceRejected):
        ask(refusing("invalid_status", finds))


@pytest.mark.parametrize("finds", [ServiceReadFailed("502"), Unknown("not yet", settles_in_s=5.0)])
def test_what_cannot_be_told_now_is_in_doubt(finds: Any) -> None:
    with pytest.raises(ServiceInDoubt, match="may be its own success"):
        ask(refusing("invalid_status", finds))


@pytest.mark.parametrize(("code", "baseline"), [("not_creator", True), ("invalid_status", None)])
def test_any_other_refusal_is_not_looked_into(code: str, baseline: Any) -> None:
    operation = refusing(code, Applied({}))
    with pytest.raises(ServiceRejected):
        ask(operation, baseline)
    assert operation[0].looked == []
