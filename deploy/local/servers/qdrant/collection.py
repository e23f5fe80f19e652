"""One collection: its description, its engine shard, and whether it has changes that are not synced yet."""

from __future__ import annotations

import logging
import shutil
from datetime import datetime
from pathlib import Path

import qdrant_edge as edge
from qdrant_client.http import models

from agentstate.clock import utc_now
from agentstate.errors import Conflict
from deploy.local.servers.qdrant.engine import engine_version, translate_errors
from deploy.local.servers.qdrant.folder import read_json, sync_folder, write_json
from deploy.local.servers.qdrant.schema import edge_config, vectors_of

_FORMAT = 1
_COMFORTABLE = 100_000
"""Points up to which the engine answers in a few milliseconds without an index build (measured at 384 numbers)."""

_log = logging.getLogger(__name__)


class Collection:
    """A named set of points in one engine shard.

    Every update is in the write-ahead log before it returns, so it outlives the process; `flush` syncs it to
    the disk, so that it outlives a power failure too.
    """

    def __init__(self, folder: Path, name: str, body: models.CreateCollection, created_at: datetime) -> None:
        self.folder = folder
        self.name = name
        self.body = body
        self.created_at = created_at
        self.vectors = vectors_of(body)
        self.shard: edge.EdgeShard
        self._unsynced = False

    @classmethod
    def create_in(cls, folder: Path, name: str, body: models.CreateCollection) -> Collection:
        """Make a collection in an empty folder; its description is written last."""
        collection = cls(folder, name, body, utc_now())
        with translate_errors():
            collection.shard = edge.EdgeShard.create(str(folder / "shard"), edge_config(body))
            collection.shard.flush()
        description = {
            "format": _FORMAT,
            "name": name,
            "created_at": collection.created_at.isoformat(),
            "engine": engine_version(),
            "config": body.model_dump(mode="json", exclude_none=True),
        }
        write_json(folder / "collection.json", description)
        return collection

    @classmethod
    def open_from(cls, folder: Path) -> Collection:
        """Open a collection made by `create_in`, with every acknowledged change.

        Raises:
            Conflict: The folder cannot be read, or another process holds it.
        """
        told = read_json(folder / "collection.json")
        if told.get("format") != _FORMAT:
            raise Conflict(f"{folder} was written in format {told.get('format')}; this version reads {_FORMAT}.")
        body = models.CreateCollection.model_validate(told["config"])
        collection = cls(folder, told["name"], body, datetime.fromisoformat(told["created_at"]))
        try:
            collection.shard = edge.EdgeShard.load(str(folder / "shard"))
        except Exception as error:
            raise Conflict(
                f"Collection '{collection.name}' in {folder} cannot be opened: {error}. If no other process has it "
                "open, move that folder away, start again and index again: the truth is in the durable store."
            ) from error
        return collection

    @property
    def warnings(self) -> list[dict[str, str]]:
        """Warnings about this collection for the user."""
        if self.shard.info().points_count <= _COMFORTABLE:
            return []
        return [{"message": f"More than {_COMFORTABLE} points: the one-machine engine gets slow; run a Qdrant server."}]

    def apply_update(self, operation: edge.UpdateOperation) -> None:
        """Apply one change; at return it is in the write-ahead log."""
        self._unsynced = True
        with translate_errors():
            self.shard.update(operation)

    def flush_changes(self) -> None:
        """Sync changes to the disk, when there are any."""
        if self._unsynced:
            with translate_errors():
                self.shard.flush()
            self._unsynced = False

    def reclaim_space(self) -> None:
        """Reclaim the space of deleted points; blocks the whole process, so never while serving."""
        _log.info("Reclaiming space of collection '%s'", self.name)
        with translate_errors():
            self.shard.optimize()

    def close(self) -> None:
        """Sync and let go of the files."""
        self.flush_changes()
        self.shard.close()

    def remove_description(self) -> None:
        """Remove the description; from here on the collection is gone, even after a crash."""
        (self.folder / "collection.json").unlink()
        sync_folder(self.folder)

    def remove_files(self) -> None:
        """Remove the files of a forgotten collection; files left by an interrupted call go at the next start."""
        self.shard.close()
        shutil.rmtree(self.folder)
