"""Compile the law's kernels with numba, cached under a hash of every law source and the versions used.

The plain Python source is the law; the compiled code must give the same bits. numba's own cache does not notice a
changed callee in another module, so the cache folder carries the hash of all of them. Set
``numba.config.DISABLE_JIT`` (environment ``NUMBA_DISABLE_JIT=1``) to run the plain source.
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


def law_hash() -> str:
    """Return 16 hex digits over all sources of the law and the versions of numpy, numba and llvmlite."""
    digest = hashlib.sha256()
    for source in sorted(HERE.glob("*.py")):
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    for version in (np.__version__, numba.__version__, llvmlite.__version__, platform.python_version()):
        digest.update(version.encode())
    return digest.hexdigest()[:16]


numba.config.CACHE_DIR = str(Path.home() / ".cache" / "voltbench" / f"law-{law_hash()}")


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of arrays: no Python objects, no GIL, float64 as numpy computes it, no reordering."""
    return numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(function)
