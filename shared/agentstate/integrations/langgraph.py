"""LangGraph's long-term store on an agent's memory: `AgentStore` is a `BaseStore`.

An item is a statement about its namespace and key: the newest value holds, the older ones stay as history, and a value
that was put is durable at return, found by its words at once and by its meaning soon after. Deleting removes the
history too. Needs the extra `langgraph`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    get_text_at_path,
    tokenize_path,
    validate_op_namespace,
)

from agentstate.agent import Agent
from agentstate.errors import InvalidInput
from agentstate.integrations.matching import matches_namespace, meets_filter
from agentstate.memory.facts.records import MemoryRecord, NewMemory
from agentstate.memory.search.hits import Hit
from agentstate.memory.search.recall import MAX_LIMIT

ITEM = "item"
HIDDEN = "item-hidden"
"""The kinds of memory that items are: searched by queries, and not."""

Namespace = tuple[str, ...]


class AgentStore(BaseStore):
    """Items of one agent. Safe to share between threads; the asynchronous verbs run in threads.

    Args:
        agent: whose memory holds the items.
        fields: paths into a value whose text is searched by queries, as LangGraph writes them; `$` is all of it.
    """

    __slots__ = ("_agent", "_fields")

    def __init__(self, agent: Agent, *, fields: Sequence[str] = ("$",)) -> None:
        self._agent = agent
        self._fields = tuple(fields)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do all of `ops`: what reads sees the state before, what writes is written together or not at all.

        Raises:
            InvalidNamespaceError: a label is refused. InvalidInput: a value is no JSON. TooLarge: it is too long.
            StoreUnavailable: the durable store does not answer; nothing was written.
        """
        asked = list(ops)
        for op in asked:
            validate_op_namespace(op)
        results: list[Result] = [None if isinstance(op, PutOp) else self._read(op) for op in asked]
        # Of several writes to one key the last counts.
        self._write(list({(op.namespace, op.key): op for op in asked if isinstance(op, PutOp)}.values()))
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """As `batch`, in a thread."""
        return await asyncio.to_thread(self.batch, list(ops))

    def _read(self, op: Op) -> Result:
        match op:
            case GetOp():
                return self._get(op.namespace, op.key)
            case SearchOp():
                return self._found(op)
            case ListNamespacesOp():
                return self._namespaces(op)
        raise InvalidInput(f"{type(op).__name__} is no operation of a store.")

    def _get(self, namespace: Namespace, key: str) -> Item | None:
        record = self._agent.memory.believed(_subject(namespace, key))
        return None if record is None else Item(**_fields(record))

    def _found(self, op: SearchOp) -> list[SearchItem]:
        items = self._by_query(op) if op.query else self._all(op.namespace_prefix)
        fitting = [item for item in items if meets_filter(item.value, op.filter)]
        return fitting[op.offset : op.offset + op.limit]

    def _by_query(self, op: SearchOp) -> list[SearchItem]:
        wanted = MAX_LIMIT if op.filter else min(op.offset + op.limit, MAX_LIMIT)
        where = {"namespace": _path(op.namespace_prefix)} if op.namespace_prefix else None
        hits = self._agent.memory.recall(op.query or "", max(wanted, 1), kind=ITEM, where=where)
        return [SearchItem(**_fields(hit), score=hit.score) for hit in hits]

    def _all(self, prefix: Namespace) -> list[SearchItem]:
        """The items below a namespace, the newest first."""
        items = [SearchItem(**_fields(record)) for record in self._records()]
        below = [item for item in items if item.namespace[: len(prefix)] == tuple(prefix)]
        return sorted(below, key=lambda item: item.updated_at, reverse=True)

    def _records(self) -> Iterator[MemoryRecord]:
        return self._agent.fleet.runtime.memory.holding(self._agent.id, (ITEM, HIDDEN))

    def _namespaces(self, op: ListNamespacesOp) -> list[Namespace]:
        known = {_fields(record)["namespace"] for record in self._records()}
        fitting = {
            space
            for space in known
            if all(matches_namespace(space, condition) for condition in op.match_conditions or ())
        }
        shown = sorted({space[: op.max_depth] for space in fitting} if op.max_depth is not None else fitting)
        return shown[op.offset : op.offset + op.limit]

    def _write(self, ops: Sequence[PutOp]) -> None:
        texts = [(op, _json(op.value)) for op in ops if op.value is not None]
        before = [self._agent.memory.believed(_subject(op.namespace, op.key)) for op, _ in texts]
        if texts:
            with self._agent.transaction() as tx:
                now = tx.now()
                items = [self._memory(op, text, now, old) for (op, text), old in zip(texts, before, strict=True)]
                self._agent.fleet.runtime.memory.remember_many(items, tx=tx)
        for op in ops:
            if op.value is None:
                self._delete(_subject(op.namespace, op.key))

    def _delete(self, subject: str) -> None:
        for record in self._agent.memory.statements(subject):
            self._agent.memory.forget(record.id)

    def _memory(self, op: PutOp, text: str, now: datetime, before: MemoryRecord | None) -> NewMemory:
        created = now.isoformat() if before is None else (before.metadata or {})["created"]
        searched = self._searched(op)
        return NewMemory(
            agent_id=self._agent.id,
            content=searched or text,
            kind=ITEM if searched else HIDDEN,
            subject=_subject(op.namespace, op.key),
            valid_from=now,
            metadata={
                "namespace": _prefixes(op.namespace),
                "key": op.key,
                "value": text,
                "created": created,
                "updated": now.isoformat(),
            },
        )

    def _searched(self, op: PutOp) -> str:
        """The text that queries are held against; none when the item is not to be found by them."""
        if op.index is False:
            return ""
        paths = self._fields if op.index is None else op.index
        texts = (
            text for path in paths for text in get_text_at_path(op.value, path if path == "$" else tokenize_path(path))
        )
        return "\n".join(text for text in texts if text.strip())


def _fields(found: MemoryRecord | Hit) -> dict[str, Any]:
    """What an item is made of."""
    held = found.metadata or {}
    return {
        "namespace": tuple(held["namespace"][-1].split(".")),
        "key": held["key"],
        "value": json.loads(held["value"]),
        "created_at": datetime.fromisoformat(held["created"]),
        "updated_at": datetime.fromisoformat(held["updated"]),
    }


def _json(value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(value), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the value is no JSON ({error}). Nothing was stored.") from None


def _subject(namespace: Namespace, key: str) -> str:
    # Namespaces and keys may be longer than a subject, and hold anything.
    named = json.dumps([*namespace, key]).encode()
    return f"item:{hashlib.sha256(named).hexdigest()}"


def _path(namespace: Namespace) -> str:
    return ".".join(namespace)


def _prefixes(namespace: Namespace) -> list[str]:
    return [_path(namespace[:depth]) for depth in range(1, len(namespace) + 1)]
