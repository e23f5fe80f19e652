"""A handler that is called with every update of an agent, in a thread that neither its errors nor Redis' end stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Protocol, Self

from agentstate.errors import AgentStateError, UpdatesLost
from agentstate.state.update_log import Update

_log = logging.getLogger(__name__)
_REST_S = 1.0


class UpdateSource(Protocol):
    """The updates of one agent, as a subscription reads them."""

    @property
    def agent_id(self) -> str:
        """The agent."""

    def last_seq(self) -> int:
        """Return the number of the newest update."""

    def listen(self, since: int | None = None, *, stop: threading.Event | None = None) -> Iterator[Update]:
        """Yield the updates after number `since` as they come, until `stop` is set."""


class Subscription:
    """A running subscription; a context manager that stops it.

    Attributes:
        seq: number of the last update that the handler was called with.
        errors: how many updates the handler failed at.
        lost: how many updates were no longer kept when this reader came to them.
    """

    def __init__(
        self,
        source: UpdateSource,
        handler: Callable[[Update], object],
        seq: int,
        on_error: Callable[[Update, Exception], object] | None,
    ) -> None:
        self.seq, self.errors, self.lost = seq, 0, 0
        self._source, self._handler, self._on_error = source, handler, on_error
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run_loop, name=f"updates-{source.agent_id}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """Whether updates are still handed on."""
        return self._thread.is_alive()

    def lag(self) -> int:
        """Return the number of updates that wait for this reader."""
        return self._source.last_seq() - self.seq

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Stop after the present update; return whether it ended within `timeout_s` seconds."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run_loop(self) -> None:
        while not self._stop.is_set():
            try:
                for update in self._source.listen(self.seq, stop=self._stop):
                    self._handle_update(update)
                    if self._stop.is_set():
                        return
            except UpdatesLost as error:
                _log.error("%s", error)
                self.lost += error.resume_from - self.seq
                self.seq = error.resume_from
            except AgentStateError as error:
                _log.warning("updates of %s cannot be read for now: %s", self._source.agent_id, error)
                self._stop.wait(_REST_S)

    def _handle_update(self, update: Update) -> None:
        try:
            self._handler(update)
        except Exception as error:  # noqa: BLE001 a handler's error must not end what comes after it
            self.errors += 1
            _log.exception("a handler failed at update %d of %s", update.seq, update.agent_id)
            try:
                if self._on_error is not None:
                    self._on_error(update, error)
            except Exception:  # noqa: BLE001 as above
                _log.exception("the error handler failed at update %d of %s", update.seq, update.agent_id)
        self.seq = update.seq
