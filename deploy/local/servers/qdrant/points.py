"""Points: checked on the way in, told as JSON on the way out.

A whole request is checked before any of it is written: the engine would keep the points before a wrong one,
and it takes vectors that are not finite and payloads that it cannot read back.
"""

from __future__ import annotations

import math
from typing import Any
from uuid import UUID

import qdrant_edge as edge
from qdrant_client.http import models

from agentstate.errors import InvalidInput
from deploy.local.servers.qdrant.filters import edge_id
from deploy.local.servers.qdrant.schema import Vectors

_INDICES = 2**32
"""Entries that a sparse vector may have: each has a number below this."""
MAX_DEPTH = 64
"""Levels that a payload may nest; the engine cannot read back more than about 125."""


def edge_points(body: models.PointsList | models.PointsBatch, vectors: Vectors) -> list[edge.Point]:
    """The engine's points of an upsert. A point may lack any of the vectors.

    Raises:
        InvalidInput: An id, a vector or a payload is wrong.
    """
    points = body.points if isinstance(body, models.PointsList) else _unroll_batch(body.batch)
    return [
        edge.Point(edge_id(point.id), edge_vectors(point.vector, vectors), check_payload(point.payload))
        for point in points
    ]


def edge_vectors(struct: Any, vectors: Vectors) -> Any:
    """The vectors of one point, by name, or the bare one of a collection without names.

    Raises:
        InvalidInput: A vector has no such name, another width, or a component that is not finite.
    """
    if isinstance(struct, dict):
        return {name: check_vector(name, vector, vectors) for name, vector in struct.items()}
    return check_vector("", struct, vectors)


def check_vector(name: str, vector: Any, vectors: Vectors) -> list[float] | edge.SparseVector:
    """The vector as the engine takes it, if it belongs to the collection and every component is finite.

    Raises:
        InvalidInput: It does not.
    """
    if name not in vectors:
        known = ", ".join(f"'{each}'" for each in sorted(vectors))
        raise InvalidInput(f"Not existing vector name error: '{name}'; the collection has {known}.")
    params = vectors[name]
    if isinstance(params, models.SparseVectorParams):
        if not isinstance(vector, models.SparseVector):
            raise InvalidInput(f"Vector '{name}' is sparse; give `indices` and `values`.")
        indices, values = vector.indices, vector.values
        if len(indices) != len(values):
            raise InvalidInput(f"Sparse vector '{name}' has {len(indices)} indices and {len(values)} values.")
        if len(set(indices)) != len(indices):
            raise InvalidInput(f"Sparse vector '{name}' has an index twice; nothing was written.")
        if any(not 0 <= index < _INDICES for index in indices):
            raise InvalidInput(f"An index of sparse vector '{name}' is out of range; it must be below {_INDICES}.")
        _check_finite(name, values)
        return edge.SparseVector(indices, values)
    if not isinstance(vector, list) or (vector and isinstance(vector[0], list)):
        raise InvalidInput(f"Vector '{name}' must be a list of numbers; the one-machine engine takes nothing else.")
    if len(vector) != params.size:
        raise InvalidInput(f"Vector dimension error: expected dim: {params.size}, got {len(vector)}")
    _check_finite(name, vector)
    return vector


def _check_finite(name: str, values: list[float]) -> None:
    if not all(map(math.isfinite, values)):
        raise InvalidInput(f"Vector '{name}' has a component that is not finite; nothing was written.")


def check_payload(payload: dict[str, Any] | None) -> dict[str, Any] | None:
    """The payload, if the engine can read it back.

    Raises:
        InvalidInput: It nests too deep or holds a number that is not finite.
    """
    if payload is not None:
        _check_value(payload, MAX_DEPTH)
    return payload


def record_json(point: edge.Record | edge.ScoredPoint) -> dict[str, Any]:
    """A stored point as the REST interface tells it; its id is made text when the answer is written."""
    told: dict[str, Any] = {"id": point.id, "payload": point.payload}
    if (vector := point.vector) is not None:
        told["vector"] = _vector_json(vector)
    if (value := point.order_value) is not None:
        told["order_value"] = value
    return told


def hit_json(point: edge.ScoredPoint) -> dict[str, Any]:
    """A found point with its score and version."""
    told = record_json(point)
    told["score"], told["version"] = point.score, point.version
    return told


def offset_json(point_id: Any) -> int | str | None:
    """The id from which a scroll goes on; None at the end."""
    return str(point_id) if isinstance(point_id, UUID) else point_id


def _vector_json(vector: Any) -> Any:
    if isinstance(vector, edge.SparseVector):
        return {"indices": vector.indices, "values": vector.values}
    return {name: _vector_json(each) for name, each in vector.items()} if isinstance(vector, dict) else vector


def _check_value(value: Any, depth: int) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput("A payload holds a number that is not finite; nothing was written.")
    if not isinstance(value, dict | list):
        return
    if depth == 0:
        raise InvalidInput(f"A payload nests deeper than {MAX_DEPTH} levels; nothing was written.")
    for each in value.values() if isinstance(value, dict) else value:
        _check_value(each, depth - 1)


def _unroll_batch(batch: models.Batch) -> list[models.PointStruct]:
    count = len(batch.ids)
    payloads = [None] * count if batch.payloads is None else batch.payloads
    columns = batch.vectors if isinstance(batch.vectors, dict) else {"": batch.vectors}
    for name, length in [("payloads", len(payloads)), *((f"vectors '{n}'", len(c)) for n, c in columns.items())]:
        if length != count:
            raise InvalidInput(f"A batch of {count} ids came with {length} {name}; nothing was written.")
    return [
        models.PointStruct.model_construct(
            id=batch.ids[row], vector={name: column[row] for name, column in columns.items()}, payload=payloads[row]
        )
        for row in range(count)
    ]
