"""Routes about collections: make, describe, drop; aliases; payload indexes."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge
from qdrant_client.http import models

from deploy.local.servers.qdrant import indexes, schema
from deploy.local.servers.qdrant.route import Call, add_route


@add_route("GET", "/collections")
def list_collections(call: Call) -> Any:
    """The names of all collections."""
    return {"collections": [{"name": name} for name in call.catalog.names]}


@add_route("GET", "/aliases")
def list_aliases(call: Call) -> Any:
    """All aliases."""
    return _aliases_json(call.catalog.aliases)


@add_route("POST", "/collections/aliases")
def change_aliases(call: Call) -> Any:
    """Create, delete and rename aliases, all together or not at all."""
    call.catalog.change_aliases(call.read_body(models.ChangeAliasesOperation).actions)
    return True


@add_route("PUT", "/collections/{name}")
def create_collection(call: Call) -> Any:
    """Make a collection."""
    call.catalog.create_collection(call.path["name"], call.read_body(models.CreateCollection))
    return True


@add_route("GET", "/collections/{name}")
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
        "config": schema.describe_config(collection.body),
        "payload_schema": {name: indexes.describe_index(index) for name, index in info.payload_schema.items()},
        "created_at": collection.created_at.isoformat(),
    }


@add_route("DELETE", "/collections/{name}")
def drop_collection(call: Call) -> Any:
    """Remove a collection and the aliases to it; false when there was none."""
    return call.catalog.drop_collection(call.path["name"])


@add_route("GET", "/collections/{name}/exists")
def collection_exists(call: Call) -> Any:
    """Whether a collection or an alias has this name."""
    return {"exists": call.catalog.has_name(call.path["name"])}


@add_route("GET", "/collections/{name}/aliases")
def list_collection_aliases(call: Call) -> Any:
    """The aliases of one collection."""
    target = call.collection.name
    return _aliases_json({alias: name for alias, name in call.catalog.aliases.items() if name == target})


@add_route("PUT", "/collections/{name}/index", "wait", "ordering")
def create_index(call: Call) -> Any:
    """Make a payload index; an existing one of the same field is replaced."""
    collection, body = call.collection, call.read_body(models.CreateFieldIndex)
    index = indexes.edge_index(body.field_schema)
    collection.apply_update(edge.UpdateOperation.create_field_index(body.field_name, index))
    return update_result(call)


@add_route("DELETE", "/collections/{name}/index/{field}", "wait", "ordering")
def delete_index(call: Call) -> Any:
    """Remove a payload index; the payloads stay."""
    call.collection.apply_update(edge.UpdateOperation.delete_field_index(call.path["field"]))
    return update_result(call)


def update_result(call: Call) -> dict[str, Any]:
    """Return the answer to a change, which is applied already; its status depends on the caller's `wait`."""
    return {"operation_id": None, "status": "completed" if call.options.get("wait") == "true" else "acknowledged"}


def _aliases_json(aliases: dict[str, str]) -> dict[str, Any]:
    return {"aliases": [{"alias_name": alias, "collection_name": name} for alias, name in aliases.items()]}
