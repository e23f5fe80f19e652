"""Payload indexes: from the REST description to the engine's, and back for a collection's description."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge
from qdrant_client.http import models

from agentstate.errors import InvalidInput
from deploy.local.servers.qdrant.schema import given_fields, refuse_options

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
    options = given_fields(params)
    kind = options.pop("type")
    if kind == "integer":
        options = _INTEGER_BOTH | options
    if kind == "text":
        options = _text_options(options)
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


def _text_options(options: dict[str, Any]) -> dict[str, Any]:
    converted = dict(options)
    if "tokenizer" in options:
        converted["tokenizer"] = _edge_enum(edge.TokenizerType, options["tokenizer"])
    if "stemmer" in options:
        converted["stemmer"] = _edge_stemmer(options["stemmer"])
    if "stopwords" in options:
        converted["stopwords"] = _edge_stopwords(options["stopwords"])
    if isinstance(options.get("scoring"), dict):
        converted["scoring"] = edge.TextScoringParams()
    return converted


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
