"""The guide's checkpoint manager: its name and its call, over effects.

Unlike the guide's, the key is the caller's and not made from the parameters: two equal bets that are both meant have
two keys, and a retry of one has the same. A result of None, {} or 0 counts as a result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agentstate.money.effects.engine import AgentEffects
from agentstate.money.effects.operation import call
from agentstate.money.effects.table import Effect


class CheckpointManager:
    """Executes operations of one agent at most once each."""

    def __init__(self, effects: AgentEffects) -> None:
        self._effects = effects

    def execute_once(
        self,
        key: str,
        operation: str,
        params: Mapping[str, Any],
        fn: Callable[..., Any],
        *,
        service: str = "wallet",
        key_as: str | None = None,
        **options: Any,
    ) -> Any:
        """Call `fn(**params)` once for `key`; return its stored result when it was called before.

        Args:
            key: the caller's name for this very execution.
            operation: what is executed.
            params: keyword arguments of `fn`; JSON, Decimal or datetime values.
            fn: makes the call.
            service: where it happens.
            key_as: the keyword under which `fn` takes the key for the remote, when it takes one.
            **options: as `call` (guarantee, hold, verify, postings, ...).

        Raises:
            As `AgentEffects.execute_once`.
        """

        def send(remote_key: str) -> Any:
            return fn(**params, **({} if key_as is None else {key_as: remote_key}))

        return self._effects.execute_once(key, call(send, service=service, name=operation, params=params, **options))

    def already_executed(self, key: str) -> Effect | None:
        """The effect under `key` when it has ended, with its `outcome`; None when it has not, or was never begun."""
        effect = self._effects.find(key)
        return effect if effect is not None and effect.is_ended else None
