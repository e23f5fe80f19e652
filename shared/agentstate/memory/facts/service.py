"""Semantic memory: the facts of an agent, durable when `remember` returns and searchable soon after.

Remembering writes a row and wakes the embedding workers; it calls no provider and no index, so it is as fast and as
reliable as the durable store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from agentstate.clock import utc_now
from agentstate.errors import Conflict, InvalidInput, JobDead, NotFound, WaitTimeout
from agentstate.ids import shorten_repr, validate_name
from agentstate.jobs import Jobs
from agentstate.memory.facts.counts import Watermark, read_watermark
from agentstate.memory.facts.forget import ForgetReceipt, Forgetting
from agentstate.memory.facts.namespaces import AgentNamespaces, allowed_tenants
from agentstate.memory.facts.records import (
    USUAL_IMPORTANCE,
    MemoryRecord,
    MemoryRows,
    NewMemory,
    StoredState,
    check_memory,
    find_forgotten,
    insert_memories,
    read_states,
)
from agentstate.memory.facts.statements import Placement, belief_conditions, order_statements
from agentstate.memory.facts.texts import (
    MAX_NUMBER,
    check_aware,
    check_flag,
    check_id,
    check_kinds,
    check_list,
    check_seconds,
    check_text,
    check_whole,
)
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.memory.search.filters import Scope, parse_where
from agentstate.memory.search.hits import Recall
from agentstate.memory.search.recall import MemoryRecall
from agentstate.memory.search.terms import has_terms
from agentstate.providers.embedding.embedder import Embedder
from agentstate.settings import Settings
from agentstate.store.store import Store, Transaction
from agentstate.store.tables import memories
from agentstate.store.tables.base import db_time

if TYPE_CHECKING:
    from agentstate.memory.episodes.recent import RecentEpisodes

EMBED_PENDING = "embedding.embed_pending"

Outcome = Literal["new", "again", "kept", "forgotten"]
Searchable = Literal["words", "meaning"]

MAX_SUBJECT_BYTES = 800
MAX_LISTED = 10_000

_FIRST_POLL_S = 0.02
_SLOWEST_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The outcome of `remember`."""

    id: UUID
    seq: int
    """Grows with every memory that is accepted, over all agents."""
    outcome: Outcome
    """`new`: stored now. `again`: stored now, and the same was stated about the subject before; it holds again.
    `kept`: this very memory was stored before, and nothing was written. `forgotten`: it was forgotten, and a worker or
    an import, unlike `remember`, does not bring it back; nothing was written."""
    searchable: Searchable | None
    """How a recall finds it now: by its `words`, by its `meaning` too, or not at all (None), since it does not hold now
    or has nothing to search for. A new memory is found by its words at once and by its meaning soon after."""
    supersedes: UUID | None = None
    """The statement on the same subject whose place it took."""


