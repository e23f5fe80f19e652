"""Routes that write points: upsert, vectors, payload, delete."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge
from pydantic import RootModel
from qdrant_client.http import models

from agentstate.errors import InvalidInput, NotFound
from deploy.local.servers.qdrant.collection import Collection
from deploy.local.servers.qdrant.collection_routes import update_result
from deploy.local.servers.qdrant.filters import PointId, edge_filter, edge_id, optional_filter
from deploy.local.servers.qdrant.points import check_payload, edge_points, edge_vectors
from deploy.local.servers.qdrant.route import Call, add_route
from deploy.local.servers.qdrant.schema import refuse_options

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
    collection.apply_update(_targeted_operation(collection, body, *operations, body.keys))
    return update_result(call)


@add_route("POST", "/collections/{name}/points/payload/clear", "wait", "ordering")
def clear_payload(call: Call) -> Any:
    """Remove the whole payload of points."""
    collection, body = call.collection, call.read_body(_Selector).root
    operations = edge.UpdateOperation.clear_payload, edge.UpdateOperation.clear_payload_by_filter
    collection.apply_update(_targeted_operation(collection, body, *operations))
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
    collection.apply_update(_targeted_operation(collection, body, by_id, by_filter, body.payload, body.key))
    return update_result(call)


def _targeted_operation(collection: Collection, body: Any, by_id: Any, by_filter: Any, *rest: Any) -> Any:
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
