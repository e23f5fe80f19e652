"""Comparing the index with the durable store, by (id, version), and repairing the differences.

There are two walks: from the rows to their points, which finds what the index lacks or has in another version, and from
the points to their rows, which finds what should not be there. A row that differs is queued again, so that a worker
indexes it as any other; so is one whose words were read by older rules, which is found meanwhile. A point of a memory
without a row is counted and left alone: another durable store may have written it, or this one after the backup that it
was restored from. It is removed on request only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agentstate.memory.embedding.queue import EmbeddingBacklog
from agentstate.memory.facts.records import find_forgotten
from agentstate.memory.index.qdrant_index import PAGE, MemoryIndex, memory_id_of
from agentstate.memory.search.chunks import point_id
from agentstate.memory.search.terms import TEXT_RULES
from agentstate.store.store import Store
from agentstate.store.tables import memories

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

PROBES, PER_PROBE = 20, 25
"""A sample reads this many places, and so many rows at each."""
SLACK = 0.02
"""Share of points that may be under way while a sample counts."""


@dataclass(kw_only=True)
class Comparison:
    """The differences that a comparison found."""

    rows: int = 0
    """Memories that count as searchable and were looked up."""
    points: int = 0
    """Points that were read."""
    missing: int = 0
    """Memories that the index lacks, or lacks in part."""
    stale: int = 0
    """Memories that it has in another version."""
    outdated: int = 0
    """Memories that it has by older rules of words and identifiers; they are found until they are indexed again."""
    orphaned: int = 0
    """Points beyond those that their memory has."""
    unknown: int = 0
    """Points of memories that this durable store does not have."""
    elsewhere: int = 0
    """Memories that are searchable in another vector space alone."""

    @property
    def is_sound(self) -> bool:
        """Whether index and store agree."""
        return self.queued == self.orphaned == self.unknown == 0

    @property
    def queued(self) -> int:
        """Memories that a repair queues for the workers."""
        return self.missing + self.stale + self.outdated

    def add_counts(self, other: Comparison) -> None:
        """Add the counts of `other`."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(frozen=True)
class Cursor:
    """A position in a comparison, to resume from."""

    walk: Literal["rows", "points"] = "rows"
    after: str = "0"
    """The number of the last row, or the point to begin at; empty: the first."""


@dataclass(frozen=True)
class _Row:
    seq: int
    id: UUID
    version: int
    indexed_version: int
    points: int

    @property
    def point_ids(self) -> list[UUID]:
        return [point_id(self.id, number) for number in range(max(self.points, 1))]


_ROW = tuple(memories.c[name] for name in _Row.__dataclass_fields__)
Progress = Callable[[Comparison], None]


