"""State, profile, live updates and jobs of an agent, awaited.

Written by `scripts/generate_async.py` from the synchronous classes; change those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentstate.aio.threads import AsyncPart
from agentstate.state.update_group import LEASE_S
from agentstate.state.updates import BATCH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from datetime import datetime
    from typing import Any
    from uuid import UUID

    from agentstate.jobs.agent_jobs import AgentJobs
    from agentstate.jobs.job import Job
    from agentstate.state.agent_db import AgentStateStore
    from agentstate.state.agent_state import AgentState
    from agentstate.state.profile import AgentProfile, ProfileField, ProfileSnapshot
    from agentstate.state.subscription import Subscription
    from agentstate.state.update_group import Batch, UpdateGroup
    from agentstate.state.update_log import Update
    from agentstate.state.updates import StateSync
    from agentstate.state.versions import StateVersion
    from agentstate.store.store import Transaction


class AsyncStateStore(AsyncPart["AgentStateStore"]):
    """`AgentStateStore`, awaited: the same verbs with the same arguments, results and errors."""

    async def load(self, *, as_of: datetime | None = None, version: int | None = None) -> AgentState | None:
        """Return the newest state, the one saved by `as_of`, or the one of a version; None when there is none."""
        return await self._run_verb(lambda part: part.load(as_of=as_of, version=version))

    async def save(
        self, state: AgentState | Mapping[str, Any], *, version: int | None = None, tx: Transaction | None = None
    ) -> AgentState:
        """Save a state; raises Conflict when another version than the one it was made from is the newest."""
        return await self._run_verb(lambda part: part.save(state, version=version, tx=tx))

    async def update(self, change: Callable[[AgentState], AgentState], *, tx: Transaction | None = None) -> AgentState:
        """Save the state that `change` returns for the newest one, an empty one when there is none."""
        return await self._run_verb(lambda part: part.update(change, tx=tx))

    async def history(self, *, limit: int = 20, before: int | None = None) -> list[StateVersion]:
        """Return the versions as they were written, newest first."""
        return await self._run_verb(lambda part: part.history(limit=limit, before=before))


class AsyncProfile(AsyncPart["AgentProfile"]):
    """`AgentProfile`, awaited: the same verbs with the same arguments, results and errors."""

    async def set_field(
        self,
        field: str,
        value: Any,
        *,
        ttl_s: float | None = None,
        version: int | None = None,
        tx: Transaction | None = None,
    ) -> int:
        """Set a field; durable at return, or when `tx` commits."""
        return await self._run_verb(lambda part: part.set_field(field, value, ttl_s=ttl_s, version=version, tx=tx))

    async def set_fields(
        self, values: Mapping[str, Any], *, ttl_s: float | None = None, tx: Transaction | None = None
    ) -> None:
        """Set several fields, all or none; raises as `set_field`."""
        await self._run_verb(lambda part: part.set_fields(values, ttl_s=ttl_s, tx=tx))

    async def get_field(self, field: str, default: Any = None) -> Any:
        """A field's value; `default` when it is not there. Raises InvalidInput when this version cannot read it."""
        return await self._run_verb(lambda part: part.get_field(field, default))

    async def find_field(self, field: str) -> ProfileField | None:
        """A field with its version and expiry; None when it is not there."""
        return await self._run_verb(lambda part: part.find_field(field))

    async def snapshot(self) -> ProfileSnapshot:
        """All fields as they were at one moment. One that cannot be read spoils no other."""
        return await self._run_verb(lambda part: part.snapshot())

    async def increment(self, field: str, by: int = 1, *, tx: Transaction | None = None) -> int:
        """Add to a counter, which begins at 0, and return it; no increment of any process is lost."""
        return await self._run_verb(lambda part: part.increment(field, by, tx=tx))

    async def increment_session(self) -> int:
        """Count a session; how many there are."""
        return await self._run_verb(lambda part: part.increment_session())

    async def delete_field(self, field: str, *, version: int | None = None, tx: Transaction | None = None) -> bool:
        """Remove a field; whether it was there. Raises Conflict when `version` is given and is not the field's."""
        return await self._run_verb(lambda part: part.delete_field(field, version=version, tx=tx))


