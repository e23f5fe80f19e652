"""Memories, episodes and conversations of an agent, awaited.

Written by `scripts/generate_async.py` from the synchronous classes; change those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from agentstate.agent_context import PORTFOLIO_FRESH_S
from agentstate.aio.threads import AsyncPart
from agentstate.memory.context.budget import DEFAULT_OUTPUT
from agentstate.memory.conversation.history import DEFAULT_MAX_TOKENS
from agentstate.memory.facts.records import USUAL_IMPORTANCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta
    from typing import Any, Self
    from uuid import UUID

    from agentstate.agent_context import AgentContext
    from agentstate.memory.context.plan import Plan
    from agentstate.memory.context.slot import Renderer
    from agentstate.memory.context.truncation import Keep
    from agentstate.memory.conversation.history import Accounting, ConversationHistory, Transcript
    from agentstate.memory.conversation.message_forms import MessageObject
    from agentstate.memory.conversation.message_output import Form
    from agentstate.memory.conversation.messages import Messages
    from agentstate.memory.conversation.turns import Conversation, NewTurn, StoredSummary, Turn
    from agentstate.memory.episodes.episode import Episode
    from agentstate.memory.episodes.store import EpisodicStore
    from agentstate.memory.facts.counts import Watermark
    from agentstate.memory.facts.forget import ForgetReceipt
    from agentstate.memory.facts.namespaces import AgentNamespaces, Role, Share
    from agentstate.memory.facts.records import MemoryRecord, NewMemory
    from agentstate.memory.facts.service import AgentMemory, Receipt
    from agentstate.memory.search.hits import Recall
    from agentstate.store.store import Transaction


class AsyncMemory(AsyncPart["AgentMemory"]):
    """`AgentMemory`, awaited: the same verbs with the same arguments, results and errors."""

    @property
    def namespaces(self) -> AsyncNamespaces:
        """The namespaces that the agent shares with others."""
        return AsyncNamespaces(self._runner, lambda: self._open_part().namespaces)

    async def remember(
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
        """Store `content`: durable at return, found by its words at once and by its meaning soon after."""
        return await self._run_verb(
            lambda part: part.remember(
                content,
                kind,
                at=at,
                subject=subject,
                valid_from=valid_from,
                valid_to=valid_to,
                importance=importance,
                metadata=metadata,
                source=source,
                namespace=namespace,
                tx=tx,
            )
        )

    async def remember_many(self, items: Iterable[NewMemory], tx: Transaction | None = None) -> list[Receipt]:
        """Store all of `items` or none, in one transaction; return a receipt each, in their order."""
        return await self._run_verb(lambda part: part.remember_many(items, tx))

    async def recall(
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
        """Return the memories that answer `query`, best first; an empty query, or one without a match, gives none."""
        return await self._run_verb(
            lambda part: part.recall(
                query,
                limit,
                kind=kind,
                session=session,
                since=since,
                until=until,
                as_of=as_of,
                where=where,
                half_life=half_life,
                neighbours=neighbours,
                namespaces=namespaces,
            )
        )

    async def get(self, memory_id: UUID | str, *, namespaces: Sequence[str] = ()) -> MemoryRecord:
        """Return one memory; raises NotFound when the agent has none of this id."""
        return await self._run_verb(lambda part: part.get(memory_id, namespaces=namespaces))

    async def find(self, memory_id: UUID | str, *, namespaces: Sequence[str] = ()) -> MemoryRecord | None:
        """Return one memory, None when the agent has none of this id."""
        return await self._run_verb(lambda part: part.find(memory_id, namespaces=namespaces))

    async def statements(
        self, subject: str, *, known_as_of: datetime | None = None, namespaces: Sequence[str] = ()
    ) -> list[MemoryRecord]:
        """Return all statements about `subject`, by the time since which they hold."""
        return await self._run_verb(
            lambda part: part.statements(subject, known_as_of=known_as_of, namespaces=namespaces)
        )

    async def believed(
        self, subject: str, *, as_of: datetime | None = None, namespaces: Sequence[str] = ()
    ) -> MemoryRecord | None:
        """Return the statement about `subject` that is held for true, None when there is none."""
        return await self._run_verb(lambda part: part.believed(subject, as_of=as_of, namespaces=namespaces))

    async def export(self, *, namespaces: Sequence[str] = ()) -> AsyncIterator[MemoryRecord]:
        """Yield all memories, history included, in the order in which they were accepted; read in pages."""
        async for item in self._iterate_verb(lambda part: part.export(namespaces=namespaces)):
            yield item

    async def iterate_held(self, kinds: Sequence[str]) -> AsyncIterator[MemoryRecord]:
        """Yield the memories of these kinds that hold now, in the order in which they were accepted."""
        async for item in self._iterate_verb(lambda part: part.iterate_held(kinds)):
            yield item

    async def forget(self, memory_id: UUID | str, *, namespace: str | None = None) -> ForgetReceipt:
        """Remove one memory from every store; the receipt counts how much each store had left afterwards."""
        return await self._run_verb(lambda part: part.forget(memory_id, namespace=namespace))

    async def forget_all(self, *, conversations: bool = False) -> ForgetReceipt:
        """Remove all memories and episodes from every store, and with `conversations` every turn and summary too."""
        return await self._run_verb(lambda part: part.forget_all(conversations=conversations))

    async def watermark(self) -> Watermark:
        """Return how far the agent's memories are searchable."""
        return await self._run_verb(lambda part: part.watermark())

    async def wait_searchable(self, receipts: Sequence[Receipt], *, timeout_s: float = 30.0) -> None:
        """Return once all memories are in the index."""
        await self._run_verb(lambda part: part.wait_searchable(receipts, timeout_s=timeout_s))

    async def list(
        self,
        limit: int = 50,
        *,
        before: int | None = None,
        kind: str | Collection[str] | None = None,
        namespaces: Sequence[str] = (),
    ) -> list[MemoryRecord]:
        """Return the newest memories, newest first, history included."""
        return await self._run_verb(lambda part: part.list(limit, before=before, kind=kind, namespaces=namespaces))


