"""The schema of a collection and its payload indexes: REST descriptions, checked and translated for the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qdrant_edge as edge
from pydantic import BaseModel
from qdrant_client.http import models

from agentstate.errors import InvalidInput

Vectors = dict[str, models.VectorParams | models.SparseVectorParams]
"""Vector name (empty for the unnamed one) -> its size and distance; of a sparse one, if rare entries weigh more."""

_UNSUPPORTED = ("sharding_method", "payload", "id_tracker", "wal_config", "strict_mode_config")
_ONE_COPY = ("shard_number", "replication_factor", "write_consistency_factor")
_DISTANCES = {
    models.Distance.COSINE: edge.Distance.Cosine,
    models.Distance.EUCLID: edge.Distance.Euclid,
    models.Distance.DOT: edge.Distance.Dot,
    models.Distance.MANHATTAN: edge.Distance.Manhattan,
}
_HNSW_DEFAULTS = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000, "max_indexing_threads": 0}
_OPTIMIZER_OPTIONS = (
    "deleted_threshold",
    "vacuum_min_vector_number",
    "default_segment_number",
    "max_segment_size",
    "indexing_threshold",
)


def refuse_options(model: BaseModel, names: tuple[str, ...], where: str) -> None:
    """Refuse options that this engine does not have.

    Raises:
        InvalidInput: One of them is given.
    """
    for name in names:
        if getattr(model, name, None) is not None:
            raise InvalidInput(f"`{name}` of {where} is not supported by the one-machine engine; leave it out.")


def set_fields(model: BaseModel | None) -> dict[str, Any]:
    """The fields of a model that say something."""
    return {} if model is None else model.model_dump(mode="json", exclude_none=True)


def fields_by_name(named: Mapping[str, BaseModel]) -> dict[str, Any]:
    """`given` for each of several."""
    return {name: set_fields(model) for name, model in named.items()}


def vectors_of(body: models.CreateCollection) -> Vectors:
    """The vectors of a collection by name.

    Raises:
        InvalidInput: There is none.
    """
    if not body.vectors:
        raise InvalidInput("A collection needs at least one dense vector in `vectors`.")
    dense, sparse = _dense_vectors(body), body.sparse_vectors or {}
    if both := sorted(set(dense) & set(sparse)):
        raise InvalidInput(f"The vector '{both[0]}' cannot be dense and sparse.")
    return {**dense, **sparse}


def edge_config(body: models.CreateCollection) -> edge.EdgeConfig:
    """The engine's configuration for a new collection; the write-ahead log is always on.

    Raises:
        InvalidInput: An option is not supported or a value is out of range.
    """
    refuse_options(body, _UNSUPPORTED, "a collection")
    for option in _ONE_COPY:
        if getattr(body, option) not in {None, 1}:
            raise InvalidInput(f"`{option}` can only be 1: the one-machine engine keeps one copy in one shard.")
    return edge.EdgeConfig(
        vectors={name: _edge_vector(name, params) for name, params in _dense_vectors(body).items()},
        sparse_vectors={name: _edge_sparse(name, params) for name, params in (body.sparse_vectors or {}).items()},
        on_disk_payload=body.on_disk_payload,
        hnsw_config=_edge_hnsw(body.hnsw_config),
        quantization_config=_edge_quantization(body.quantization_config),
        optimizers=_edge_optimizers(body.optimizers_config),
        wal_enabled=True,
    )


def describe_config(body: models.CreateCollection) -> dict[str, Any]:
    """The `config` part of a collection's description, with the values that are in force."""
    vectors = fields_by_name(_dense_vectors(body))
    return {
        "params": {
            "vectors": vectors[""] if set(vectors) == {""} else vectors,
            **({"sparse_vectors": fields_by_name(body.sparse_vectors)} if body.sparse_vectors else {}),
            **dict.fromkeys(_ONE_COPY, 1),
            "on_disk_payload": body.on_disk_payload is not False,
        },
        "hnsw_config": _HNSW_DEFAULTS | set_fields(body.hnsw_config),
        "optimizer_config": {"default_segment_number": 0, "flush_interval_sec": 1} | set_fields(body.optimizers_config),
        "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
        "quantization_config": set_fields(body.quantization_config) or None,
        "metadata": body.metadata,
    }


def _dense_vectors(body: models.CreateCollection) -> dict[str, models.VectorParams]:
    return {"": body.vectors} if isinstance(body.vectors, models.VectorParams) else dict(body.vectors or {})


def _edge_vector(name: str, params: models.VectorParams) -> edge.EdgeVectorParams:
    refuse_options(params, ("multivector_config", "memory", "datatype"), f"vector '{name}'")
    if not 1 <= params.size <= 65_536:  # noqa: PLR2004 - the range that the server documents
        raise InvalidInput(f"Size {params.size} of vector '{name}' is out of range; it must be 1 to 65536.")
    return edge.EdgeVectorParams(
        size=params.size,
        distance=_DISTANCES[params.distance],
        on_disk=params.on_disk,
        hnsw_config=_edge_hnsw(params.hnsw_config),
        quantization_config=_edge_quantization(params.quantization_config),
    )


def _edge_sparse(name: str, params: models.SparseVectorParams) -> edge.EdgeSparseVectorParams:
    refuse_options(params, ("index",), f"sparse vector '{name}'")
    return edge.EdgeSparseVectorParams(
        modifier=edge.Modifier.Idf if params.modifier is models.Modifier.IDF else None,
    )


