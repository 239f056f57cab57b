"""Compile the plant's kernels with numba, cached under a hash of every plant source and the versions used.

numba's own cache does not notice a changed callee in another module, so the cache folder carries the hash of all of
them. The plain source gives the same numbers (environment ``NUMBA_DISABLE_JIT=1`` runs it).
"""

import hashlib
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np

HERE = Path(__file__).parent


def plant_hash() -> str:
    """Return 16 hex digits over all sources of the plant and the versions of numpy, numba and llvmlite."""
    digest = hashlib.sha256()
    for source in sorted(HERE.glob("*.py")):
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    for version in (np.__version__, numba.__version__, llvmlite.__version__, platform.python_version()):
        digest.update(version.encode())
    return digest.hexdigest()[:16]


CACHE_DIR = str(Path.home() / ".cache" / "voltbench" / f"plant-{plant_hash()}")


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of records and arrays: no Python objects, no GIL, float64 as numpy computes it."""
    config: Any = numba.config
    before = config.CACHE_DIR  # one setting for the whole process; the law keeps a folder of its own
    config.CACHE_DIR = CACHE_DIR
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(function)
    finally:
        config.CACHE_DIR = before
