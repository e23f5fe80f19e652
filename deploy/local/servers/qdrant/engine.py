"""The engine's exceptions, translated into our errors.

The binding raises bare `Exception` with the engine's text, so the text decides whose fault it was: what is
known to come from the request is refused with 400 or 404; anything else is the engine's own failure (500).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager

from agentstate.errors import AgentStateError, InvalidInput, NotFound

_CALLERS_FAULT = (
    "Vector dimension error",
    "Not existing vector name",
    "Payload type does not match",
    "Unable to infer type",
    "Validation failed",
    "Wrong usage",
    "No range index for",
    "No appropriate index for",
    "Expected ",
    "The expression ",
    "Unsupported ",
)
_FORMULA_FAILED = (
    "The query was given up by the engine: in a formula, a variable has no value for some point (give it in "
    "`defaults`) or a result is not a finite number."
)


class EngineFailure(AgentStateError):
    """The engine failed; its answer is in the text."""


def engine_version() -> str:
    """The version of the engine package, for example `0.9.0`."""
    return importlib.metadata.version("qdrant-edge-py")


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn the engine's exceptions into ours.

    Raises:
        InvalidInput: The request was wrong.
        NotFound: A point is not there.
        EngineFailure: Everything else that the engine says.
    """
    try:
        yield
    except AgentStateError:
        raise
    except (ValueError, OverflowError) as error:
        raise InvalidInput(str(error)) from error
    except Exception as error:
        if type(error) is not Exception:  # the engine raises exactly `Exception`; others are bugs of ours
            raise
        text = str(error)
        if text.startswith("No point with id"):
            raise NotFound(f"Not found: {text}") from error
        if text.startswith("Operation cancelled"):
            raise InvalidInput(_FORMULA_FAILED) from error
        if text.startswith(_CALLERS_FAULT):
            raise InvalidInput(text) from error
        raise EngineFailure(
            f"The engine failed: {text}. What was acknowledged before is kept; see the engine's log."
        ) from error