class AsyncNamespaces(AsyncPart["AgentNamespaces"]):
    """`AgentNamespaces`, awaited: the same verbs with the same arguments, results and errors."""

    async def create(self, name: str) -> None:
        """Create a namespace that the agent owns; harmless to repeat."""
        await self._run_verb(lambda part: part.create(name))

    async def offer(self, name: str, to: str, *, role: Role = "reader") -> None:
        """Let agent `to` read a namespace of this agent, or as a writer also write; it has to accept first."""
        await self._run_verb(lambda part: part.offer(name, to, role=role))

    async def accept(self, name: str) -> None:
        """Accept an offer; raises NotFound when there is none."""
        await self._run_verb(lambda part: part.accept(name))

    async def leave(self, name: str) -> None:
        """Give up access; the memories that the agent wrote stay."""
        await self._run_verb(lambda part: part.leave(name))

    async def withdraw(self, name: str, agent_id: str) -> None:
        """End another agent's access to a namespace of this agent; raises NotFound when it owns no such namespace."""
        await self._run_verb(lambda part: part.withdraw(name, agent_id))

    async def list(self) -> list[Share]:
        """Return the shares that the agent has or is offered, and those of the namespaces that it owns."""
        return await self._run_verb(lambda part: part.list())


class AsyncEpisodes(AsyncPart["EpisodicStore"]):
    """`EpisodicStore`, awaited: the same verbs with the same arguments, results and errors."""

    async def record(
        self,
        event_type: str,
        payload: dict[str, Any],
        outcome: Any = None,
        *,
        at: datetime | None = None,
        tx: Transaction | None = None,
    ) -> Episode:
        """Add an episode: durable at return, or when `tx` commits. Two equal ones at one instant stay two."""
        return await self._run_verb(lambda part: part.record(event_type, payload, outcome, at=at, tx=tx))

    async def record_many(
        self, items: Iterable[tuple[str, dict[str, Any], Any, datetime | None]], *, tx: Transaction | None = None
    ) -> list[Episode]:
        """Add episodes, each given as type, payload, outcome and time, in one commit: all of them or none."""
        return await self._run_verb(lambda part: part.record_many(items, tx=tx))

    async def get_recent(self, limit: int = 50, event_type: str | None = None) -> list[Episode]:
        """Return the newest `limit` episodes, newest first; of one type when named."""
        return await self._run_verb(lambda part: part.get_recent(limit, event_type))

    async def between(
        self, since: datetime, until: datetime | None = None, *, event_type: str | None = None, limit: int = 1000
    ) -> list[Episode]:
        """Return the newest `limit` episodes from `since` to before `until`, newest first, however old."""
        return await self._run_verb(lambda part: part.between(since, until, event_type=event_type, limit=limit))

    async def get(self, episode_id: UUID) -> Episode:
        """Return one episode; raise NotFound when this agent has none with that id."""
        return await self._run_verb(lambda part: part.get(episode_id))

    async def find(self, episode_id: UUID) -> Episode | None:
        """Return one episode, None when this agent has none with that id."""
        return await self._run_verb(lambda part: part.find(episode_id))

    async def update_outcome(self, episode: Episode | UUID, outcome: Any, *, tx: Transaction | None = None) -> Episode:
        """Set how an episode ended; its payload stays, and the store keeps every outcome that it was given."""
        return await self._run_verb(lambda part: part.update_outcome(episode, outcome, tx=tx))

    async def summarize_window(self, since: datetime) -> dict[str, Any]:
        """Count the episodes from `since` on."""
        return await self._run_verb(lambda part: part.summarize_window(since))

    async def count(self, event_type: str | None = None, *, since: datetime | None = None) -> int:
        """Return how many episodes there are, of a type and from a time on when named."""
        return await self._run_verb(lambda part: part.count(event_type, since=since))


