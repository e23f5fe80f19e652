"""Schema versions of state: one pure step from each version to the next.

The idea: a step may add and rename, and says which fields it takes up; every other field is carried on as it is, known
to this version or not, and that is checked after each step. The caller's dict is never touched. A blob of a newer
version is refused, since saving it again would drop what this version does not know; one without a version is only
taken for a version whose shape it has beyond doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from agentstate.errors import ConfigurationError, InvalidInput, SchemaOutdated
from agentstate.state import codec

VERSION_FIELD = "schema_version"

Blob: TypeAlias = dict[str, Any]
Shape: TypeAlias = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Step:
    """Step from one version to the next."""

    up: Callable[[Blob], Blob]
    """Gives the next version's fields from this one's; does not change what it is given."""
    takes: frozenset[str]
    """The fields that it takes up; all others come out as they went in."""
    shape: Shape | None
    """Whether a blob that names no version is certainly of this one; None when it cannot be told."""


class Schema:
    """The versions of one kind of blob, from 1 to `newest`.

    Args:
        name: what the blob is, for errors.
        newest_shape: as `Step.shape`, for the newest version.
    """

    def __init__(self, name: str, *, newest_shape: Shape | None = None) -> None:
        self.name = name
        self._newest_shape = newest_shape
        self._steps: list[Step] = []

    @property
    def newest_version(self) -> int:
        """The version that is written."""
        return len(self._steps) + 1

    def add_step(
        self, version: int, *, takes: frozenset[str] = frozenset(), shape: Shape | None = None
    ) -> Callable[[Callable[[Blob], Blob]], Callable[[Blob], Blob]]:
        """Register the decorated function as the step from `version` to the next.

        Raises:
            ConfigurationError: steps are registered in order, each once.
        """
        if version != self.newest_version:
            raise ConfigurationError(
                f"{self.name}: the next step starts at version {self.newest_version}, not {version}."
            )

        def register(up: Callable[[Blob], Blob]) -> Callable[[Blob], Blob]:
            self._steps.append(Step(up, takes, shape))
            return up

        return register

    def version_of(self, raw: Mapping[str, Any]) -> int:
        """Return the version of `raw`.

        Raises:
            SchemaOutdated: it is newer than this version of agentstate knows.
            InvalidInput: it is no whole number from 1, or `raw` names none and could be of several versions.
        """
        if VERSION_FIELD not in raw:
            shapes = [*(step.shape for step in self._steps), self._newest_shape]
            fitting = [number for number, shape in enumerate(shapes, 1) if shape is not None and shape(raw)]
            if len(fitting) != 1:
                names = ", ".join(sorted(map(str, raw)))[:200]
                raise InvalidInput(
                    f"{self.name} names no {VERSION_FIELD} and its fields ({names}) do not tell. "
                    f"Add {VERSION_FIELD}; nothing was changed."
                )
            return fitting[0]
        version = raw[VERSION_FIELD]
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise InvalidInput(
                f"{self.name}: {VERSION_FIELD} {_format_version(version)} is no whole number from 1. Nothing was read."
            )
        if version > self.newest_version:
            raise SchemaOutdated(
                f"{self.name} is of schema version {_format_version(version)}, this version of agentstate knows up to "
                f"{self.newest_version}. Update agentstate; the blob was left as it is."
            )
        return version

    def migrate(self, raw: Mapping[str, Any]) -> Blob:
        """Return `raw` at the newest version, as a new dict that shares nothing with it.

        Raises:
            SchemaOutdated, InvalidInput: as `version_of`, or `raw` holds what cannot be stored exactly, such as a
                float, or a step refuses what it finds.
        """
        if not isinstance(raw, Mapping):
            raise InvalidInput(f"{self.name} is a dict, not {type(raw).__name__}. Nothing was read.")
        version = self.version_of(raw)
        blob: Blob = codec.deep_copy(dict(raw))
        for step in self._steps[version - 1 :]:
            raised = step.up(codec.deep_copy(blob))
            kept = {key for key in blob if key not in step.takes and key != VERSION_FIELD}
            lost = sorted(key for key in kept if key not in raised or raised[key] != blob[key])
            if lost:
                raise ConfigurationError(
                    f"{self.name}: the step {getattr(step.up, '__name__', 'up')} loses or changes {', '.join(lost)}, "
                    "which it does not declare. Nothing was changed."
                )
            blob = raised
        return {**blob, VERSION_FIELD: self.newest_version}


def _format_version(version: object) -> str:
    try:
        return repr(version)[:40]
    except ValueError:
        return "of thousands of digits"
