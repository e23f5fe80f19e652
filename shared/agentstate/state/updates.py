"""Live updates of agents: published when the transaction commits, and readable from where a reader was.

The durable store numbers and keeps them; a stream in Redis brings them to readers at once. A reader that the stream
cannot serve (Redis was emptied or is away, or the reader was gone for long) is served from the store.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

from agentstate.errors import RedisUnavailable
from agentstate.ids import validate_name
from agentstate.state import update_log
from agentstate.state.secrecy import refuse_secrets
from agentstate.state.subscription import Subscription
from agentstate.state.update_group import UpdateGroup
from agentstate.state.update_log import Update
from agentstate.state.update_stream import KEPT, UpdateStream
from agentstate.store.store import Store, Transaction

BATCH = 100
"""Updates read in one step: so many a reader holds at most."""
WAIT_S = 1.0
"""How long one wait at Redis takes, and so the delay of a stop."""
LOOK_S = 5.0
"""A reader to whom nothing came looks into the store this often."""


class StateSync:
    """The updates of one agent. Safe to share between threads and processes."""

    def __init__(self, store: Store, stream_of: Callable[[str], UpdateStream], agent_id: str) -> None:
        self.agent_id = validate_name(agent_id)
        self._store = store
        self._stream = stream_of(agent_id)

    def publish_update(self, field: str, value: Any, *, tx: Transaction | None = None) -> Update:
        """Tell that a field has a value; readers learn it once the transaction is committed.

        Args:
            field: its name.
            value: what exact JSON can hold.
            tx: the caller's transaction: give the one that changes the state, and both happen or neither.

        Raises:
            InvalidInput: the name or value is refused, or looks like a secret; nothing was published.
        """
        validate_name(field, "field")
        refuse_secrets({field: value}, "an update")
        with self._store.transaction(tx) as opened:
            update = update_log.append_update(opened, self.agent_id, field, value)
            opened.after_commit(self.push_to_stream)
        return update

    def push_to_stream(self) -> None:
        """Bring the stream up to the store; raises RedisUnavailable."""
        top = self._stream.append_missing([])
        with self._store.read_connection() as connection:
            now = update_log.read_head(connection, self.agent_id)
            start = top if top >= 0 else max(now.seq - KEPT, now.removed_through)
            if start < now.removed_through or start >= now.seq:
                return
            entries = update_log.read_after(connection, self.agent_id, start, KEPT)
        self._stream.append_missing([(update.seq, update.to_json()) for update in entries])

    def last_seq(self) -> int:
        """Return the number of the newest update, 0 when there is none."""
        with self._store.read_connection() as connection:
            return update_log.read_head(connection, self.agent_id).seq

    def read_since(self, seq: int, limit: int = BATCH) -> list[Update]:
        """Return the updates after number `seq`, oldest first, at most `limit`.

        Raises:
            UpdatesLost: some of them are no longer kept. InvalidInput: `seq` was never reached.
        """
        with self._store.read_connection() as connection:
            return update_log.read_after(connection, self.agent_id, seq, limit)

    def listen(self, since: int | None = None, *, stop: threading.Event | None = None) -> Iterator[Update]:
        """Yield updates as they come, in order and none missed, until `stop` is set.

        Args:
            since: the number of the last update seen; left out, from now on.
            stop: ends the iteration within about a second.

        Raises:
            UpdatesLost: the reader is further behind than updates are kept. InvalidInput: `since` was never reached.
        """
        stop = stop or threading.Event()
        seq, looked = self.last_seq() if since is None else since, 0.0
        while not stop.is_set():
            found, looked = self._read_or_wait(seq, looked)
            for update in found:
                seq = update.seq
                yield update

    async def listen_async(self, since: int | None = None) -> AsyncIterator[Update]:
        """`listen` for asyncio; ends when its task is cancelled or the iterator is closed."""
        seq, looked = await asyncio.to_thread(self.last_seq) if since is None else since, 0.0
        while True:
            found, looked = await asyncio.to_thread(self._read_or_wait, seq, looked)
            for update in found:
                seq = update.seq
                yield update

    def subscribe(
        self,
        handler: Callable[[Update], object],
        *,
        since: int | None = None,
        on_error: Callable[[Update, Exception], object] | None = None,
    ) -> Subscription:
        """Call `handler` with every update, in a thread of its own; several subscriptions each get all.

        Args:
            handler: called in order, one at a time. What it raises is logged and stops nothing.
            since: the number of the last update seen; left out, from now on.
            on_error: told of an update that the handler failed at.

        Raises:
            UpdatesLost, InvalidInput: as `listen`, at once.
        """
        seq = self.last_seq() if since is None else since
        self.read_since(seq, 1)
        return Subscription(self, handler, seq, on_error)

    def group(self, name: str) -> UpdateGroup:
        """The readers that share the work of dealing with this agent's updates under one name."""
        return UpdateGroup(self._store, self.agent_id, name)

    def _read_or_wait(self, seq: int, looked: float) -> tuple[list[Update], float]:
        """The updates after `seq`, perhaps none after a wait; and when the store was last asked."""
        due = looked + LOOK_S - time.monotonic()
        if due > 0:
            wait_s = min(WAIT_S, due)
            try:
                bodies = self._stream.read_after(seq, BATCH, wait_s)
            except RedisUnavailable:
                time.sleep(wait_s)  # the store is asked in its turn, not in a tight loop
                return [], looked
            if bodies is not None:
                return [Update.from_json(body) for body in bodies], looked
        found = self.read_since(seq)
        if found:
            # The stream lacked them: bring it up to the store for other readers, if Redis is there.
            with suppress(RedisUnavailable):
                self.push_to_stream()
        return found, time.monotonic()