class AsyncConversation(AsyncPart["ConversationHistory"]):
    """`ConversationHistory`, awaited: the same verbs with the same arguments, results and errors."""

    @overload
    async def add(
        self,
        role: str,
        text: str,
        speaker: str | None = None,
        at: datetime | None = None,
        source_id: str | None = None,
        *,
        content: list[dict[str, Any]] | None = None,
        tx: Transaction | None = None,
    ) -> int: ...
    @overload
    async def add(
        self,
        message: Mapping[str, Any] | MessageObject,
        /,
        *,
        speaker: str | None = None,
        at: datetime | None = None,
        source_id: str | None = None,
        tx: Transaction | None = None,
    ) -> int: ...
    async def add(self, *args: Any, **kwargs: Any) -> int:
        """Add a turn and return its number."""
        return await self._run_verb(lambda part: part.add(*args, **kwargs))

    async def add_many(self, turns: Iterable[NewTurn], *, tx: Transaction | None = None) -> list[int]:
        """Add all of `turns` or none, in order; return their numbers. Raises as `add`."""
        return await self._run_verb(lambda part: part.add_many(turns, tx=tx))

    async def messages(
        self, max_tokens: int = DEFAULT_MAX_TOKENS, *, for_reply: bool = True, form: Form = "anthropic"
    ) -> Messages:
        """Return the conversation for a language model: the summary, then as many of the newest turns as fit."""
        return await self._run_verb(lambda part: part.messages(max_tokens, for_reply=for_reply, form=form))

    async def to_messages(self) -> Messages:
        """Return `messages()` with the default budget."""
        return await self._run_verb(lambda part: part.to_messages())

    async def transcript(self, max_tokens: int = DEFAULT_MAX_TOKENS) -> Transcript:
        """Return the same as text: the summary, then the newest turns, one entry each."""
        return await self._run_verb(lambda part: part.transcript(max_tokens))

    async def account_turns(self, max_tokens: int = DEFAULT_MAX_TOKENS) -> Accounting:
        """Account for every turn: verbatim in the messages, covered by a summary, or queued for one."""
        return await self._run_verb(lambda part: part.account_turns(max_tokens))

    async def turns(self, first: int = 1, last: int | None = None) -> list[Turn]:
        """Return the turns numbered `first` to `last` verbatim, summarized or not."""
        return await self._run_verb(lambda part: part.turns(first, last))

    async def summary(self) -> StoredSummary | None:
        """Return the newest summary, None while there is none."""
        return await self._run_verb(lambda part: part.summary())

    async def status(self) -> Conversation | None:
        """Return the state of the conversation, None when it has no turn."""
        return await self._run_verb(lambda part: part.status())


