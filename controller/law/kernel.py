"""Compile the law's kernels with numba, cached under a hash of every law source and the versions used.

The plain Python source is the law; the compiled code must give the same bits. numba's own cache does not notice a
changed callee in another module, so the cache folder carries the hash of all of them. Set
``numba.config.DISABLE_JIT`` (environment ``NUMBA_DISABLE_JIT=1``) to run the plain source.
"""

import hashlib
import inspect
import platform
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np

from controller.law import image

Array = np.ndarray[Any, Any]

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


numba.config.CACHE_DIR = str(Path.home() / ".cache" / "voltbench" / f"law-{law_hash()}")  # type: ignore[attr-defined]


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of arrays: no Python objects, no GIL, float64 as numpy computes it, no reordering."""
    return numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(function)


def _places() -> dict[str, int]:
    """Return where each array stands in (*input, *plan, *state, *output); the INPUT wins where names are shared."""
    places: dict[str, int] = {}
    for place, field in enumerate(field for table in image.TABLES.values() for field in table):
        places.setdefault(field.name, place)
    return places


PLACES = _places()


class Stage:
    """Call a compiled step with the arrays that its parameters name.

    numba takes 0.1 us to unbox an array but seconds to compile a function of four named tuples with 180 arrays;
    so every step names what it reads and writes, and gets only that. `kernel` is the compiled function itself.
    """

    __slots__ = ("_pick", "kernel", "names")

    def __init__(self, function: Callable[..., None]) -> None:
        self.names = tuple(inspect.signature(function).parameters)
        self.kernel = kernel(function)
        self._pick = itemgetter(*(PLACES[name] for name in self.names))

    def __call__(self, arrays: tuple[Array, ...]) -> None:
        """Run the step on (*input, *plan, *state, *output), in place."""
        self.kernel(*self._pick(arrays))
