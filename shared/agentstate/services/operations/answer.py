"""Typed access to a service's answer: a member that is missing or of the wrong kind is an error, never a default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from agentstate.errors import AmountInvalid, ServiceAnswerInvalid
from agentstate.money.amounts import Money
from agentstate.services.operations.amounts import round_to_micros

_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")


class Answer:
    """Typed access to one JSON object.

    Every method raises ServiceAnswerInvalid when the member is missing or of another kind; it names the member.
    """

    def __init__(self, body: object) -> None:
        if not isinstance(body, Mapping):
            raise ServiceAnswerInvalid(f"the answer has a {type(body).__name__} where an object belongs.")
        self._body: Mapping[str, Any] = body

    @property
    def body(self) -> Mapping[str, Any]:
        """The object as it came."""
        return self._body

    def get_text(self, name: str) -> str:
        """A text that is not empty."""
        value = self._body.get(name)
        if not isinstance(value, str) or not value:
            raise self._member_error(name, "text")
        return value

    def get_flag(self, name: str) -> bool:
        """True or false."""
        value = self._body.get(name)
        if not isinstance(value, bool):
            raise self._member_error(name, "true or false")
        return value

    def get_number(self, name: str) -> Decimal:
        """A number, also one written as text, as the wallet does."""
        value = self._body.get(name)
        if isinstance(value, str) and not _NUMBER.fullmatch(value):
            raise self._member_error(name, "a number")
        if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
            raise self._member_error(name, "a number")
        return Decimal(value)

    def get_micros(self, name: str) -> int:
        """A number of dollars as the nearest micro-USDC."""
        try:
            return round_to_micros(self.get_number(name))
        except AmountInvalid:
            raise self._member_error(name, "an amount below a trillion dollars") from None

    def get_money(self, name: str) -> Money:
        """A number of dollars as the nearest exact amount."""
        return Money.from_minor(self.get_micros(name))

    def get_time(self, name: str) -> datetime:
        """A time in ISO 8601, UTC when it names no zone."""
        try:
            when = datetime.fromisoformat(self.get_text(name))
        except ValueError:
            raise self._member_error(name, "a time in ISO 8601") from None
        return when if when.tzinfo else when.replace(tzinfo=UTC)

    def get_items(self, name: str) -> list[Answer]:
        """A list of objects."""
        value = self._body.get(name)
        if not isinstance(value, list):
            raise self._member_error(name, "a list")
        return [Answer(item) for item in value]

    def get_object(self, name: str) -> Answer:
        """An object inside this one."""
        return Answer(self._body.get(name))

    def has_member(self, name: str) -> bool:
        """Whether the member is there, null included."""
        return name in self._body

    def get(self, name: str) -> Any:
        """A member as it came, None when it is missing."""
        return self._body.get(name)

    def _member_error(self, name: str, wanted: str) -> ServiceAnswerInvalid:
        value = self._body.get(name)
        found = "is missing" if name not in self._body else f"is {str(value)[:40]!r}"
        return ServiceAnswerInvalid(f"in the service's answer `{name}` {found}; {wanted} was expected.")
