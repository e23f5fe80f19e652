"""Reader of the safetensors format: a JSON header of names, types and ranges, then the numbers.

Tensors are views on a read-only memory map, so that worker processes on one machine share the pages.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final, TypeAlias

from agentstate.errors import ConfigurationError
from agentstate.providers.embedding.blas import np

Tensors: TypeAlias = "dict[str, np.ndarray[Any, Any]]"

_LENGTH_BYTES: Final = 8
_MAX_HEADER_BYTES: Final = 100_000_000  # the format's own limit
_DTYPES: Final = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1"}


def read_tensors(path: Path) -> Tensors:
    """All tensors of the file at `path` by name, as read-only views.

    Raises:
        ConfigurationError: the file is not readable or not in the safetensors format.
    """
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
        header, start = _header(data)
        return {name: _tensor(data, start, entry) for name, entry in header.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read as safetensors ({error}). Put back the original file."
        ) from error


def _header(data: np.ndarray[Any, Any]) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(data[:_LENGTH_BYTES].tobytes(), "little")
    if not 0 < length <= min(_MAX_HEADER_BYTES, data.size - _LENGTH_BYTES):
        raise ValueError(f"header of {length} bytes in a file of {data.size}")
    start = _LENGTH_BYTES + length
    header = json.loads(data[_LENGTH_BYTES:start].tobytes())
    header.pop("__metadata__", None)
    return header, start


def _tensor(data: np.ndarray[Any, Any], start: int, entry: dict[str, Any]) -> np.ndarray[Any, Any]:
    begin, end = entry["data_offsets"]
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    if end - begin != math.prod(entry["shape"]) * dtype.itemsize or start + end > data.size:
        raise ValueError(f"tensor of shape {entry['shape']} does not fit its {end - begin} bytes")
    return data[start + begin : start + end].view(dtype).reshape(entry["shape"])