class MemoryService:
    """The memories of all agents, one object a process. Safe to share between threads.

    Args:
        store: the durable store.
        jobs: wakes the workers.
        index: the index of the vector space in use.
        embedder: embeds queries.
        settings: limits of size.
        recent: opens the episodes in Redis, which are forgotten with an agent; None: there is no Redis.
    """

    def __init__(
        self,
        store: Store,
        jobs: Jobs,
        index: MemoryIndex,
        embedder: Embedder,
        settings: Settings,
        *,
        recent: Callable[[], RecentEpisodes] | None = None,
    ) -> None:
        self.store = store
        self.recaller = MemoryRecall(store, index, embedder, settings)
        self.forgetting = Forgetting(store, jobs, index, recent)
        self._jobs = jobs
        self._index = index
        self._embedder = embedder
        self._settings = settings

    def of(self, agent_id: str) -> AgentMemory:
        """Return the memories of one agent."""
        return AgentMemory(self, agent_id)

    def remember_many(
        self, items: Iterable[NewMemory], *, tx: Transaction | None = None, revive: bool = True
    ) -> list[Receipt]:
        """Store all of `items`, of any agents, or none; return a receipt each, in their order.

        Args:
            items: the memories.
            tx: the caller's transaction.
            revive: whether those that were forgotten are stored again, as an agent that says it anew wants; a worker
                or an import brings none of them back.

        Raises:
            As `AgentMemory.remember`.
        """
        checked = [check_memory(item, self._settings) for item in check_list(items, "items", "a list of NewMemory")]
        if tx is not None and not isinstance(tx, Transaction):
            raise InvalidInput(f"tx is {shorten_repr(tx)}; give an open transaction. Nothing was stored.")
        if not checked:
            return []
        with self.store.transaction(tx) as open_tx:
            for agent_id, namespace in {(item.agent_id, item.namespace) for item in checked if item.namespace}:
                allowed_tenants(open_tx.connection, agent_id, [namespace], writing=True)
            forgotten = set() if revive else find_forgotten(open_tx.connection, [item.id for item in checked])
            created = insert_memories(open_tx, [item for item in checked if item.id not in forgotten])
            known = read_states(open_tx.connection, [item.id for item in checked if item.id not in created])
            given = {item.id for item in checked}
            for item in checked:
                newer = known[item.id].superseded_by if item.id in known else None
                if newer is not None and newer not in given and item.holds_from is None:
                    # A retry and a statement that holds again look the same.
                    raise Conflict(
                        f"this statement about {item.subject!r} was superseded by {newer}. If it holds again, give the "
                        "time since when (`at`); if this is a retry, nothing is to be done. Nothing was stored."
                    )
            about = [item.id for item in checked if item.subject is not None and item.id in created]
            places = order_statements(open_tx, about) if about else {}
            if created:
                self._jobs.wake_bulk(EMBED_PENDING, tx=open_tx)
        return [self._make_receipt(item, created.get(item.id), known, places.get(item.id)) for item in checked]

    def wait_searchable(self, receipts: Sequence[Receipt], *, timeout_s: float = 30.0) -> None:
        """Return once all memories are in the index; see `AgentMemory.wait_searchable`."""
        wanted = check_list(receipts, "receipts", "a list of receipts of `remember`")
        if wrong := [one for one in wanted if not isinstance(one, Receipt)]:
            raise InvalidInput(f"receipts has {shorten_repr(wrong[0])}; give receipts of `remember`. Nothing was done.")
        ids = [receipt.id for receipt in wanted]
        deadline, pause = time.monotonic() + check_seconds(timeout_s, "timeout_s"), _FIRST_POLL_S
        while True:
            with self.store.read_connection() as connection:
                found = read_states(connection, ids)
            if missing := set(ids) - found.keys():
                raise NotFound(f"memory {missing.pop()} does not exist any more; it was forgotten.")
            if dead := [memory for memory in ids if found[memory].state == "dead"]:
                raise JobDead(f"memory {dead[0]} was given up and is not in the index; it stays stored.")
            waiting = [memory for memory in ids if found[memory].state != "searchable"]
            if not waiting:
                return
            if time.monotonic() >= deadline:
                raise WaitTimeout(
                    f"{len(waiting)} memories are not searchable after {timeout_s:g} seconds; they are stored, and "
                    "workers index them in the background."
                )
            time.sleep(pause)
            pause = min(pause * 1.5, _SLOWEST_POLL_S)

    def _make_receipt(
        self, item: NewMemory, seq: int | None, known: Mapping[UUID, StoredState], place: Placement | None
    ) -> Receipt:
        if seq is None and item.id not in known:
            return Receipt(id=item.id, seq=0, outcome="forgotten", searchable=None)
        outcome: Outcome = "kept"
        if seq is not None:
            outcome = "again" if place is not None and place.is_repeated else "new"
            state = StoredState(
                seq=seq,
                state="stored",
                space=None,
                superseded_by=None,
                superseded_at=None if place is None else place.superseded_at,
                valid_from=item.valid_from if item.subject is None else item.holds_from,
                valid_to=item.valid_to,
            )
        else:
            state = known[item.id]
        now = utc_now()
        is_over = any(end is not None and end <= now for end in (state.valid_to, state.superseded_at))
        # The start of an undated statement was read from the database's clock, which may be ahead of this one.
        is_ahead = item.holds_from is not None and state.valid_from is not None and state.valid_from > now
        searchable: Searchable | None = None
        if not is_over and not is_ahead:
            is_indexed = state.state == "searchable" and state.space == self._index.space
            if is_indexed and self._embedder.semantic:
                searchable = "meaning"
            elif has_terms(item.content):
                searchable = "words"
        supersedes = None if place is None else place.supersedes
        return Receipt(id=item.id, seq=state.seq, outcome=outcome, searchable=searchable, supersedes=supersedes)