class AsyncUpdates(AsyncPart["StateSync"]):
    """`StateSync`, awaited: the same verbs with the same arguments, results and errors."""

    async def publish_update(self, field: str, value: Any, *, tx: Transaction | None = None) -> Update:
        """Tell that a field has a value; readers learn it once the transaction is committed."""
        return await self._run_verb(lambda part: part.publish_update(field, value, tx=tx))

    async def push_to_stream(self) -> None:
        """Bring the stream up to the store; raises RedisUnavailable."""
        await self._run_verb(lambda part: part.push_to_stream())

    async def last_seq(self) -> int:
        """Return the number of the newest update, 0 when there is none."""
        return await self._run_verb(lambda part: part.last_seq())

    async def read_since(self, seq: int, limit: int = BATCH) -> list[Update]:
        """Return the updates after number `seq`, oldest first, at most `limit`."""
        return await self._run_verb(lambda part: part.read_since(seq, limit))

    async def listen(self, since: int | None = None) -> AsyncIterator[Update]:
        """`listen` for asyncio; ends when its task is cancelled or the iterator is closed."""
        part = await self._runner.run(self._open_part)
        async for item in part.listen_async(since):
            yield item

    async def subscribe(
        self,
        handler: Callable[[Update], object],
        *,
        since: int | None = None,
        on_error: Callable[[Update, Exception], object] | None = None,
    ) -> AsyncSubscription:
        """Call `handler` with every update, in a thread of its own; several subscriptions each get all."""
        opened = await self._run_verb(lambda part: part.subscribe(handler, since=since, on_error=on_error))
        return AsyncSubscription(self._runner, lambda: opened)

    async def group(self, name: str) -> AsyncUpdateGroup:
        """The readers that share the work of dealing with this agent's updates under one name."""
        opened = await self._run_verb(lambda part: part.group(name))
        return AsyncUpdateGroup(self._runner, lambda: opened)


class AsyncSubscription(AsyncPart["Subscription"]):
    """`Subscription`, awaited: the same verbs with the same arguments, results and errors."""

    async def lag(self) -> int:
        """Return the number of updates that wait for this reader."""
        return await self._run_verb(lambda part: part.lag())

    async def stop(self, timeout_s: float = 10.0) -> bool:
        """Stop after the present update; return whether it ended within `timeout_s` seconds."""
        return await self._run_verb(lambda part: part.stop(timeout_s))


class AsyncUpdateGroup(AsyncPart["UpdateGroup"]):
    """`UpdateGroup`, awaited: the same verbs with the same arguments, results and errors."""

    async def take(self, limit: int = 100, *, lease_s: float = LEASE_S) -> Batch | None:
        """Lease the next updates to this member; None when there are none or another member has them."""
        return await self._run_verb(lambda part: part.take(limit, lease_s=lease_s))

    async def acknowledge(self, batch: Batch) -> None:
        """Mark the batch as done; raise Fenced when another member has it by now."""
        await self._run_verb(lambda part: part.acknowledge(batch))

    async def release(self, batch: Batch) -> None:
        """Give the batch back: another member may take it at once."""
        await self._run_verb(lambda part: part.release(batch))

    async def seq(self) -> int:
        """Return the number up to which the group has processed all updates."""
        return await self._run_verb(lambda part: part.seq())

    async def skip_to(self, seq: int) -> None:
        """Move the group to number `seq`, and fence members that hold a batch."""
        await self._run_verb(lambda part: part.skip_to(seq))


class AsyncJobs(AsyncPart["AgentJobs"]):
    """`AgentJobs`, awaited: the same verbs with the same arguments, results and errors."""

    async def submit(
        self,
        kind: str,
        payload: Mapping[str, Any] | None = None,
        *,
        dedupe_key: str | None = None,
        coalesce_key: str | None = None,
        due_in: float = 0.0,
        tx: Transaction | None = None,
    ) -> UUID:
        """Write a job of the agent and wake a worker once it is committed; return its id."""
        return await self._run_verb(
            lambda part: part.submit(
                kind, payload, dedupe_key=dedupe_key, coalesce_key=coalesce_key, due_in=due_in, tx=tx
            )
        )

    async def get(self, job_id: UUID | str) -> Job:
        """Return one job of the agent; raises NotFound, also for another agent's."""
        return await self._run_verb(lambda part: part.get(job_id))

    async def find(self, job_id: UUID | str) -> Job | None:
        """Return one job of the agent; None when there is none."""
        return await self._run_verb(lambda part: part.find(job_id))

    async def wait(self, job_id: UUID | str, *, timeout_s: float = 30.0) -> Job:
        """Return the job once it has succeeded."""
        return await self._run_verb(lambda part: part.wait(job_id, timeout_s=timeout_s))

    async def list(self, *, status: str | None = None, kind: str | None = None, limit: int = 50) -> list[Job]:
        """Return the agent's newest jobs that match, at most `limit`."""
        return await self._run_verb(lambda part: part.list(status=status, kind=kind, limit=limit))