def _edge_hnsw(diff: models.HnswConfigDiff | None) -> edge.HnswIndexConfig | None:
    if diff is None:
        return None
    refuse_options(diff, ("memory",), "hnsw_config")
    return edge.HnswIndexConfig(**(_HNSW_DEFAULTS | set_fields(diff)))


def _edge_quantization(config: models.QuantizationConfig | None) -> edge.ScalarQuantizationConfig | None:
    if config is None:
        return None
    if not isinstance(config, models.ScalarQuantization):
        raise InvalidInput("Of the quantizations, the one-machine engine supports scalar int8 alone.")
    refuse_options(config.scalar, ("memory",), "scalar quantization")
    return edge.ScalarQuantizationConfig(
        edge.ScalarType.Int8, quantile=config.scalar.quantile, always_ram=config.scalar.always_ram
    )


def _edge_optimizers(diff: models.OptimizersConfigDiff | None) -> edge.EdgeOptimizersConfig | None:
    if diff is None:
        return None
    options = set_fields(diff)
    if unknown := sorted(set(options) - set(_OPTIMIZER_OPTIONS)):
        raise InvalidInput(f"`{unknown[0]}` of optimizers_config is not supported by the one-machine engine.")
    return edge.EdgeOptimizersConfig(**options)


_PARAMS: dict[type, Any] = {
    models.KeywordIndexParams: edge.KeywordIndexParams,
    models.IntegerIndexParams: edge.IntegerIndexParams,
    models.FloatIndexParams: edge.FloatIndexParams,
    models.DatetimeIndexParams: edge.DatetimeIndexParams,
    models.TextIndexParams: edge.TextIndexParams,
}
_BY_TYPE: dict[str, Any] = {
    "keyword": models.KeywordIndexParams,
    "integer": models.IntegerIndexParams,
    "float": models.FloatIndexParams,
    "datetime": models.DatetimeIndexParams,
    "text": models.TextIndexParams,
}
_INTEGER_BOTH = {"lookup": True, "range": True}
"""Without parameters the server makes an integer index for both equality and ranges."""


def edge_index(schema: models.PayloadFieldSchema | None) -> Any:
    """The engine's parameters for a payload index.

    Raises:
        InvalidInput: The kind of index is missing or not supported.
    """
    params = _complete_schema(schema)
    refuse_options(params, ("memory", "nested"), "a payload index")
    options = set_fields(params)
    kind = options.pop("type")
    if kind == "integer":
        options = _INTEGER_BOTH | options
    if kind == "text":
        if "tokenizer" in options:
            options["tokenizer"] = _edge_enum(edge.TokenizerType, options["tokenizer"])
        if "stemmer" in options:
            options["stemmer"] = _edge_stemmer(options["stemmer"])
        if "stopwords" in options:
            options["stopwords"] = _edge_stopwords(options["stopwords"])
        if isinstance(options.get("scoring"), dict):
            options["scoring"] = edge.TextScoringParams()
    return _PARAMS[type(params)](**options)


def describe_index(info: edge.PayloadIndexInfo) -> dict[str, Any]:
    """One entry of `payload_schema` in a collection's description."""
    kind = _to_json(info.data_type)
    fields = _BY_TYPE[kind].model_fields
    params = {name: _to_json(getattr(info.params, name, None)) for name in fields if name != "type"}
    return {
        "data_type": kind,
        "params": {"type": kind} | {name: value for name, value in params.items() if value is not None},
        "points": info.points,
    }


def _complete_schema(schema: models.PayloadFieldSchema | None) -> Any:
    if isinstance(schema, models.PayloadSchemaType) and schema.value in _BY_TYPE:
        return _BY_TYPE[schema.value](type=schema.value)
    if type(schema) in _PARAMS:
        return schema
    raise InvalidInput(
        "The one-machine engine makes payload indexes of type keyword, integer, float, datetime and text; "
        f"{'none was given' if schema is None else 'another was asked for'} in `field_schema`."
    )


def _edge_stemmer(option: dict[str, Any]) -> Any:
    if option["type"] == "none":
        return edge.DisabledStemmer()
    return edge.SnowballParams(_edge_enum(edge.SnowballLanguage, option["language"]))


def _edge_stopwords(option: str | dict[str, Any]) -> Any:
    if isinstance(option, str):
        return _edge_enum(edge.Language, option)
    languages = {_edge_enum(edge.Language, name) for name in option.get("languages", [])}
    return edge.StopwordsSet(languages=languages, custom=set(option.get("custom", [])))


def _edge_enum(kind: Any, name: str) -> Any:
    """The member of one of the engine's enums by its REST name (`multilingual` -> `Multilingual`)."""
    return getattr(kind, name.capitalize())


def _to_json(value: Any) -> Any:
    """One of the engine's values as JSON."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, edge.SnowballParams):
        return {"type": "snowball", "language": _to_json(value.language)}
    if isinstance(value, edge.DisabledStemmer):
        return {"type": "none"}
    if isinstance(value, edge.TextScoringParams):
        return {"type": "bm25"}
    if isinstance(value, edge.StopwordsSet):
        return {
            "languages": sorted(_to_json(language) for language in value.languages or ()),
            "custom": sorted(value.custom or ()),
        }
    return str(value).rpartition(".")[2].lower()
