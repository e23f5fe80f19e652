"""Which collections and aliases there are, and how they come and go."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from contextlib import ExitStack

from qdrant_client.http import models

from agentstate.errors import Conflict, InvalidInput, NotFound
from deploy.local.servers.qdrant.collection import Collection
from deploy.local.servers.qdrant.folder import DataFolder, read_json, write_json

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,254}")
_Aliases = dict[str, str]


class Catalog:
    """All collections of one data folder, by name or alias."""

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._collections: dict[str, Collection] = {}
        self._aliases: _Aliases = {}

    @property
    def names(self) -> list[str]:
        """The names of all collections."""
        return sorted(self._collections)

    @property
    def aliases(self) -> _Aliases:
        """Alias -> collection."""
        return dict(sorted(self._aliases.items()))

    def open_collections(self) -> None:
        """Open everything in the folder.

        Raises:
            Conflict: A collection cannot be opened.
        """
        for path in self._folder.list_collections():
            collection = Collection.open_from(path)
            self._collections[collection.name] = collection
        file = self._folder.aliases_file
        self._aliases = self._drop_dangling(read_json(file)) if file.exists() else {}

    def close(self) -> None:
        """Sync and close everything; trouble with one collection does not keep the others from it."""
        with ExitStack() as stack:
            for collection in self._collections.values():
                stack.callback(collection.close)
            self._collections = {}

    def flush_collections(self) -> None:
        """Sync all changes; an error in one collection does not keep the others from it."""
        with ExitStack() as stack:
            for collection in self._collections.values():
                stack.callback(collection.flush_changes)

    def optimize_collections(self) -> None:
        """Reclaim space in every collection; only before serving."""
        for collection in self._collections.values():
            collection.reclaim_space()

    def has_name(self, name: str) -> bool:
        """Whether a collection or an alias has this name."""
        return self._resolve_name(name) in self._collections

    def get_collection(self, name: str) -> Collection:
        """The collection with this name or alias.

        Raises:
            NotFound: There is none.
        """
        try:
            return self._collections[self._resolve_name(name)]
        except KeyError:
            raise NotFound(f"Not found: Collection `{name}` doesn't exist!") from None

    def create_collection(self, name: str, body: models.CreateCollection) -> None:
        """Make a collection.

        Raises:
            Conflict: The name is taken.
            InvalidInput: The name or an option is refused.
        """
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"The name '{name}' is refused: letters, digits, `_`, `-` and `.`, at most 255.")
        if self.has_name(name):
            raise Conflict(f"Wrong input: Collection `{name}` already exists!")
        path = self._folder.new_collection()
        try:
            self._collections[name] = Collection.create_in(path, name, body)
        except BaseException:
            shutil.rmtree(path)
            raise

    def drop_collection(self, name: str) -> bool:
        """Remove a collection and the aliases to it; False when there is none of that name."""
        collection = self._collections.get(name)
        if collection is None:
            return False
        collection.remove_description()
        del self._collections[name]
        self._store_aliases(self._drop_dangling(self._aliases))
        collection.remove_files()
        return True

    def change_aliases(self, actions: Iterable[models.AliasOperations]) -> None:
        """Apply all of the actions or none.

        Raises:
            NotFound: A collection or an alias is not there.
            Conflict: An alias would hide a collection.
        """
        changed = dict(self._aliases)
        for action in actions:
            match action:
                case models.CreateAliasOperation():
                    create = action.create_alias
                    self._check_alias(create.alias_name, create.collection_name)
                    changed[create.alias_name] = create.collection_name
                case models.DeleteAliasOperation():
                    changed.pop(action.delete_alias.alias_name, None)
                case models.RenameAliasOperation():
                    rename = action.rename_alias
                    if rename.old_alias_name not in changed:
                        raise NotFound(f"Not found: Alias {rename.old_alias_name} does not exists!")
                    self._check_alias(rename.new_alias_name, changed[rename.old_alias_name])
                    changed[rename.new_alias_name] = changed.pop(rename.old_alias_name)
        self._store_aliases(changed)

    def _check_alias(self, alias: str, collection: str) -> None:
        if collection not in self._collections:
            raise NotFound(f"Not found: Collection `{collection}` doesn't exist!")
        if alias in self._collections:
            raise Conflict(f"Wrong input: Collection `{alias}` already exists, an alias cannot take its name.")
        if not _NAME.fullmatch(alias):
            raise InvalidInput(f"The alias '{alias}' is refused: letters, digits, `_`, `-` and `.`, at most 255.")

    def _store_aliases(self, aliases: _Aliases) -> None:
        if aliases != self._aliases:
            write_json(self._folder.aliases_file, aliases)
            self._aliases = aliases

    def _drop_dangling(self, aliases: _Aliases) -> _Aliases:
        return {alias: name for alias, name in aliases.items() if name in self._collections}

    def _resolve_name(self, name: str) -> str:
        return self._aliases.get(name, name)
