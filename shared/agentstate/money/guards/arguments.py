"""Finding the amount among the arguments of a call, wherever the caller put it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from agentstate.errors import AmountInvalid, ConfigurationError
from agentstate.money.amounts import Money, parse_money, require_positive


class AmountArgument:
    """The parameter of a function that holds an amount.

    Raises:
        ConfigurationError: the function has no parameter of this name, and takes no further keywords.
    """

    def __init__(self, function: Callable[..., Any], name: str, currency: str) -> None:
        self.signature = inspect.signature(function)
        self._function = getattr(function, "__qualname__", repr(function))
        self._name = name
        self._currency = currency
        kinds = {parameter.kind: key for key, parameter in self.signature.parameters.items()}
        self._rest = kinds.get(inspect.Parameter.VAR_KEYWORD)
        named = self.signature.parameters.get(name)
        if named is not None and named.kind in {named.VAR_KEYWORD, named.VAR_POSITIONAL}:
            named = None
        if named is None and self._rest is None:
            raise ConfigurationError(f"{self._function} has no parameter {name!r} to guard; name the one it has.")

    def of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Money:
        """The amount of this call, above zero.

        Raises:
            AmountInvalid: it is missing or is no exact amount above zero. TypeError: as the call itself would.
        """
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = {**(bound.arguments.get(self._rest, {}) if self._rest else {}), **bound.arguments}
        if given.get(self._name) is None:
            raise AmountInvalid(f"{self._function} was called without {self._name!r}, so it was not called.")
        return require_positive(parse_money(given[self._name], self._currency), self._name)
