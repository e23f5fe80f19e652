"""NumPy, imported with one BLAS thread.

A worker process computes many small matrices beside other worker processes. With its default of one
thread per core and process, BLAS spends its time waiting for cores that others use: measured 3 times
fewer embeddings per second on a loaded machine. The number of threads is read from the environment when
NumPy is first imported, so whoever needs NumPy for arithmetic imports it through this module.
"""

from __future__ import annotations

import os
import sys
from typing import Final

THREADS_VARIABLE: Final = "OPENBLAS_NUM_THREADS"

_numpy_came_first = "numpy" in sys.modules and THREADS_VARIABLE not in os.environ
os.environ.setdefault(THREADS_VARIABLE, "1")

import numpy as np  # noqa: E402 - the environment is read at this import


def threads_note() -> str:
    """What a user should know about BLAS threads in this process; empty when all is well."""
    if not _numpy_came_first:
        return ""
    return f"NumPy was loaded before {THREADS_VARIABLE} was set: set {THREADS_VARIABLE}=1 for this process"


__all__ = ["THREADS_VARIABLE", "np", "threads_note"]
