"""Decorators for functions of one's own: a limit of one process, and the agent's durable limits.

`max_bet_guard` is a convenience against mistakes, within one process: code in the process can reach around any
decorator. The durable rules of `Guards` are the wall: they are checked with the money, in the database.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, ParamSpec, TypeVar, cast

from agentstate.errors import AmountInvalid, ConfigurationError, LimitExceeded
from agentstate.money.amounts import DEFAULT_CURRENCY, Amount, Money, parse_money, require_positive

P = ParamSpec("P")
T = TypeVar("T")


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

    def parse_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Money:
        """Return the amount of this call, above zero.

        Raises:
            AmountInvalid: it is missing or is no exact amount above zero. TypeError: as the call itself would.
        """
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = {**(bound.arguments.get(self._rest, {}) if self._rest else {}), **bound.arguments}
        if given.get(self._name) is None:
            raise AmountInvalid(f"{self._function} was called without {self._name!r}, so it was not called.")
        return require_positive(parse_money(given[self._name], self._currency), self._name)


def max_bet_guard(
    max_usdc: Amount = "100", *, parameter: str = "amount", currency: str = DEFAULT_CURRENCY
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Refuse calls of a function, plain or async, with more than `max_usdc` in its parameter `parameter`.

    The amount is found by its name, positional or not, and has to be an exact amount above zero; the function gets it
    as it was given. Holds in this process alone; for a limit of all processes see `Guards.guard`.

    Raises:
        AmountInvalid: the limit is no exact amount above zero. ConfigurationError: there is no such parameter.
        When called, AmountInvalid: the amount is not one above zero. LimitExceeded: it is above the limit.

    Example:
        @max_bet_guard("50")
        def place_bet(game: str, amount: Decimal) -> None: ...
    """
    limit = require_positive(parse_money(max_usdc, currency), "limit")

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        argument = AmountArgument(function, parameter, limit.currency)
        name = getattr(function, "__qualname__", repr(function))

        def check_amount(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            amount = argument.parse_call(args, kwargs)
            if amount > limit:
                raise LimitExceeded(
                    f"{name} with {amount} is over its limit of {limit} for one call. It was not called.",
                    rule="max_bet_guard",
                    limit=limit,
                    used=Money.zero(limit.currency),
                    asked=amount,
                )

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            check_amount(args, kwargs)
            return function(*args, **kwargs)

        @functools.wraps(function)
        async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            check_amount(args, kwargs)
            return await cast("Any", function(*args, **kwargs))

        return _choose_wrapper(function, call, call_async, argument)

    return decorate


def guard_calls(
    use: Callable[[Money], AbstractContextManager[object]],
    use_async: Callable[[Money], AbstractAsyncContextManager[object]],
    *,
    parameter: str,
    currency: str = DEFAULT_CURRENCY,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Run each call of a function within `use(amount)`, and each call of a coroutine function within `use_async`."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        argument = AmountArgument(function, parameter, currency)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            with use(argument.parse_call(args, kwargs)):
                return function(*args, **kwargs)

        @functools.wraps(function)
        async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            async with use_async(argument.parse_call(args, kwargs)):
                return await cast("Any", function(*args, **kwargs))

        return _choose_wrapper(function, call, call_async, argument)

    return decorate


def _choose_wrapper(
    function: Callable[P, T], plain: Callable[P, T], awaited: Callable[P, Any], argument: AmountArgument
) -> Callable[P, T]:
    """Return the wrapper that fits, with the function's signature but no way to the function itself."""
    wrapper: Any = awaited if inspect.iscoroutinefunction(function) else plain
    wrapper.__dict__.pop("__wrapped__", None)
    wrapper.__signature__ = argument.signature
    return cast("Callable[P, T]", wrapper)
