"""The handlers: collections, aliases and indexes, changes of points, and searches."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge
from pydantic import RootModel
from qdrant_client.http import models

from agentstate.errors import InvalidInput, NotFound
from deploy.local.servers.qdrant import schema
from deploy.local.servers.qdrant.collection import Collection
from deploy.local.servers.qdrant.filters import PointId, edge_filter, edge_id, optional_filter
from deploy.local.servers.qdrant.points import (
    check_payload,
    edge_points,
    edge_vectors,
    hit_json,
    offset_json,
    record_json,
)
from deploy.local.servers.qdrant.queries import check_positive, edge_query, edge_scroll, payload_selector
from deploy.local.servers.qdrant.route import Call, add_route
from deploy.local.servers.qdrant.schema import describe_index, edge_index, refuse_options


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
        "payload_schema": {name: describe_index(index) for name, index in info.payload_schema.items()},
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
    index = edge_index(body.field_schema)
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


_Upsert = RootModel[models.PointsList | models.PointsBatch]
_Selector = RootModel[models.PointsSelector]
_MODES = {
    models.UpdateMode.UPSERT: edge.UpdateMode.Upsert,
    models.UpdateMode.INSERT_ONLY: edge.UpdateMode.InsertOnly,
    models.UpdateMode.UPDATE_ONLY: edge.UpdateMode.UpdateOnly,
}
_KEY_STEPS = 32
"""Steps of a nested payload key; with the depth of a payload this stays below what the engine can read."""


@add_route("PUT", "/collections/{name}/points", "wait", "ordering")
def upsert_points(call: Call) -> Any:
    """Write whole points, all of them or none; with a filter, only where the stored point fits it."""
    collection, body = call.collection, call.read_body(_Upsert).root
    refuse_options(body, ("shard_key",), "an upsert")
    points = edge_points(body, collection.vectors)
    mode = None if body.update_mode is None else _MODES[body.update_mode]
    if points:
        collection.apply_update(edge.UpdateOperation.upsert_points(points, optional_filter(body.update_filter), mode))
    return update_result(call)


@add_route("PUT", "/collections/{name}/points/vectors", "wait", "ordering")
def update_vectors(call: Call) -> Any:
    """Give existing points vectors; payload and other vectors stay."""
    collection, body = call.collection, call.read_body(models.UpdateVectors)
    refuse_options(body, ("shard_key",), "an update of vectors")
    changes = [
        edge.PointVectors(edge_id(point.id), edge_vectors(point.vector, collection.vectors)) for point in body.points
    ]
    _require_existing(collection, [point.id for point in body.points])
    collection.apply_update(edge.UpdateOperation.update_vectors(changes, optional_filter(body.update_filter)))
    return update_result(call)


@add_route("POST", "/collections/{name}/points/payload", "wait", "ordering")
def set_payload(call: Call) -> Any:
    """Set some fields of the payload of points; other fields stay."""
    operations = edge.UpdateOperation.set_payload, edge.UpdateOperation.set_payload_by_filter
    return _change_payload(call, *operations)


@add_route("PUT", "/collections/{name}/points/payload", "wait", "ordering")
def overwrite_payload(call: Call) -> Any:
    """Replace the payload of points."""
    operations = edge.UpdateOperation.overwrite_payload, edge.UpdateOperation.overwrite_payload_by_filter
    return _change_payload(call, *operations)


@add_route("POST", "/collections/{name}/points/payload/delete", "wait", "ordering")
def delete_payload(call: Call) -> Any:
    """Remove some fields of the payload of points."""
    collection, body = call.collection, call.read_body(models.DeletePayload)
    operations = edge.UpdateOperation.delete_payload, edge.UpdateOperation.delete_payload_by_filter
    collection.apply_update(_select_targets(collection, body, *operations, body.keys))
    return update_result(call)


@add_route("POST", "/collections/{name}/points/payload/clear", "wait", "ordering")
def clear_payload(call: Call) -> Any:
    """Remove the whole payload of points."""
    collection, body = call.collection, call.read_body(_Selector).root
    operations = edge.UpdateOperation.clear_payload, edge.UpdateOperation.clear_payload_by_filter
    collection.apply_update(_select_targets(collection, body, *operations))
    return update_result(call)


@add_route("POST", "/collections/{name}/points/delete", "wait", "ordering")
def delete_points(call: Call) -> Any:
    """Remove points by id or filter; ids that are not there are no error."""
    collection, body = call.collection, call.read_body(_Selector).root
    refuse_options(body, ("shard_key",), "a delete")
    if isinstance(body, models.FilterSelector):
        operation = edge.UpdateOperation.delete_points_by_filter(edge_filter(body.filter))
    else:
        operation = edge.UpdateOperation.delete_points([edge_id(point) for point in body.points])
    collection.apply_update(operation)
    return update_result(call)


def _change_payload(call: Call, by_id: Any, by_filter: Any) -> Any:
    collection, body = call.collection, call.read_body(models.SetPayload)
    check_payload(body.payload)
    if body.key is not None and body.key.count(".") + body.key.count("[") >= _KEY_STEPS:
        raise InvalidInput(f"The key '{body.key[:80]}' has more than {_KEY_STEPS} steps; nothing was written.")
    collection.apply_update(_select_targets(collection, body, by_id, by_filter, body.payload, body.key))
    return update_result(call)


def _select_targets(collection: Collection, body: Any, by_id: Any, by_filter: Any, *rest: Any) -> Any:
    """The operation on the points that are named by id or chosen by filter.

    Raises:
        InvalidInput: Neither is given.
        NotFound: A named point is not there.
    """
    refuse_options(body, ("shard_key",), "a change of payload")
    if getattr(body, "points", None) is not None:
        return by_id(_require_existing(collection, body.points), *rest)
    if getattr(body, "filter", None) is not None:
        return by_filter(edge_filter(body.filter), *rest)
    raise InvalidInput("Either `points` or `filter` must say which points are meant; nothing was written.")


def _require_existing(collection: Collection, points: list[models.ExtendedPointId]) -> list[PointId]:
    """The ids, when all of them are there: the engine would change the ones before a missing one."""
    ids = [edge_id(point) for point in points]
    missing = set(ids) - {record.id for record in collection.shard.retrieve(ids, False, False)}  # noqa: FBT003
    if missing:
        raise NotFound(f"Not found: No point with id {next(iter(missing))} found; nothing was written.")
    return ids


@add_route("POST", "/collections/{name}/points", "consistency")
def retrieve_points(call: Call) -> Any:
    """Points by id, in the order asked for; those that are not there are left out."""
    collection, body = call.collection, call.read_body(models.PointRequest)
    refuse_options(body, ("shard_key",), "a retrieval")
    selector = payload_selector(body.with_payload, default=True)
    ids = [edge_id(point) for point in body.ids]
    return [record_json(record) for record in collection.shard.retrieve(ids, selector, body.with_vector or False)]


@add_route("GET", "/collections/{name}/points/{id}", "consistency")
def retrieve_one(call: Call) -> Any:
    """One whole point by id."""
    text = call.path["id"]
    point = edge_id(int(text) if text.isdecimal() else text)
    records = call.collection.shard.retrieve([point], True, True)  # noqa: FBT003 - the engine's own signature
    if not records:
        raise NotFound(f"Not found: Point with id {text} does not exists!")
    return record_json(records[0])


@add_route("POST", "/collections/{name}/points/query", "consistency")
def query_points(call: Call) -> Any:
    """The best points of a query."""
    collection = call.collection
    found = collection.shard.query(edge_query(call.read_body(models.QueryRequest), collection.vectors))
    return {"points": [hit_json(point) for point in found]}


@add_route("POST", "/collections/{name}/points/query/batch", "consistency")
def query_batch(call: Call) -> Any:
    """The best points of each of several queries."""
    collection, body = call.collection, call.read_body(models.QueryRequestBatch)
    requests = [edge_query(each, collection.vectors) for each in body.searches]
    answers = collection.shard.query_batch(edge.QueryBatchRequest(requests))
    return [{"points": [hit_json(point) for point in answer]} for answer in answers]


@add_route("POST", "/collections/{name}/points/scroll", "consistency")
def scroll_points(call: Call) -> Any:
    """A page of points by id or by a field, and where the next page starts."""
    collection = call.collection
    records, following = collection.shard.scroll(edge_scroll(call.read_body(models.ScrollRequest)))
    return {"points": [record_json(record) for record in records], "next_page_offset": offset_json(following)}


@add_route("POST", "/collections/{name}/points/count", "consistency")
def count_points(call: Call) -> Any:
    """Return the number of points that match a filter; always exact."""
    collection, body = call.collection, call.read_body(models.CountRequest)
    refuse_options(body, ("shard_key",), "a count")
    return {"count": collection.shard.count(edge.CountRequest(exact=True, filter=optional_filter(body.filter)))}


@add_route("POST", "/collections/{name}/facet", "consistency")
def facet_values(call: Call) -> Any:
    """The most frequent values of an indexed field."""
    collection, body = call.collection, call.read_body(models.FacetRequest)
    refuse_options(body, ("shard_key",), "a facet")
    limit, exact = check_positive(body.limit, "limit"), bool(body.exact)
    answer = collection.shard.facet(edge.FacetRequest(body.key, limit, exact, optional_filter(body.filter)))
    return {"hits": [{"value": hit.value, "count": hit.count} for hit in answer.hits]}
