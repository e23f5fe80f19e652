"""Rebuilding an index beside the one that is searched, and switching to it in one step.

A build walks over all memories by their number and stores its progress after each slice, so that one that is killed
goes on from there; vectors that were paid for are kept and cost nothing the second time. When it has caught up, the
alias of the space is switched, and a comparison repairs the differences that arose meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import sqlalchemy as sa

from agentstate.errors import Conflict, ProviderRateLimited, ProviderTransient
from agentstate.memory.embedding.batch_backfill import Backfill
from agentstate.memory.embedding.embed_texts import Embedded, MemoryEmbedder
from agentstate.memory.embedding.queue import EmbeddingBacklog
from agentstate.memory.facts.records import RECORD_COLUMNS, MemoryRecord
from agentstate.memory.index.qdrant_index import PAGE, MemoryIndex
from agentstate.memory.index.verify import Comparison, IndexVerifier, read_versions
from agentstate.memory.search.preceding_turns import Surroundings
from agentstate.providers.embedding.embedder import Embedder
from agentstate.providers.embedding.openai_batches import OpenAIBatches
from agentstate.providers.embedding.openai_embedder import OpenAIEmbedder
from agentstate.settings import Settings
from agentstate.store.store import Store
from agentstate.store.tables import index_builds, memories
from agentstate.store.tables.base import db_time

_log = logging.getLogger(__name__)

TRIES = 8
"""Provider failures in a row before a build stops; started again, it goes on."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class BuildProgress:
    """The progress of a build."""

    collection: str
    after_seq: int
    written: int
    """Memories that are in it."""
    total: int
    """Memories that will be."""
    resumed: bool = False
    earlier: int = 0
    """Memories that were in it when this run began: a run before was cut short."""
    left_out: int = 0
    """Memories that the provider will not take, in this run; they are found by their words."""


Progress = Callable[[BuildProgress], None]