class IndexVerifier:
    """Compares one vector space's index with the rows. Safe to run anywhere, at any time, many at once."""

    def __init__(self, store: Store, index: MemoryIndex) -> None:
        self._store = store
        self._index = index
        self._backlog = EmbeddingBacklog(store)
        self._here = sa.and_(memories.c.state == "searchable", memories.c.space == index.space)

    def compare_all(
        self, *, repair: bool = True, remove_unknown: bool = False, progress: Progress = lambda _found: None
    ) -> Comparison:
        """Compare all rows and all points.

        Args:
            repair: remove points that should not be there, and queue memories that differ for the workers.
            remove_unknown: also remove points of memories that this store does not have. Only where no other durable
                store uses this Qdrant: they may be its.
            progress: called with the counts so far.

        Raises:
            IndexUnavailable: Qdrant does not answer; what was repaired stays so.
        """
        found = Comparison(elsewhere=self.count_elsewhere())
        for part, _ in self.resume(Cursor(), repair=repair, remove_unknown=remove_unknown):
            found.add_counts(part)
            progress(found)
        return found

    def resume(
        self, cursor: Cursor, *, repair: bool = True, remove_unknown: bool = False
    ) -> Iterator[tuple[Comparison, Cursor | None]]:
        """Compare from `cursor` on; yield the counts of each page, and the next cursor, None at the end."""
        following: Cursor | None = cursor
        while following is not None:
            if following.walk == "rows":
                found, row = self.compare_rows(int(following.after), repair=repair)
                following = Cursor("points", "") if row is None else Cursor("rows", str(row))
            else:
                found, point = self.compare_points(following.after, repair=repair, remove_unknown=remove_unknown)
                following = None if point is None else Cursor("points", point)
            yield found, following

    def count_unknown(self) -> int:
        """Return how many points in the collection that serves are of memories that this store does not have."""
        if self._index.collections.current_collection() is None:
            return 0
        return sum(found.unknown for found, _ in self.resume(Cursor("points", ""), repair=False))

    def compare_rows(self, after: int, *, repair: bool, limit: int = PAGE) -> tuple[Comparison, int | None]:
        """Compare the next rows after number `after` with their points; return also where to go on, None at the end."""
        with self._store.read_connection() as connection:
            page = self._read_rows(connection, memories.c.seq > after, limit=limit)
        return self._compare_page(page, repair=repair), page[-1].seq if len(page) == limit else None

    def compare_points(
        self, offset: str, *, repair: bool, remove_unknown: bool = False
    ) -> tuple[Comparison, str | None]:
        """Compare the next points from `offset` on with their rows; return also where to go on, None at the end."""
        with self._index.collections.open_ready_client() as client:
            page, following = client.scroll(
                self._index.space, limit=PAGE, offset=offset or None, with_payload=["memory"]
            )
            owners = {UUID(str(point.id)): memory_id_of(point) for point in page}
            query = sa.select(*_ROW, memories.c.state).where(memories.c.id.in_(set(owners.values())))
            with self._store.read_connection() as connection:
                known = {row.id: (_Row(*row[:-1]), row.state) for row in connection.execute(query)}
                # Points of a memory that was forgotten here are surplus, not another store's.
                forgotten = find_forgotten(connection, set(owners.values()) - known.keys())
            orphans = [point for point, memory in owners.items() if memory in forgotten]
            unknown = [point for point, memory in owners.items() if memory not in known and memory not in forgotten]
            for point, memory in owners.items():
                row, state = known.get(memory, (None, ""))
                # The number of its points is noted when a memory becomes searchable; before, none is too many.
                if row is not None and state == "searchable" and point != row.id and point not in row.point_ids:
                    orphans.append(point)
            gone = [*(orphans if repair else ()), *(unknown if remove_unknown else ())]
            if gone:
                client.delete(self._index.space, points_selector=list(gone), wait=True)
        found = Comparison(points=len(page), orphaned=len(orphans), unknown=len(unknown))
        return found, None if following is None else str(following)

    def compare_sample(self, draw: random.Random | None = None) -> Comparison:
        """Compare rows at random, and the number of points: notices an emptied collection. Repairs nothing."""
        rng = draw or random.Random()  # noqa: S311 no secret
        with self._store.read_connection() as connection:
            first, last, total = connection.execute(
                sa.select(
                    sa.func.min(memories.c.seq), sa.func.max(memories.c.seq), sa.func.sum(memories.c.points)
                ).where(self._here)
            ).one()
            starts = [] if first is None else [rng.randint(first, last) for _ in range(PROBES)]
            picked = {
                row.seq: row
                for start in starts
                for row in self._read_rows(connection, memories.c.seq >= start, limit=PER_PROBE)
            }
        found = self._compare_page(list(picked.values()), repair=False)
        with self._index.collections.open_ready_client() as client:
            found.points = client.count(self._index.space, exact=True).count
        wanted = int(total or 0)
        slack = max(PAGE, SLACK * wanted) if found.points else 0
        found.missing = max(found.missing, wanted - found.points if wanted - found.points > slack else 0)
        found.unknown = max(found.points - wanted if found.points - wanted > slack else 0, 0)
        return found

    def count_elsewhere(self) -> int:
        """Return how many memories are searchable in another vector space alone."""
        query = sa.select(sa.func.count()).where(
            memories.c.state == "searchable", memories.c.space != self._index.space
        )
        with self._store.read_connection() as connection:
            return connection.execute(query).scalar_one()

    def _read_rows(self, connection: Connection, *conditions: sa.ColumnElement[bool], limit: int) -> list[_Row]:
        query = sa.select(*_ROW).where(self._here, *conditions).order_by(memories.c.seq).limit(limit)
        return [_Row(*row) for row in connection.execute(query)]

    def _compare_page(self, page: Sequence[_Row], *, repair: bool) -> Comparison:
        if not page:
            return Comparison()
        with self._index.collections.open_ready_client() as client:
            versions, rules = read_versions(client, self._index.space, [each for row in page for each in row.point_ids])
            missing = [row for row in page if not all(point in versions for point in row.point_ids)]
            # Points in another version than was noted, or is about to be.
            wrong = {
                row.seq: [
                    point
                    for point in row.point_ids
                    if versions.get(point, row.version) not in range(row.indexed_version, row.version + 1)
                ]
                for row in page
            }
            stale = [row for row in page if wrong[row.seq]]
            outdated = [
                row for row in page if any(rules.get(point, TEXT_RULES) != TEXT_RULES for point in row.point_ids)
            ]
            if repair and stale:
                # A newer version than the row's is no use either: the row is the truth, as after a restored backup.
                doomed = [point for row in stale for point in wrong[row.seq]]
                client.delete(self._index.space, points_selector=list(doomed), wait=True)
        if repair:
            self._backlog.requeue({row.seq: row.indexed_version for row in (*missing, *stale)})
            self._backlog.reindex([row.seq for row in outdated])
        return Comparison(rows=len(page), missing=len(missing), stale=len(stale), outdated=len(outdated))


def read_versions(
    client: QdrantClient, collection: str, points: Collection[UUID]
) -> tuple[dict[UUID, int], dict[UUID, int]]:
    """Return, of those of `points` that are in a collection, the memory's version and the rules of the text."""
    ids = [str(point) for point in points]
    versions, rules = dict[UUID, int](), dict[UUID, int]()
    for at in range(0, len(ids), PAGE):
        for found in client.retrieve(collection, ids[at : at + PAGE], with_payload=["version", "rules"]):
            payload = found.payload or {}
            versions[UUID(str(found.id))] = int(payload.get("version", 0))
            rules[UUID(str(found.id))] = int(payload.get("rules", 1))
    return versions, rules
