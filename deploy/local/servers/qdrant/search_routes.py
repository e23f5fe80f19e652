"""Routes that read points: by id, by query, by walking, and counts."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge
from qdrant_client.http import models

from agentstate.errors import NotFound
from deploy.local.servers.qdrant.filters import edge_id, optional_filter
from deploy.local.servers.qdrant.points import hit_json, offset_json, record_json
from deploy.local.servers.qdrant.queries import check_positive, edge_query, edge_scroll, payload_selector
from deploy.local.servers.qdrant.route import Call, add_route
from deploy.local.servers.qdrant.schema import refuse_options


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