class AgentMemory:
    """The memories of one agent, `agent.memory`. Safe to share between threads.

    Args:
        service: the memories of all agents.
        agent_id: the agent; raises InvalidInput when it cannot name one.
    """

    def __init__(self, service: MemoryService, agent_id: str) -> None:
        self._service = service
        self._store = service.store
        self.agent_id = validate_name(agent_id)

    @property
    def namespaces(self) -> AgentNamespaces:
        """The namespaces that the agent shares with others."""
        return AgentNamespaces(self._store, self.agent_id)

    def remember(
        self,
        content: str,
        kind: str = "fact",
        *,
        at: datetime | None = None,
        subject: str | None = None,
        valid_from: datetime | None = None,
        valid_to: datetime | None = None,
        importance: int = USUAL_IMPORTANCE,
        metadata: dict[str, Any] | None = None,
        source: str | None = None,
        namespace: str | None = None,
        tx: Transaction | None = None,
    ) -> Receipt:
        """Store `content`: durable at return, found by its words at once and by its meaning soon after.

        The same content of the same kind, subject and times is stored once, however often it is given, so a retry does
        no harm. Another `at`, `valid_from` or `valid_to` makes it another memory.

        Args:
            content: the text, up to `AGENTSTATE_MAX_TEXT_BYTES`.
            kind: `fact`, `lesson`, `strategy`, `event`, or a name of yours, up to 32 characters.
            at: when it happened; aware.
            subject: makes it a statement about this, such as `wallet.usdc`. The newest statement about a subject holds;
                the older ones are not recalled any more but stay as history (`statements`, `believed`).
            valid_from: since when it holds; left out: since `at`, or since now.
            valid_to: until when it holds, that moment excluded; left out: for good.
            importance: from 1 to 10.
            metadata: values to keep beside it and to filter by; of a repeated memory the first stays.
            source: where it comes from, up to 200 characters.
            namespace: store it in this shared namespace, into which the agent must be allowed to write.
            tx: the caller's transaction; the memory exists exactly if that commits.

        Raises:
            InvalidInput: an argument is refused. TooLarge: content or metadata is over its limit.
            Conflict: this very statement was superseded since, and no time tells whether it is new or repeated.
            NotFound: the agent may not write into the namespace.
            StoreUnavailable: the durable store does not answer. After each of these nothing was stored.

        Example:
            receipt = agent.memory.remember("The wallet holds 97.50 USDC.", subject="wallet.usdc")
        """
        item = NewMemory(
            agent_id=self.agent_id,
            content=content,
            kind=kind,
            metadata=metadata,
            source=source,
            at=at,
            subject=subject,
            importance=importance,
            valid_from=valid_from,
            valid_to=valid_to,
            namespace=namespace,
        )
        return self._service.remember_many([item], tx=tx)[0]

    def remember_many(self, items: Iterable[NewMemory], tx: Transaction | None = None) -> list[Receipt]:
        """Store all of `items` or none, in one transaction; return a receipt each, in their order.

        Raises:
            InvalidInput: an item names another agent, or as `remember`.

        Example:
            agent.memory.remember_many([NewMemory(content=text, kind="lesson") for text in lessons])
        """
        mine = check_list(items, "items", "a list of NewMemory")
        mine = [
            replace(one, agent_id=one.agent_id or self.agent_id) if isinstance(one, NewMemory) else one for one in mine
        ]
        if foreign := next((item for item in mine if getattr(item, "agent_id", self.agent_id) != self.agent_id), None):
            named = shorten_repr(foreign.agent_id)
            raise InvalidInput(f"a memory names the agent {named}; give none, or {self.agent_id}. Nothing was stored.")
        return self._service.remember_many(mine, tx=tx)

    def recall(
        self,
        query: str,
        limit: int = 5,
        *,
        kind: str | Collection[str] | None = None,
        session: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        as_of: datetime | None = None,
        where: Mapping[str, Any] | None = None,
        half_life: timedelta | None = None,
        neighbours: int = 0,
        namespaces: Sequence[str] = (),
    ) -> Recall:
        """Return the memories that answer `query`, best first; an empty query, or one without a match, gives none.

        Args:
            query: a question or some words.
            limit: hits at most, 1 to 1,000.
            kind: only this kind, or any of these.
            session: only turns of this session.
            since: only memories that happened (or, without a time, were stored) at or after this moment.
            until: only memories that did so before this moment.
            as_of: search what was held for true at this moment, judged by what was stored then; left out: now.
            where: only with this metadata, such as `{"asset": "USDC"}`; a list means any of its values.
            half_life: the age at which a memory's score is halved; left out, age does not matter.
            neighbours: turns to give before and after each turn (`Hit.before`, `Hit.after`), 0 to 20.
            namespaces: search these shared namespaces too.

        Raises:
            InvalidInput: an argument is refused. TooLarge: the query is over `AGENTSTATE_MAX_TEXT_BYTES`.
            NotFound: the agent has no access to one of the namespaces.
            StoreUnavailable: the durable store does not answer.

        Example:
            for hit in agent.memory.recall("what did I learn about bet sizing?", kind="lesson"):
                print(hit.score, hit.content)
        """
        scope = Scope(
            agent_id=self.agent_id,
            kinds=check_kinds(kind),
            session=None if session is None else validate_name(session, "session"),
            since=check_aware(since, "since"),
            until=check_aware(until, "until"),
            as_of=check_aware(as_of, "as_of"),
            where=parse_where(where),
        )
        return self._service.recaller.recall(
            scope, query, limit, half_life=half_life, neighbours=neighbours, namespaces=namespaces
        )

    def get(self, memory_id: UUID | str, *, namespaces: Sequence[str] = ()) -> MemoryRecord:
        """Return one memory; raises NotFound when the agent has none of this id."""
        if (found := self.find(memory_id, namespaces=namespaces)) is None:
            raise NotFound(f"{self.agent_id} has no memory {memory_id}.")
        return found

    def find(self, memory_id: UUID | str, *, namespaces: Sequence[str] = ()) -> MemoryRecord | None:
        """Return one memory, None when the agent has none of this id."""
        wanted = check_id(memory_id)
        with self._open_rows(namespaces) as rows:
            return rows.read_ids([wanted]).get(wanted)

    def statements(
        self, subject: str, *, known_as_of: datetime | None = None, namespaces: Sequence[str] = ()
    ) -> list[MemoryRecord]:
        """Return all statements about `subject`, by the time since which they hold.

        Args:
            subject: what they are about.
            known_as_of: only those that were stored by this moment.
            namespaces: these shared namespaces too.
        """
        check_text(subject, limit=MAX_SUBJECT_BYTES, what="subject")
        known = [] if known_as_of is None else [memories.c.created_at <= check_aware(known_as_of, "known_as_of")]
        with self._open_rows(namespaces) as rows:
            return rows.read_statements(subject, *known)

    def believed(
        self, subject: str, *, as_of: datetime | None = None, namespaces: Sequence[str] = ()
    ) -> MemoryRecord | None:
        """Return the statement about `subject` that is held for true, None when there is none.

        Args:
            subject: what it is about.
            as_of: what was held for true at this moment, judged by what was stored then; left out: now.
            namespaces: these shared namespaces too.

        Example:
            agent.memory.believed("wallet.usdc").content
        """
        check_text(subject, limit=MAX_SUBJECT_BYTES, what="subject")
        conditions = belief_conditions(db_time() if as_of is None else check_aware(as_of, "as_of"))
        with self._open_rows(namespaces) as rows:
            found = rows.read_statements(subject, *conditions)
        return found[-1] if found else None

    def export(self, *, namespaces: Sequence[str] = ()) -> Iterator[MemoryRecord]:
        """Yield all memories, history included, in the order in which they were accepted; read in pages."""
        return self._read_all([], namespaces)

    def iterate_held(self, kinds: Sequence[str]) -> Iterator[MemoryRecord]:
        """Yield the memories of these kinds that hold now, in the order in which they were accepted."""
        return self._read_all([memories.c.kind.in_(check_kinds(kinds)), *belief_conditions(db_time())], ())

    def forget(self, memory_id: UUID | str, *, namespace: str | None = None) -> ForgetReceipt:
        """Remove one memory from every store; the receipt counts how much each store had left afterwards.

        Older statements on the same subject stay history: what the forgotten one had ended does not hold again.

        Raises:
            NotFound: there is none. StoreUnavailable: the durable store does not answer; nothing was removed.
        """
        return self._service.forgetting.forget_memory(self.agent_id, check_id(memory_id), namespace=namespace)

    def forget_all(self, *, conversations: bool = False) -> ForgetReceipt:
        """Remove all memories and episodes from every store, and with `conversations` every turn and summary too.

        Books and effects are never forgotten, and states and the profile stay; `receipt.kept` counts the rows of each.

        Raises:
            StoreUnavailable: the durable store does not answer; nothing was removed.
        """
        return self._service.forgetting.forget_agent(
            self.agent_id, conversations=check_flag(conversations, "conversations")
        )

    def watermark(self) -> Watermark:
        """Return how far the agent's memories are searchable."""
        with self._store.read_connection() as connection:
            return read_watermark(connection, self.agent_id)

    def wait_searchable(self, receipts: Sequence[Receipt], *, timeout_s: float = 30.0) -> None:
        """Return once all memories are in the index.

        Raises:
            WaitTimeout: some are not after `timeout_s` seconds; the work continues in the background.
            JobDead: one was given up; it stays stored. NotFound: one was forgotten.
        """
        self._service.wait_searchable(receipts, timeout_s=timeout_s)

    @contextmanager
    def _open_rows(self, namespaces: Sequence[str]) -> Iterator[MemoryRows]:
        with self._store.read_connection() as connection:
            yield MemoryRows(connection, allowed_tenants(connection, self.agent_id, namespaces))

    def _read_all(self, conditions: Sequence[Any], namespaces: Sequence[str]) -> Iterator[MemoryRecord]:
        after: int | None = 0
        while after is not None:
            with self._open_rows(namespaces) as rows:
                page = rows.read_page(*conditions, after=after)
            yield from page
            after = page[-1].seq if page else None

    def list(
        self,
        limit: int = 50,
        *,
        before: int | None = None,
        kind: str | Collection[str] | None = None,
        namespaces: Sequence[str] = (),
    ) -> list[MemoryRecord]:
        """Return the newest memories, newest first, history included.

        Args:
            limit: memories at most, up to 10,000.
            before: only those accepted before this number (`MemoryRecord.seq`), to page on.
            kind: only this kind, or any of these.
            namespaces: these shared namespaces too.

        Example:
            page = agent.memory.list(100, before=page[-1].seq)
        """
        check_whole(limit, "limit", most=MAX_LISTED)
        conditions = []
        if before is not None:
            conditions.append(memories.c.seq < check_whole(before, "before", least=0, most=MAX_NUMBER))
        if kind is not None:
            conditions.append(memories.c.kind.in_(check_kinds(kind)))
        with self._open_rows(namespaces) as rows:
            return rows.read_newest(*conditions, limit=limit)
