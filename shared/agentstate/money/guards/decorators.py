"""Guards around functions of one's own.

`max_bet_guard` is a convenience against mistakes, within one process: whoever can run code in the process can reach
around any decorator. The durable rules of `Guards` are the wall: they are checked with the money, in the database.
"""

from __future__ import annotations

import functools
import inspect
from asyncio import to_thread
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

from agentstate.errors import LimitExceeded
from agentstate.money.amounts import DEFAULT_CURRENCY, Amount, Money, parse_money, require_positive
from agentstate.money.guards.arguments import AmountArgument

P = ParamSpec("P")
T = TypeVar("T")

Around: TypeAlias = Callable[[Money], AbstractContextManager[object]]


def max_bet_guard(
    max_usdc: Amount = "100", *, parameter: str = "amount", currency: str = DEFAULT_CURRENCY
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Refuse calls of a function, plain or async, with more than `max_usdc` in its parameter `parameter`.

    The amount is found by its name, positional or not, and has to be an exact amount above zero; the function gets it
    as it was given. Holds for this process alone; see the module's words.

    Raises:
        AmountInvalid: the limit is no exact amount above zero. ConfigurationError: there is no such parameter.
        When called, AmountInvalid: the amount is not one above zero. LimitExceeded: it is above the limit.
    """
    limit = require_positive(parse_money(max_usdc, currency), "limit")

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        argument = AmountArgument(function, parameter, limit.currency)
        name = getattr(function, "__qualname__", repr(function))
        return _before(function, lambda args, kwargs: _refuse_above(limit, argument.of(args, kwargs), name), argument)

    return decorate


def guarded(
    around: Around, *, parameter: str, currency: str = DEFAULT_CURRENCY
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Run a function, plain or async, within `around(amount)`."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        argument = AmountArgument(function, parameter, currency)
        return _within(function, around, argument)

    return decorate


def _refuse_above(limit: Money, amount: Money, name: str) -> None:
    if amount > limit:
        raise LimitExceeded(
            f"{name} with {amount} is over its limit of {limit} for one call. It was not called.",
            rule="max_bet_guard",
            limit=limit,
            used=Money.zero(limit.currency),
            asked=amount,
        )


def _before(
    function: Callable[P, T], check: Callable[[tuple[Any, ...], dict[str, Any]], None], argument: AmountArgument
) -> Callable[P, T]:
    @functools.wraps(function)
    def plain(*args: P.args, **kwargs: P.kwargs) -> T:
        check(args, kwargs)
        return function(*args, **kwargs)

    @functools.wraps(function)
    async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
        check(args, kwargs)
        return await cast("Any", function(*args, **kwargs))

    return _presented(function, plain, awaited, argument)


def _within(function: Callable[P, T], around: Around, argument: AmountArgument) -> Callable[P, T]:
    @functools.wraps(function)
    def plain(*args: P.args, **kwargs: P.kwargs) -> T:
        with around(argument.of(args, kwargs)):
            return function(*args, **kwargs)

    @functools.wraps(function)
    async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
        use = around(argument.of(args, kwargs))
        await to_thread(use.__enter__)
        try:
            return await cast("Any", function(*args, **kwargs))
        finally:
            await to_thread(use.__exit__, None, None, None)

    return _presented(function, plain, awaited, argument)


def _presented(
    function: Callable[P, T], plain: Callable[P, T], awaited: Callable[P, Any], argument: AmountArgument
) -> Callable[P, T]:
    """The wrapper that fits, with the function's signature but no way to the function itself."""
    wrapper: Any = awaited if inspect.iscoroutinefunction(function) else plain
    wrapper.__dict__.pop("__wrapped__", None)
    wrapper.__signature__ = argument.signature
    return cast("Callable[P, T]", wrapper)
