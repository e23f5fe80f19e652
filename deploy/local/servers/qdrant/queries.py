"""Queries and formulas: REST requests translated for the engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from typing import Any, get_args

import qdrant_edge as edge
from qdrant_client.http import models

from agentstate.errors import InvalidInput
from deploy.local.servers.qdrant.filters import edge_condition, edge_datetime, edge_filter, edge_id, optional_filter
from deploy.local.servers.qdrant.points import check_vector
from deploy.local.servers.qdrant.schema import Vectors, refuse_options, set_fields

_Expression = edge.Expression
_LISTS: dict[type, tuple[str, Callable[[list[Any]], Any]]] = {
    models.MultExpression: ("mult", _Expression.Mult),
    models.SumExpression: ("sum", _Expression.Sum),
    models.MaxExpression: ("max", _Expression.Max),
    models.MinExpression: ("min", _Expression.Min),
}
_SINGLES: dict[type, tuple[str, Callable[[Any], Any]]] = {
    models.NegExpression: ("neg", _Expression.Neg),
    models.AbsExpression: ("abs", _Expression.Abs),
    models.SqrtExpression: ("sqrt", _Expression.Sqrt),
    models.ExpExpression: ("exp", _Expression.Exp),
    models.Log10Expression: ("log10", _Expression.Log10),
    models.LnExpression: ("ln", _Expression.Ln),
    models.AcoshExpression: ("acosh", _Expression.Acosh),
}
_DECAYS: dict[type, tuple[str, edge.DecayKind]] = {
    models.LinDecayExpression: ("lin_decay", edge.DecayKind.Lin),
    models.ExpDecayExpression: ("exp_decay", edge.DecayKind.Exp),
    models.GaussDecayExpression: ("gauss_decay", edge.DecayKind.Gauss),
}
_CONDITIONS = get_args(models.Condition)


def edge_formula(query: models.FormulaQuery) -> edge.Formula:
    """The engine's formula for a REST formula.

    Raises:
        InvalidInput: An expression is not supported.
    """
    return edge.Formula(edge_expression(query.formula), query.defaults or None)


def edge_expression(expression: models.Expression) -> Any:
    """The engine's expression for one REST expression.

    Raises:
        InvalidInput: It is not supported.
    """
    kind = type(expression)
    if kind in _LISTS:
        field, make_list = _LISTS[kind]
        return make_list([edge_expression(each) for each in getattr(expression, field)])
    if kind in _SINGLES:
        field, make = _SINGLES[kind]
        return make(edge_expression(getattr(expression, field)))
    if kind in _DECAYS:
        field, decay = _DECAYS[kind]
        params = getattr(expression, field)
        target = None if params.target is None else edge_expression(params.target)
        return _Expression.Decay(decay, edge_expression(params.x), target, params.midpoint, params.scale)
    return _leaf_expression(expression)


def _leaf_expression(expression: models.Expression) -> Any:
    if isinstance(expression, int | float):
        return _Expression.Constant(float(expression))
    if isinstance(expression, str):
        return _Expression.Variable(expression)
    if isinstance(expression, _CONDITIONS):
        return _Expression.Condition(edge_condition(expression))
    convert = _OTHERS.get(type(expression))
    if convert is None:
        raise InvalidInput(f"The one-machine engine has no {type(expression).__name__}; write the formula without it.")
    return convert(expression)


_OTHERS: dict[type, Callable[[Any], Any]] = {
    models.DatetimeExpression: lambda expression: _Expression.Datetime(expression.datetime),
    models.DatetimeKeyExpression: lambda expression: _Expression.DatetimeKey(expression.datetime_key),
    models.DivExpression: lambda expression: _Expression.Div(
        edge_expression(expression.div.left), edge_expression(expression.div.right), expression.div.by_zero_default
    ),
    models.PowExpression: lambda expression: _Expression.Pow(
        edge_expression(expression.pow.base), edge_expression(expression.pow.exponent)
    ),
}


DEFAULT_LIMIT = 10
"""How many points a request gets that names no limit (the server's number)."""
_LARGEST_LIMIT = 2**31 - 1
_DEFAULT_RRF_K = 2
_ELSEWHERE = ("shard_key", "lookup_from")
_DIRECTIONS = {models.Direction.ASC: edge.Direction.Asc, models.Direction.DESC: edge.Direction.Desc}


def edge_query(body: models.QueryRequest, vectors: Vectors) -> edge.QueryRequest:
    """The engine's request for a REST query.

    Raises:
        InvalidInput: A part of it is not supported or a value is out of range.
    """
    refuse_options(body, _ELSEWHERE, "a query")
    limit = check_positive(body.limit, "limit")
    if body.offset is not None and not 0 <= body.offset <= _LARGEST_LIMIT:
        raise InvalidInput(f"`offset` is {body.offset}; it must be 0 to {_LARGEST_LIMIT}.")
    return edge.QueryRequest(
        limit=limit,
        offset=body.offset,
        query=_edge_scoring(body.query, body.using, limit, vectors),
        prefetches=_edge_prefetches(body.prefetch, vectors),
        with_vector=body.with_vector,
        with_payload=payload_selector(body.with_payload, default=False),
        filter=optional_filter(body.filter),
        score_threshold=_check_finite(body.score_threshold),
        params=_search_params(body.params),
    )


def edge_scroll(body: models.ScrollRequest) -> edge.ScrollRequest:
    """The engine's request for a scroll.

    Raises:
        InvalidInput: A part of it is not supported or a value is out of range.
    """
    refuse_options(body, _ELSEWHERE, "a scroll")
    return edge.ScrollRequest(
        offset=None if body.offset is None else edge_id(body.offset),
        limit=check_positive(body.limit, "limit"),
        filter=optional_filter(body.filter),
        with_payload=payload_selector(body.with_payload, default=True),
        with_vector=body.with_vector,
        order_by=None if body.order_by is None else _order_by(body.order_by),
    )


def payload_selector(option: models.WithPayloadInterface | None, *, default: bool) -> Any:
    """Which fields of the payload are wanted: all, none, some, or all but some."""
    match option:
        case None:
            return default
        case models.PayloadSelectorInclude():
            return edge.PayloadSelector.Include(option.include)
        case models.PayloadSelectorExclude():
            return edge.PayloadSelector.Exclude(option.exclude)
        case _:
            return option


def check_positive(value: int | None, name: str) -> int:
    """A limit, with the server's default.

    Raises:
        InvalidInput: It is not at least 1, or absurd.
    """
    if value is None:
        return DEFAULT_LIMIT
    if not 1 <= value <= _LARGEST_LIMIT:
        raise InvalidInput(f"`{name}` is {value}; it must be 1 to {_LARGEST_LIMIT}.")
    return value


def _edge_prefetches(
    option: list[models.Prefetch] | models.Prefetch | None, vectors: Vectors
) -> list[edge.Prefetch] | None:
    if option is None:
        return None
    prefetches = []
    for body in option if isinstance(option, list) else [option]:
        refuse_options(body, _ELSEWHERE, "a prefetch")
        limit = check_positive(body.limit, "limit")
        prefetches.append(
            edge.Prefetch(
                limit=limit,
                query=_edge_scoring(body.query, body.using, limit, vectors),
                prefetches=_edge_prefetches(body.prefetch, vectors),
                params=_search_params(body.params),
                filter=optional_filter(body.filter),
                score_threshold=_check_finite(body.score_threshold),
            )
        )
    return prefetches


def _edge_scoring(query: models.QueryInterface | None, using: str | None, limit: int, vectors: Vectors) -> Any:
    """Return the ranking of the points; None ranks by id."""
    if query is None:
        return None
    if isinstance(query, list | models.SparseVector):
        query = models.NearestQuery(nearest=query)
    if isinstance(query, models.NearestQuery):
        vector = check_vector(using or "", query.nearest, vectors)
        if query.mmr is None:
            return edge.Query.Nearest(vector, using)
        diversity = 0.5 if query.mmr.diversity is None else query.mmr.diversity
        return edge.Mmr(vector, 1.0 - diversity, query.mmr.candidates_limit or limit, using)
    if isinstance(query, models.TextQuery):
        if not using:
            raise InvalidInput("A text query needs `using`: the payload field whose text index scores the points.")
        if isinstance(query.text, str):
            return edge.TextQuery(using, query.text)
        scoring = edge.Bm25Params(**set_fields(query.text.scoring.bm25)) if query.text.scoring else None
        return edge.TextQuery(using, query.text.query, scoring)
    return _other_scoring(query)


def _other_scoring(query: models.QueryInterface) -> Any:
    match query:
        case models.OrderByQuery():
            return _order_by(query.order_by)
        case models.FormulaQuery():
            return edge_formula(query)
        case models.SampleQuery():
            return edge.Sample.Random
        case models.FusionQuery() | models.RrfQuery():
            if isinstance(query, models.RrfQuery):
                k = check_positive(_DEFAULT_RRF_K if query.rrf.k is None else query.rrf.k, "k")
                if not all(map(math.isfinite, query.rrf.weights or [])):
                    raise InvalidInput("A weight of the fusion is not finite.")
                return edge.Fusion.Rrf(k, query.rrf.weights)
            return edge.Fusion.Rrf(_DEFAULT_RRF_K) if query.fusion is models.Fusion.RRF else edge.Fusion.Dbsf()
    raise InvalidInput(
        f"The one-machine engine has no query by {type(query).__name__}; "
        "it knows vectors, text, order_by, fusion, rrf, formula and sample."
    )


def _order_by(order: models.OrderByInterface) -> edge.OrderBy:
    if isinstance(order, str):
        return edge.OrderBy(order)
    direction = None if order.direction is None else _DIRECTIONS[order.direction]
    start: Any = order.start_from
    return edge.OrderBy(order.key, direction, edge_datetime(start) if isinstance(start, date) else start)


def _search_params(params: models.SearchParams | None) -> edge.SearchParams | None:
    if params is None:
        return None
    # Over which points the rarity of a word is counted: a part of the collection, or all of it.
    return edge.SearchParams(
        hnsw_ef=params.hnsw_ef,
        exact=bool(params.exact),
        quantization=None
        if params.quantization is None
        else edge.QuantizationSearchParams(**set_fields(params.quantization)),
        indexed_only=bool(params.indexed_only),
        acorn=None if params.acorn is None else edge.AcornSearchParams(**set_fields(params.acorn)),
        idf=edge.IdfParams(edge_filter(params.idf.corpus)) if isinstance(params.idf, models.IdfCorpusParams) else None,
    )


def _check_finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise InvalidInput("`score_threshold` is not finite.")
    return value
