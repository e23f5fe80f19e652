"""NumPy with one BLAS thread, and the tensors of a model file.

A worker process computes many small matrices beside other worker processes. With its default of one
thread per core and process, BLAS spends its time waiting for cores that others use: measured 3 times
fewer embeddings per second on a loaded machine. The number of threads is read from the environment when
NumPy is first imported, so a module that needs NumPy for arithmetic imports it from here.

The safetensors format is a JSON header of names, types and ranges, then the numbers. Tensors are views on a
read-only memory map, so that worker processes on one machine share the pages; the format's own library copies.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, Final, TypeAlias

from agentstate.errors import ConfigurationError

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

Tensors: TypeAlias = "dict[str, np.ndarray[Any, Any]]"

_LENGTH_BYTES: Final = 8
_MAX_HEADER_BYTES: Final = 100_000_000  # the format's own limit
_DTYPES: Final = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1"}


def read_tensors(path: Path) -> Tensors:
    """Return all tensors of the file at `path` by name, as read-only views.

    Raises:
        ConfigurationError: the file is not readable or not in the safetensors format.
    """
    try:
        return _map_tensors(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} cannot be read as safetensors ({error}). Put back the original file."
        ) from error


def _map_tensors(path: Path) -> Tensors:
    data = np.memmap(path, dtype=np.uint8, mode="r")
    length = int.from_bytes(data[:_LENGTH_BYTES].tobytes(), "little")
    if not 0 < length <= min(_MAX_HEADER_BYTES, data.size - _LENGTH_BYTES):
        raise ValueError(f"header of {length} bytes in a file of {data.size}")
    start = _LENGTH_BYTES + length
    header = json.loads(data[_LENGTH_BYTES:start].tobytes())
    header.pop("__metadata__", None)
    tensors: Tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        if end - begin != math.prod(entry["shape"]) * dtype.itemsize or start + end > data.size:
            raise ValueError(f"tensor of shape {entry['shape']} does not fit its {end - begin} bytes")
        tensors[name] = data[start + begin : start + end].view(dtype).reshape(entry["shape"])
    return tensors


__all__ = ["Tensors", "np", "read_tensors"]
