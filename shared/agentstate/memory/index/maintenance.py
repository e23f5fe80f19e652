"""Looking after the index of a fleet: list, compare with the store, rebuild, move to another model, drop, revive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentstate.errors import InvalidInput
from agentstate.ids import shorten_repr, validate_name
from agentstate.memory.embedding.provider_circuit import ProviderCircuit
from agentstate.memory.embedding.queue import EmbeddingBacklog
from agentstate.memory.facts.texts import check_flag, check_text, check_whole
from agentstate.memory.index.qdrant_index import MemoryIndex
from agentstate.memory.index.rebuild import BuildProgress, IndexBuilder
from agentstate.memory.index.verify import Comparison, IndexVerifier
from agentstate.settings import Settings

if TYPE_CHECKING:
    from agentstate.memory.embedding.queue import DeadMemory
    from agentstate.runtime import Runtime

EMBED_PENDING = "embedding.embed_pending"
MAX_LISTED = 10_000


@dataclass(frozen=True, slots=True)
class Collection:
    """One collection of memories in the index."""

    collection: str
    points: int
    serves: str | None
    """The alias by which it is searched; None for a collection that is not."""


class FleetIndex:
    """The index of memories of all agents; `fleet.index`.

    The durable store is the truth. The index is made from it, can be compared with it, and made again at any time.

    Example:
        comparison = fleet.index.verify()
        print(comparison.is_sound)
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def space(self) -> str:
        """The vector space in use: embedder, model and width."""
        return self._runtime.index.collections.name

    def list_collections(self) -> list[Collection]:
        """Return the collections of memories; raises IndexUnavailable."""
        collections = self._runtime.index.collections
        with collections.open_client() as client:
            serving = {found.collection_name: found.alias_name for found in client.get_aliases().aliases}
            names = collections.list_collections()
            return [Collection(name, client.count(name).count, serving.get(name)) for name in names]

    def verify(
        self,
        *,
        repair: bool = True,
        remove_unknown: bool = False,
        progress: Callable[[Comparison], None] = lambda _found: None,
    ) -> Comparison:
        """Compare every memory with its points in the index.

        Args:
            repair: queue what is missing for the workers again, and remove surplus points.
            remove_unknown: also remove points of memories that this durable store does not have.
            progress: is called with the counts so far.

        Raises:
            IndexUnavailable: Qdrant does not answer.
        """
        check_flag(repair, "repair")
        check_flag(remove_unknown, "remove_unknown")
        _check_progress(progress)
        verifier = IndexVerifier(self._runtime.store, self._runtime.index)
        found = verifier.compare_all(repair=repair, remove_unknown=remove_unknown, progress=progress)
        if repair and found.queued:
            self._runtime.jobs.wake_bulk(EMBED_PENDING)
        return found

    def rebuild(
        self,
        settings: Settings | None = None,
        *,
        remove_unknown: bool = False,
        progress: Callable[[BuildProgress], None] = lambda _build: None,
    ) -> tuple[BuildProgress, Comparison]:
        """Build the index again from the durable store, beside the one that is searched, and switch to it.

        Search goes on meanwhile. Called again after an interruption, it resumes.

        Args:
            settings: settings that name another embedding model, to move to it; the fleet's own when left out.
            remove_unknown: as `IndexBuilder.run_build`.
            progress: is called with the progress so far.

        Raises:
            ProviderError: the provider fails for good. IndexUnavailable: Qdrant does not answer. Call again to resume.
            Conflict: another build of the space is at work, or points would be removed that are not known.
        """
        check_flag(remove_unknown, "remove_unknown")
        _check_progress(progress)
        if settings is not None and not isinstance(settings, Settings):
            raise InvalidInput(f"settings is {shorten_repr(settings)}; give a Settings. Nothing was done.")
        runtime = self._runtime
        if settings is None:
            target, embedder, settings = runtime.index, runtime.embedder, runtime.settings
        else:
            embedder = runtime.embedder_by(settings)
            target = MemoryIndex(lambda: runtime.qdrant, embedder.space)
        builder = IndexBuilder(runtime.store, target, embedder, settings)
        build, found = builder.run_build(progress, remove_unknown=remove_unknown)
        if found.queued:
            runtime.jobs.wake_bulk(EMBED_PENDING)
        return build, found

    def list_dead(self, *, agent_id: str | None = None, limit: int = 50) -> list[DeadMemory]:
        """Return memories that the provider refused for good, with the cause; they are still found by their words."""
        check_whole(limit, "limit", most=MAX_LISTED)
        if agent_id is not None:
            validate_name(agent_id, "agent_id")
        return EmbeddingBacklog(self._runtime.store).list_dead(agent_id=agent_id, limit=limit)

    def revive(self, *, agent_id: str | None = None) -> int:
        """Queue memories that were given up again, once the cause is gone; return their number."""
        if agent_id is not None:
            validate_name(agent_id, "agent_id")
        revived = EmbeddingBacklog(self._runtime.store).revive_dead(agent_id=agent_id)
        ProviderCircuit(self._runtime.store, self._runtime.index.space).record_success()
        self._runtime.jobs.wake_bulk(EMBED_PENDING)
        return revived

    def drop(self, collection: str) -> None:
        """Drop a collection of another vector space than the one in use; raises InvalidInput for any other."""
        check_text(collection, limit=1_000, what="collection")
        collections = self._runtime.index.collections
        if collection in collections.list_generations():
            raise InvalidInput(
                f"{collection} is of the vector space in use; `agentstate index rebuild` replaces it. Nothing was done."
            )
        if collection not in collections.list_collections():
            raise InvalidInput(f"there is no collection {collection}; `agentstate index list` shows them.")
        collections.drop_collection(collection)


def _check_progress(progress: object) -> None:
    if not callable(progress):
        raise InvalidInput(f"progress is {shorten_repr(progress)}; give a function of the counts. Nothing was done.")
