"""LangGraph's long-term store on an agent's memory: `AgentStore` is a `BaseStore`.

An item is a statement about its namespace and key: the newest value holds, the older ones stay as history, and a value
that was put is durable at return, found by its words at once and by its meaning soon after. Deleting removes the
history too. Needs the extra `langgraph`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
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
from agentstate.memory.facts.records import MemoryRecord, NewMemory
from agentstate.memory.search.recall import MAX_LIMIT

ITEM = "item"
HIDDEN = "item-hidden"
"""The kinds of memory that items are: searched by queries, and not."""

Namespace = tuple[str, ...]

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


class AgentStore(BaseStore):
    """Items of one agent. Safe to share between threads; the asynchronous verbs run in threads.

    Args:
        agent: its memory holds the items.
        fields: paths into a value whose text is searched by queries, as LangGraph writes them; `$` is all of it.

    Example:
        store = AgentStore(Agent("ag_7"))
        store.put(("users", "ada"), "likes", {"text": "She paints landscapes."})
        store.search(("users",), query="who paints?")
    """

    __slots__ = ("_agent", "_fields")

    def __init__(self, agent: Agent, *, fields: Sequence[str] = ("$",)) -> None:
        self._agent = agent
        self._fields = tuple(fields)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do all of `ops`: reads see the state before, writes are committed together or not at all.

        Raises:
            InvalidNamespaceError: a label is refused. InvalidInput: a value is no JSON. TooLarge: it is too long.
            StoreUnavailable: the durable store does not answer; nothing was written.
        """
        asked = list(ops)
        for op in asked:
            validate_op_namespace(op)
        results: list[Result] = []
        for op in asked:
            match op:
                case PutOp():
                    results.append(None)
                case GetOp():
                    record = self._agent.memory.believed(_item_subject(op.namespace, op.key))
                    results.append(None if record is None else Item(**_item_fields(record)))
                case SearchOp():
                    results.append(self._search_items(op))
                case ListNamespacesOp():
                    results.append(self._list_namespaces(op))
                case _:
                    raise InvalidInput(f"{type(op).__name__} is no operation of a store.")
        # Of several writes to one key the last counts.
        self._write_items(list({(op.namespace, op.key): op for op in asked if isinstance(op, PutOp)}.values()))
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do all of `ops` in a thread; see `batch`."""
        return await asyncio.to_thread(self.batch, list(ops))

    def _search_items(self, op: SearchOp) -> list[SearchItem]:
        memory = self._agent.memory
        if op.query:
            limit = MAX_LIMIT if op.filter else min(op.offset + op.limit, MAX_LIMIT)
            where = {"namespace": ".".join(op.namespace_prefix)} if op.namespace_prefix else None
            hits = memory.recall(op.query, max(limit, 1), kind=ITEM, where=where)
            items = [SearchItem(**_item_fields(hit.record), score=hit.score) for hit in hits]
        else:
            held = [SearchItem(**_item_fields(record)) for record in memory.iterate_held((ITEM, HIDDEN))]
            prefix = tuple(op.namespace_prefix)
            items = [item for item in held if item.namespace[: len(prefix)] == prefix]
            items.sort(key=lambda item: item.updated_at, reverse=True)
        fitting = [item for item in items if meets_filter(item.value, op.filter)]
        return fitting[op.offset : op.offset + op.limit]

    def _list_namespaces(self, op: ListNamespacesOp) -> list[Namespace]:
        held = self._agent.memory.iterate_held((ITEM, HIDDEN))
        known: set[Namespace] = {_item_fields(record)["namespace"] for record in held}
        conditions = op.match_conditions or ()
        fitting = {space for space in known if all(matches_namespace(space, condition) for condition in conditions)}
        shown = sorted({space[: op.max_depth] for space in fitting} if op.max_depth is not None else fitting)
        return shown[op.offset : op.offset + op.limit]

    def _write_items(self, ops: Sequence[PutOp]) -> None:
        memory = self._agent.memory
        texts: list[tuple[PutOp, str]] = []
        for op in ops:
            if op.value is not None:
                try:
                    texts.append((op, json.dumps(dict(op.value), ensure_ascii=False, allow_nan=False)))
                except (TypeError, ValueError, RecursionError) as error:
                    raise InvalidInput(f"the value is no JSON ({error}). Nothing was stored.") from None
        before = [memory.believed(_item_subject(op.namespace, op.key)) for op, _ in texts]
        if texts:
            with self._agent.transaction() as tx:
                now = tx.now()
                items = [self._make_memory(op, text, now, old) for (op, text), old in zip(texts, before, strict=True)]
                memory.remember_many(items, tx=tx)
        for op in ops:
            if op.value is None:
                for record in memory.statements(_item_subject(op.namespace, op.key)):
                    memory.forget(record.id)

    def _make_memory(self, op: PutOp, text: str, now: datetime, before: MemoryRecord | None) -> NewMemory:
        # The text that queries are compared with; empty when the item is not to be found by them.
        paths = () if op.index is False else self._fields if op.index is None else op.index
        found = (
            each for path in paths for each in get_text_at_path(op.value, path if path == "$" else tokenize_path(path))
        )
        searched = "\n".join(each for each in found if each.strip())
        created = now.isoformat() if before is None else (before.metadata or {})["created"]
        return NewMemory(
            content=searched or text,
            kind=ITEM if searched else HIDDEN,
            subject=_item_subject(op.namespace, op.key),
            valid_from=now,
            metadata={
                "namespace": [".".join(op.namespace[:depth]) for depth in range(1, len(op.namespace) + 1)],
                "key": op.key,
                "value": text,
                "created": created,
                "updated": now.isoformat(),
            },
        )


def meets_filter(value: Any, wanted: Mapping[str, Any] | None) -> bool:
    """Return whether a value meets a filter: equal parts, or `$eq`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`.

    Raises:
        InvalidInput: an operator is unknown.
    """
    return all(_meets_condition(value.get(key), each) for key, each in (wanted or {}).items())


def matches_namespace(namespace: Sequence[str], condition: MatchCondition) -> bool:
    """Return whether a namespace begins or ends as a condition says; `*` is any label."""
    path = condition.path
    if len(namespace) < len(path):
        return False
    labels = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in {"*", label} for label, wanted in zip(labels, path, strict=True))


def _meets_condition(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(str(key).startswith("$") for key in wanted):
            return all(_compare_values(found, name, limit) for name, limit in wanted.items())
        return isinstance(found, Mapping) and meets_filter(found, wanted)
    if isinstance(wanted, list | tuple):
        same_length = isinstance(found, list | tuple) and len(found) == len(wanted)
        return same_length and all(_meets_condition(one, other) for one, other in zip(found, wanted, strict=True))
    return _is_equal(found, wanted)


def _compare_values(found: Any, name: str, limit: Any) -> bool:
    if name in {"$eq", "$ne"}:
        return _is_equal(found, limit) is (name == "$eq")
    if name not in _COMPARISONS:
        raise InvalidInput(f"the operator {name!r} is unknown; use $eq, $ne, $gt, $gte, $lt or $lte.")
    try:
        return _COMPARISONS[name](float(found), float(limit))
    except (TypeError, ValueError):
        return False


def _is_equal(found: Any, wanted: Any) -> bool:
    # JSON tells true from 1, and Python does not.
    return bool(found == wanted) and isinstance(found, bool) is isinstance(wanted, bool)


def _item_fields(record: MemoryRecord) -> dict[str, Any]:
    """Return the arguments of an `Item`."""
    held = record.metadata or {}
    return {
        "namespace": tuple(held["namespace"][-1].split(".")),
        "key": held["key"],
        "value": json.loads(held["value"]),
        "created_at": datetime.fromisoformat(held["created"]),
        "updated_at": datetime.fromisoformat(held["updated"]),
    }


def _item_subject(namespace: Namespace, key: str) -> str:
    # Namespaces and keys may be longer than a subject, and hold any character.
    named = json.dumps([*namespace, key]).encode()
    return f"item:{hashlib.sha256(named).hexdigest()}"