class IndexBuilder:
    """Fills a collection for the vector space of `index`, which may be another one than the workers use.

    Args:
        store: the durable store.
        index: of the space to be filled.
        embedder: makes the vectors that are missing.
        settings: for the size of a slice.
        pause: sleeps for so many seconds, to give a failing provider time.
    """

    def __init__(
        self,
        store: Store,
        index: MemoryIndex,
        embedder: Embedder,
        settings: Settings,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._index = index
        self._slice = min(settings.embedding_batch, embedder.max_inputs) if embedder.semantic else PAGE
        self._embedder = MemoryEmbedder(
            EmbeddingBacklog(store),
            embedder,
            index.space,
            max_inputs=max(self._slice, 1),
            max_text_tokens=settings.embedding_text_tokens,
        )
        self._pause = pause
        self._left_out = 0
        self._backfill: Backfill | None = None
        if settings.embedding_backfill == "batch" and isinstance(embedder, OpenAIEmbedder):
            self._backfill = Backfill(store, self._embedder, OpenAIBatches(embedder), index.space, pause=pause)

    def run_build(
        self, progress: Progress = lambda _build: None, *, remove_unknown: bool = False
    ) -> tuple[BuildProgress, Comparison]:
        """Build, switch and compare; return the progress, and the differences that were found and repaired.

        Args:
            progress: called with the progress so far.
            remove_unknown: switch also when the present collection has points of memories that this store does not
                have, which go with it.

        Raises:
            ProviderError: the provider fails for good; run it again to go on.
            IndexUnavailable: Qdrant does not answer; run it again to go on.
            Conflict: another build of the space is at work, or the switch would remove points that are not known.
        """
        if not remove_unknown and (unknown := IndexVerifier(self._store, self._index).count_unknown()):
            raise Conflict(
                f"{self._index.space} has {unknown:,} points of memories that this durable store does not have, "
                "and the switch would remove them. If they are another store's, give each store a Qdrant of its own; "
                "if not, run it again with --remove-unknown. Nothing was changed."
            )
        build = self.start_build()
        progress(build)
        if self._backfill is not None:
            self._backfill.run_batches(_log.info)
        while (following := self.build_slice(build)) is not None:
            build = following
            progress(build)
        return build, self.finish_build(build)

    def start_build(self) -> BuildProgress:
        """Return the build that was cut short, or a new one."""
        query = sa.select(index_builds.c.collection).where(
            index_builds.c.space == self._index.space, index_builds.c.state == "filling"
        )
        there = self._index.collections.list_generations()
        with self._store.read_connection() as connection:
            begun = [name for name in connection.execute(query).scalars() if name in there]
        if begun:
            build = self._read_progress(begun[-1], resumed=True)
            return replace(build, earlier=build.written)
        name = self._index.collections.create_next()
        with self._store.transaction() as tx:
            tx.connection.execute(index_builds.delete().where(index_builds.c.space == self._index.space))
            tx.connection.execute(index_builds.insert().values(collection=name, space=self._index.space))
        return self._read_progress(name)

    def build_slice(self, build: BuildProgress) -> BuildProgress | None:
        """Fill in the next slice; return None when there is none. Raises as `run_build`."""
        waiting = (memories.c.seq > build.after_seq, memories.c.state != "dead")
        query = sa.select(*RECORD_COLUMNS).where(*waiting).order_by(memories.c.seq).limit(self._slice)
        with self._store.read_connection() as connection:
            page = [MemoryRecord(**row) for row in connection.execute(query).mappings()]
        if not page:
            return None
        made = self._embed_page(page)
        failed = {memory.seq for group, _ in made.group_failed(page) for memory in group}
        self._left_out += len(failed)
        ready = [memory for memory in page if memory.seq not in failed]
        with self._store.read_connection() as connection:
            around = Surroundings.read(connection, ready)
        points = [point for memory in ready for point in made.make_points(memory, around)]
        self._index.upsert_points(points, into=build.collection)
        mine = (index_builds.c.collection == build.collection, index_builds.c.after_seq == build.after_seq)
        counted = {"after_seq": page[-1].seq, "written": index_builds.c.written + len(ready), "updated_at": db_time()}
        with self._store.transaction() as tx:
            if not tx.connection.execute(index_builds.update().where(*mine).values(**counted)).rowcount:
                raise Conflict(f"another process builds {build.collection} already; this one stopped. Nothing is lost.")
        return replace(self._read_progress(build.collection, resumed=build.resumed), earlier=build.earlier)

    def finish_build(self, build: BuildProgress) -> Comparison:
        """Switch to the filled collection, mark its memories as searchable there, and compare.

        Killed on the way, the next run does the rest of this.
        """
        self._index.collections.switch_alias(build.collection)
        after: int | None = 0
        while after is not None:
            after = self._adopt_page(after)
        found = IndexVerifier(self._store, self._index).compare_all()
        with self._store.transaction() as tx:
            mine = index_builds.update().where(index_builds.c.collection == build.collection)
            tx.connection.execute(mine.values(state="serving", updated_at=db_time()))
        return found

    def _embed_page(self, page: list[MemoryRecord]) -> Embedded:
        for attempt in range(TRIES):
            made = self._embedder.embed_memories(page)
            errors = [error for _, error in made.failures if isinstance(error, ProviderTransient)]
            refused = [error for group, error in made.group_failed(page) if len(group) > 1 and error not in errors]
            if refused:
                raise refused[0]
            if not errors:
                return made
            error = errors[0]
            asked = error.retry_after if isinstance(error, ProviderRateLimited) else None
            self._pause(min(asked if asked is not None else FIRST_PAUSE_S * 2.0**attempt, LONGEST_PAUSE_S))
        raise errors[0]

    def _read_progress(self, collection: str, *, resumed: bool = False) -> BuildProgress:
        total = sa.select(sa.func.count()).select_from(memories).where(memories.c.state != "dead").scalar_subquery()
        query = sa.select(index_builds.c.collection, index_builds.c.after_seq, index_builds.c.written, total)
        with self._store.read_connection() as connection:
            name, after_seq, written, all_of_them = connection.execute(
                query.where(index_builds.c.collection == collection)
            ).one()
        return BuildProgress(
            collection=name,
            after_seq=after_seq,
            written=written,
            total=all_of_them,
            resumed=resumed,
            left_out=self._left_out,
        )

    def _adopt_page(self, after: int) -> int | None:
        """Mark the next memories that were searchable in another space as searchable in this one."""
        here, elsewhere = self._index.space, memories.c.space != self._index.space
        moved = (memories.c.seq > after, memories.c.state == "searchable", elsewhere)
        query = sa.select(*RECORD_COLUMNS).where(*moved).order_by(memories.c.seq).limit(PAGE)
        with self._store.read_connection() as connection:
            page = [MemoryRecord(**row) for row in connection.execute(query).mappings()]
        if not page:
            return None
        points = {memory.seq: self._embedder.point_ids(memory) for memory in page}
        with self._index.collections.open_ready_client() as client:
            versions, _ = read_versions(client, here, [point for each in points.values() for point in each])
        with self._store.transaction() as tx:
            for memory in page:
                whole = all(versions.get(point) == memory.version for point in points[memory.seq])
                values = {"space": here, "points": len(points[memory.seq]), "indexed_version": memory.version}
                again = {"state": "stored", "searchable_at": None, "due_at": db_time(), "attempts": 0, "claim": None}
                unchanged = (memories.c.seq == memory.seq, memories.c.version == memory.version)
                tx.connection.execute(memories.update().where(*unchanged, elsewhere).values(values if whole else again))
        return page[-1].seq
