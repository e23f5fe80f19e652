"""Routes about collections: make, describe, drop; aliases; payload indexes."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge
from qdrant_client.http import models

from deploy.local.servers.qdrant import indexes, schema
from deploy.local.servers.qdrant.route import Call, route


@route("GET", "/collections")
def list_collections(call: Call) -> Any:
    """The names of all collections."""
    return {"collections": [{"name": name} for name in call.catalog.names]}


@route("GET", "/aliases")
def list_aliases(call: Call) -> Any:
    """All aliases."""
    return _aliases(call.catalog.aliases)


@route("POST", "/collections/aliases")
def change_aliases(call: Call) -> Any:
    """Create, delete and rename aliases, all together or not at all."""
    call.catalog.change_aliases(call.read(models.ChangeAliasesOperation).actions)
    return True


@route("PUT", "/collections/{name}")
def create_collection(call: Call) -> Any:
    """Make a collection."""
    call.catalog.create(call.path["name"], call.read(models.CreateCollection))
    return True


@route("GET", "/collections/{name}")
def describe_collection(call: Call) -> Any:
    """Configuration, counts and payload indexes of a collection."""
    collection = call.collection
    info = collection.shard.info()
    return {
        "status": "green",
        "optimizer_status": "ok",
        "warnings": collection.warnings,
        "indexed_vectors_count": info.indexed_vectors_count,
        "points_count": info.points_count,
        "segments_count": info.segments_count,
        "config": schema.described(collection.body),
        "payload_schema": {name: indexes.described(index) for name, index in info.payload_schema.items()},
        "created_at": collection.created_at.isoformat(),
    }


@route("DELETE", "/collections/{name}")
def drop_collection(call: Call) -> Any:
    """Remove a collection and the aliases to it; false when there was none."""
    return call.catalog.drop(call.path["name"])


@route("GET", "/collections/{name}/exists")
def collection_exists(call: Call) -> Any:
    """Whether a collection or an alias has this name."""
    return {"exists": call.catalog.has(call.path["name"])}


@route("GET", "/collections/{name}/aliases")
def list_collection_aliases(call: Call) -> Any:
    """The aliases of one collection."""
    target = call.collection.name
    return _aliases({alias: name for alias, name in call.catalog.aliases.items() if name == target})


@route("PUT", "/collections/{name}/index", "wait", "ordering")
def create_index(call: Call) -> Any:
    """Make a payload index; an existing one of the same field is replaced."""
    collection, body = call.collection, call.read(models.CreateFieldIndex)
    index = indexes.edge_index(body.field_schema)
    collection.update(edge.UpdateOperation.create_field_index(body.field_name, index))
    return updated(call)


@route("DELETE", "/collections/{name}/index/{field}", "wait", "ordering")
def delete_index(call: Call) -> Any:
    """Remove a payload index; the payloads stay."""
    call.collection.update(edge.UpdateOperation.delete_field_index(call.path["field"]))
    return updated(call)


def updated(call: Call) -> dict[str, Any]:
    """The answer to a change. It is applied in either case; the word is what the caller asked to wait for."""
    return {"operation_id": None, "status": "completed" if call.options.get("wait") == "true" else "acknowledged"}


def _aliases(aliases: dict[str, str]) -> dict[str, Any]:
    return {"aliases": [{"alias_name": alias, "collection_name": name} for alias, name in aliases.items()]}
