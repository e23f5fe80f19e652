"""The table of routes: each handler is a plain function from a call to its result.

A route states its method, path and options; whatever is not in the table does not exist here (501), and an
option that is not stated is refused (400).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, ValidationError

from agentstate.errors import InvalidInput
from deploy.local.servers.qdrant.catalog import Catalog
from deploy.local.servers.qdrant.collection import Collection

_Model = TypeVar("_Model", bound=BaseModel)
_MESSAGES_SHOWN = 3
_NOISE = {"missing", "model_type", "list_type", "dict_type", "model_attributes_type"}


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a route."""

    catalog: Catalog
    path: dict[str, str]
    options: dict[str, str]
    body: bytes

    @property
    def collection(self) -> Collection:
        """The collection named in the path, by name or alias."""
        return self.catalog.get_collection(self.path["name"])

    def read_body(self, model: type[_Model]) -> _Model:
        """The body as the client's own model.

        Raises:
            InvalidInput: It does not fit.
        """
        try:
            return model.model_validate_json(self.body)
        except ValidationError as error:
            raise InvalidInput(f"Format error in JSON body: {_explain_error(error)}") from error


Action: TypeAlias = Callable[[Call], Any]


@dataclass(frozen=True, slots=True)
class Route:
    """The handler of a method and a path."""

    method: str
    pattern: re.Pattern[str]
    options: frozenset[str]
    action: Action

    def match_path(self, method: str, path: str) -> dict[str, str] | None:
        """The parts of the path, decoded, or None when this route is not meant."""
        found = self.pattern.fullmatch(path) if method == self.method else None
        return None if found is None else {name: unquote(part) for name, part in found.groupdict().items()}


ROUTES: list[Route] = []
"""All that is served, in the order of definition: the first match counts."""


def add_route(method: str, path: str, *options: str) -> Callable[[Action], Action]:
    """Put a function into the table; `{name}` in the path stands for one segment."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))

    def add(action: Action) -> Action:
        ROUTES.append(Route(method, pattern, frozenset(options) | {"timeout"}, action))
        return action

    return add


def find_route(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The route for a request and the parts of its path; None when nothing serves it."""
    for each in ROUTES:
        parts = each.match_path(method, path)
        if parts is not None:
            return each, parts
    return None


def _explain_error(error: ValidationError) -> str:
    """The messages that tell most: of a union of shapes, those of the shape that came closest."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    telling = [detail for detail in details if detail["type"] not in _NOISE] or details
    telling.sort(key=lambda detail: -len(detail["loc"]))
    return "; ".join(f"{_field_path(detail['loc'])}{detail['msg']}" for detail in telling[:_MESSAGES_SHOWN])


def _field_path(location: tuple[int | str, ...]) -> str:
    steps = [str(step) for step in location if isinstance(step, int) or re.fullmatch(r"[a-z_]+", step)]
    return f"{'.'.join(steps)}: " if steps else ""