class AsyncContext(AsyncPart["AgentContext"]):
    """`AgentContext`, awaited: the same verbs with the same arguments, results and errors."""

    async def set(
        self,
        key: str,
        content: Any,
        priority: int = 5,
        *,
        min_tokens: int = 0,
        max_tokens: int | None = None,
        as_of: datetime | None = None,
        fresh_for_s: float | None = None,
        renderer: Renderer | None = None,
        keep: Keep = "start",
        whole: bool = False,
    ) -> Self:
        """Fill a slot; a slot keeps its place in the text when it is filled again."""
        await self._run_verb(
            lambda part: part.set(
                key,
                content,
                priority,
                min_tokens=min_tokens,
                max_tokens=max_tokens,
                as_of=as_of,
                fresh_for_s=fresh_for_s,
                renderer=renderer,
                keep=keep,
                whole=whole,
            )
        )
        return self

    async def remove(self, key: str) -> Self:
        """Take a slot away, if it is there."""
        await self._run_verb(lambda part: part.remove(key))
        return self

    async def count(self, text: str) -> int:
        """Return the tokens of a text."""
        return await self._run_verb(lambda part: part.count(text))

    async def total_tokens(self) -> int:
        """Return the tokens of all slots uncut, with headings and separators."""
        return await self._run_verb(lambda part: part.total_tokens())

    async def build(self) -> str:
        """Build the context: every slot that fits, in the order in which they were first set."""
        return await self._run_verb(lambda part: part.build())

    async def build_context(self, reserve_for_output: int = DEFAULT_OUTPUT) -> str:
        """Build the context in `max_tokens` less `reserve_for_output`, the tokens of the model's answer."""
        return await self._run_verb(lambda part: part.build_context(reserve_for_output))

    async def plan(self, *, reserve_for_output: int = 0) -> Plan:
        """Plan the context; say for each slot whether it is whole, cut or left out, and why."""
        return await self._run_verb(lambda part: part.plan(reserve_for_output=reserve_for_output))

    async def portfolio(
        self,
        *,
        priority: int = 9,
        fresh_for_s: float | None = PORTFOLIO_FRESH_S,
        min_tokens: int = 0,
        max_tokens: int | None = None,
        keep: Keep = "start",
        whole: bool = False,
    ) -> Self:
        """Add the money at the services with the age of each reading; one older than `fresh_for_s` is unknown."""
        await self._run_verb(
            lambda part: part.portfolio(
                priority=priority,
                fresh_for_s=fresh_for_s,
                min_tokens=min_tokens,
                max_tokens=max_tokens,
                keep=keep,
                whole=whole,
            )
        )
        return self

    async def rules(
        self,
        *,
        priority: int = 10,
        min_tokens: int = 0,
        max_tokens: int | None = None,
        keep: Keep = "start",
        whole: bool = True,
    ) -> Self:
        """Add the limits and freezes in force, whole."""
        await self._run_verb(
            lambda part: part.rules(
                priority=priority, min_tokens=min_tokens, max_tokens=max_tokens, keep=keep, whole=whole
            )
        )
        return self

    async def effects(
        self,
        *,
        priority: int = 8,
        min_tokens: int = 0,
        max_tokens: int | None = None,
        keep: Keep = "start",
        whole: bool = False,
    ) -> Self:
        """Add the effects with an unknown outcome, and the open differences at the services."""
        await self._run_verb(
            lambda part: part.effects(
                priority=priority, min_tokens=min_tokens, max_tokens=max_tokens, keep=keep, whole=whole
            )
        )
        return self

    async def episodes(
        self,
        limit: int = 20,
        event_type: str | None = None,
        *,
        priority: int = 6,
        min_tokens: int = 0,
        max_tokens: int | None = None,
        keep: Keep = "start",
        whole: bool = False,
    ) -> Self:
        """Add the newest `limit` episodes, newest first, of one type when named."""
        await self._run_verb(
            lambda part: part.episodes(
                limit,
                event_type,
                priority=priority,
                min_tokens=min_tokens,
                max_tokens=max_tokens,
                keep=keep,
                whole=whole,
            )
        )
        return self

    async def memories(
        self,
        query: str,
        limit: int = 5,
        *,
        priority: int = 5,
        min_tokens: int = 0,
        max_tokens: int | None = None,
        keep: Keep = "start",
        whole: bool = False,
    ) -> Self:
        """Add the memories that answer `query`, best first."""
        await self._run_verb(
            lambda part: part.memories(
                query, limit, priority=priority, min_tokens=min_tokens, max_tokens=max_tokens, keep=keep, whole=whole
            )
        )
        return self

    async def conversation(
        self,
        session: str,
        max_tokens: int = 8000,
        *,
        priority: int = 7,
        min_tokens: int = 0,
        keep: Keep = "end",
        whole: bool = False,
    ) -> Self:
        """Add a conversation in two slots: its summary, whole, and the newest turns, which stay when they are cut."""
        await self._run_verb(
            lambda part: part.conversation(
                session, max_tokens, priority=priority, min_tokens=min_tokens, keep=keep, whole=whole
            )
        )
        return self
