"""The parameters of an operation, checked before anything is sent: unknown, missing and wrong ones are refused."""

from __future__ import annotations

from collections.abc import Mapping

from agentstate.errors import AmountInvalid, InvalidInput
from agentstate.ids import validate_name
from agentstate.services.operations.amounts import to_micros

LONGEST_TEXT = 2_000
_SECRET = ("private_key", "mnemonic", "seed_phrase", "secret", "api_key", "password")


class Params:
    """Typed access to what the caller gave for one operation.

    Args:
        operation: its name, for error texts.
        given: the parameters.

    Raises:
        InvalidInput: a parameter is named like a secret; such a thing is never stored in an intent.
    """

    def __init__(self, operation: str, given: Mapping[str, object]) -> None:
        self._operation = operation
        self._given = dict(given)
        for name in given:
            if any(word in name.lower() for word in _SECRET):
                raise InvalidInput(
                    f"{operation} takes no {name}: a secret never goes into an intent. Nothing was sent."
                )

    def micros(self, name: str, *, least: int = 1) -> int:
        """An amount in dollars as micro-USDC, at least `least`."""
        micros = to_micros(self._given.pop(name, None), f"{self._operation}: {name}")
        if micros < least:
            raise AmountInvalid(f"{self._operation}: {name} is {micros} micro-USDC; at least {least} is needed.")
        return micros

    def text(self, name: str, default: str | None = None) -> str:
        """A text of 1 to 2,000 characters."""
        value = self._given.pop(name, default)
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TEXT:
            raise self._wrong(name, value, f"text of 1 to {LONGEST_TEXT} characters")
        return value

    def optional_text(self, name: str) -> str | None:
        """A text, or None when it was not given."""
        if self._given.get(name) is None:
            self._given.pop(name, None)
            return None
        return self.text(name)

    def referral(self) -> dict[str, str]:
        """The part of a request that says whose referral the agent is; empty when it is nobody's."""
        code = self.optional_text("referral_code")
        return {} if code is None else {"referral_code": code}

    def agent(self, name: str) -> str:
        """Another agent's id."""
        return validate_name(self.text(name), f"{self._operation}: {name}")

    def choice(self, name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """One of some words."""
        value = self._given.pop(name, default)
        if not isinstance(value, str) or value not in allowed:
            raise self._wrong(name, value, " or ".join(allowed))
        return value

    def whole(self, name: str, lowest: int, highest: int, default: int | None = None) -> int:
        """A whole number in a range."""
        value = self._given.pop(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise self._wrong(name, value, f"a whole number from {lowest} to {highest}")
        return value

    def done(self) -> None:
        """Refuse whatever was given and not asked for."""
        if self._given:
            names = ", ".join(sorted(self._given))
            raise InvalidInput(f"{self._operation} knows no parameter {names}. Nothing was sent.")

    def _wrong(self, name: str, value: object, wanted: str) -> InvalidInput:
        found = "is missing" if value is None else f"is {str(value)[:40]!r}"
        return InvalidInput(f"{self._operation}: {name} {found}; {wanted} is needed. Nothing was sent.")
