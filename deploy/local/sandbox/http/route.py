"""Routes of a service: method, path, the name used by faults and limits, and the handler."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from deploy.local.sandbox.http.values import Body
from deploy.local.sandbox.model.books import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestData:
    """The parts of a path, query and body of a request."""

    places: tuple[str, ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)


Act: TypeAlias = Callable[[str, RequestData], Body | list[Body] | str]
"""Takes the account and what was given; gives the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route; `{}` in the path stands for a part that is handed on.

    Attributes:
        public: it needs no key.
        reads: it changes nothing, although some such routes are POSTs.
    """

    method: str
    path: str
    name: str
    act: Act
    public: bool = False
    reads: bool = False
    status: int = 200

    def match_path(self, method: str, path: str) -> tuple[str, ...] | None:
        """The parts that a matching path hands on, None when it is another route's."""
        pattern = re.escape(self.path).replace(r"\{\}", "([^/]+)")
        found = re.fullmatch(pattern, path) if method == self.method else None
        return None if found is None else found.groups()


def read_route(path: str, name: str, act: Act, *, public: bool = False) -> Route:
    """A GET."""
    return Route(method="GET", path=path, name=name, act=act, public=public, reads=True)


def write_route(
    path: str, name: str, act: Act, *, method: str = "POST", public: bool = False, status: int = 200
) -> Route:
    """Return a route that changes something."""
    return Route(method=method, path=path, name=name, act=act, public=public, status=status)


def find_route(routes: Sequence[Route], method: str, path: str) -> tuple[Route, tuple[str, ...]]:
    """Return the route of a request and the parts of its path; refuse unknown paths."""
    for route in routes:
        places = route.match_path(method, path)
        if places is not None:
            return route, places
    raise Refusal(404, "not_found", f"There is no {method} {path}.")
