"""Fields of operations: a field's annotation is the rule that its value is checked by when the operation is made.

`Dollars` and `Cents` are amounts, `Text` is 1 to 2,000 characters, `AgentId` another agent, `Literal["heads", "tails"]`
one of some words, and `Annotated[int, Range(2, 98)]` a whole number. With `| None = None` a field may be left out. The
JSON schema of an operation comes from the same rules.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Protocol, TypeAlias, get_args, get_origin, get_type_hints

from agentstate.errors import AmountInvalid, ConfigurationError, InvalidInput
from agentstate.money.amounts import Amount, Money, parse_decimal, parse_money

LONGEST_TEXT = 2_000
_SECRET_WORDS = ("private_key", "mnemonic", "seed_phrase", "secret", "api_key", "password")
_LARGEST: Final = Money("1000000000000")


class Rule(Protocol):
    """The rule of a field."""

    def parse_value(self, value: Any) -> Any:
        """Return the value as the operation keeps it; raise InvalidInput with a text that follows the field's name."""

    def describe_value(self) -> Mapping[str, Any]:
        """Return the JSON schema of the value."""


@dataclasses.dataclass(frozen=True)
class AmountRule:
    """Money in dollars (USDC): Money, Decimal, int or plain decimal text; kept as Money.

    Attributes:
        least: the smallest amount.
        step: the amount is a whole multiple of it.
    """

    least: str = "0.000001"
    step: str = "0.000001"

    def parse_value(self, value: Any) -> Money:
        """Return the amount, exactly."""
        least, step = Money(self.least), Money(self.step)
        try:
            money = parse_money(value)
            in_range = least <= money <= _LARGEST
        except AmountInvalid as error:
            raise AmountInvalid(f"is refused: {error.message}") from None
        if not in_range:
            raise AmountInvalid(f"is {money}; {least} to {_LARGEST} is needed.")
        if money.minor % step.minor:
            raise AmountInvalid(f"is {money}; a multiple of {step} is needed.")
        return money

    def describe_value(self) -> Mapping[str, Any]:
        """Return the schema of decimal text, which keeps every digit."""
        return {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$", "description": f"dollars, at least {self.least}"}


@dataclasses.dataclass(frozen=True)
class AssetAmountRule:
    """An amount of an asset that another field names, in whole units; the operation gives it its currency."""

    def parse_value(self, value: Any) -> Money | Decimal:
        """Return the number, exactly; Money as it is."""
        amount = value if isinstance(value, Money) else parse_decimal(value)
        if (amount.minor if isinstance(amount, Money) else amount) <= 0:
            raise AmountInvalid(f"is {amount}; more than 0 is needed.")
        return amount

    def describe_value(self) -> Mapping[str, Any]:
        """Return the schema of decimal text, which keeps every digit."""
        return {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$", "description": "whole units of the asset, above 0"}


@dataclasses.dataclass(frozen=True)
class Range:
    """A whole number from `lowest` to `highest`."""

    lowest: int
    highest: int

    def parse_value(self, value: Any) -> int:
        """Return the number; bool is refused."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.lowest <= value <= self.highest:
            raise InvalidInput(
                f"is {str(value)[:40]!r}; a whole number from {self.lowest} to {self.highest} is needed."
            )
        return value

    def describe_value(self) -> Mapping[str, Any]:
        """Return the schema of an integer."""
        return {"type": "integer", "minimum": self.lowest, "maximum": self.highest}


@dataclasses.dataclass(frozen=True)
class TextRule:
    """Text of 1 to 2,000 characters that matches `pattern` as a whole, where one is given; `what` explains it."""

    pattern: str = ""
    what: str = f"text of 1 to {LONGEST_TEXT} characters"

    def parse_value(self, value: Any) -> str:
        """Return the text as it is."""
        fits = isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT
        if not fits or (self.pattern and not re.fullmatch(self.pattern, value)):
            raise InvalidInput(f"is {str(value)[:60]!r}; {self.what} is needed.")
        text: str = value
        return text

    def describe_value(self) -> Mapping[str, Any]:
        """Return the schema of text."""
        pattern = {"pattern": f"^(?:{self.pattern})$"} if self.pattern else {}
        return {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT, **pattern}


@dataclasses.dataclass(frozen=True)
class ChoiceRule:
    """One of some words; the rule of a `Literal`."""

    words: tuple[str, ...]

    def parse_value(self, value: Any) -> str:
        """Return the word."""
        if not isinstance(value, str) or value not in self.words:
            raise InvalidInput(f"is {str(value)[:40]!r}; {' or '.join(self.words)} is needed.")
        return value

    def describe_value(self) -> Mapping[str, Any]:
        """Return the schema of an enumeration."""
        return {"type": "string", "enum": list(self.words)}


Dollars: TypeAlias = Annotated[Amount, AmountRule()]
"""An amount above zero; read it with `parse_money`."""

Cents: TypeAlias = Annotated[Amount, AmountRule(least="0.01", step="0.01")]
"""An amount in whole cents."""

Text: TypeAlias = Annotated[str, TextRule()]
AgentId: TypeAlias = Annotated[str, TextRule(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,127}", "an agent id")]
"""The id of another agent."""


@dataclasses.dataclass(frozen=True)
class FieldSpec:
    """One field of an operation: its rule, and whether it has to be given."""

    rule: Rule
    required: bool
    default: Any


_specs_by_class: dict[type[Any], Mapping[str, FieldSpec]] = {}


def field_specs(cls: type[Any]) -> Mapping[str, FieldSpec]:
    """Return the fields of a dataclass by name, in order.

    Raises:
        ConfigurationError: a field is annotated with a type that has no rule.
    """
    if cls in _specs_by_class:
        return _specs_by_class[cls]
    hints = get_type_hints(cls, include_extras=True)
    specs = {}
    for field in dataclasses.fields(cls):
        rule = _find_rule(hints[field.name])
        if rule is None:
            raise ConfigurationError(f"{cls.__name__}.{field.name}: its type {field.type} has no rule; see `fields`.")
        required = field.default is dataclasses.MISSING
        specs[field.name] = FieldSpec(rule=rule, required=required, default=None if required else field.default)
    return _specs_by_class.setdefault(cls, MappingProxyType(specs))


def check_names(cls: type[Any], operation: str, given: Mapping[str, object]) -> None:
    """Refuse a field that is misspelt, missing, or named like a secret; raises InvalidInput or AmountInvalid."""
    specs = field_specs(cls)
    for name in given:
        if any(word in name.lower() for word in _SECRET_WORDS):
            raise InvalidInput(f"{operation} takes no {name}: a secret never goes into an intent. Nothing was sent.")
        if name not in specs:
            raise InvalidInput(
                f"{operation} has no field {name!r}; it has {', '.join(specs) or 'none'}. Nothing was sent."
            )
    for name, spec in specs.items():
        if spec.required and name not in given:
            fault = AmountInvalid if isinstance(spec.rule, AmountRule) else InvalidInput
            raise fault(f"{operation}: {name} is missing; it has {', '.join(specs)}. Nothing was sent.")


def parse_field(operation: str, name: str, spec: FieldSpec, value: Any) -> Any:
    """Return `value` checked by its rule; raises InvalidInput that names operation, field, value and limit."""
    if value is None and not spec.required and spec.default is None:
        return None
    try:
        return spec.rule.parse_value(value)
    except InvalidInput as error:
        raise type(error)(f"{operation}: {name} {error.message} Nothing was sent.") from None


def describe_fields(cls: type[Any]) -> dict[str, Any]:
    """Return the JSON schema of the fields of an operation."""
    specs = field_specs(cls)
    properties = {
        name: {**spec.rule.describe_value(), **({} if spec.default is None else {"default": spec.default})}
        for name, spec in specs.items()
    }
    required = [name for name, spec in specs.items() if spec.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _find_rule(hint: Any) -> Rule | None:
    """The rule of a type: in its `Annotated`, of its `Literal`, or of the part of a union that is not None."""
    if get_origin(hint) is Annotated:
        rules = [part for part in hint.__metadata__ if hasattr(part, "parse_value") and hasattr(part, "describe_value")]
        return rules[0] if rules else None
    if get_origin(hint) is Literal:
        return ChoiceRule(get_args(hint))
    parts = [part for part in get_args(hint) if part is not type(None)]
    return _find_rule(parts[0]) if len(parts) == 1 else None
