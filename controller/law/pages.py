"""Read a plan from small pages where it is alike: many chargers of a site are of one model.

A scan is bound by the memory that it reads, and PLAN is a quarter of that. Where all chargers of a block have the same
value of a field, the compiled law finds the field at one page of that value, which stays in the cache. Only the table
of addresses differs: the steps do not know, and the bits are the same. It is made once, so nobody may be able to write
the plan (`frozen`); any other plan is read as it stands.
"""

from typing import Any, NamedTuple

import numpy as np

from controller.law import image
from controller.law.kernel import COLUMN, PLACES, Array, kernel

SPARE = 16  # pages do not begin at the same place of the cache


class Pages(NamedTuple):
    """Keep what `turn` writes for each block: where in the table (K,), and what there (blocks, K); and the pages."""

    places: Array
    words: Array
    kept: tuple[Array, ...]


def frozen(plan: Any) -> bool:
    """Say whether nobody can write this PLAN through its arrays; one that is made so must stay so."""
    return not any(array.flags.writeable for array in plan)


def paged(plan: Any, block: int) -> Pages:
    """Return the pages of a plan for blocks of `block` chargers; none where it may be written."""
    firsts = range(0, plan.charger_node.size if frozen(plan) else 0, block)
    places: list[int] = []
    words: list[list[int]] = []
    made: dict[tuple[str, bytes], Array] = {}
    for name, (place, table, field) in PLACES.items():
        by_column = name in image.BY_COLUMN
        if table != "plan" or field.shape not in ("N", "NK", "NP") or (len(field.shape) == 2) != by_column:
            continue
        array = getattr(plan, name)
        at, apart = [], []
        for first in firsts:
            part = array[first : first + block]
            address, column = array.ctypes.data, array.shape[0]
            if array.size > 0 and (part == part[0]).all():
                key = (field.dtype, part[0].tobytes())
                page = made.setdefault(key, np.empty((part[0].size, block + SPARE), array.dtype))
                page[:] = part[0].reshape(-1, 1)
                address, column = page.ctypes.data - first * page.itemsize, page.shape[1]
            at.append(address)
            apart.append(column)
        if any(address != array.ctypes.data for address in at):
            places += [place, COLUMN + place] if by_column else [place]
            words += [at, apart] if by_column else [at]
    by_block = np.array(words, dtype=np.int64).reshape(len(places), len(firsts)).T
    return Pages(np.array(places, dtype=np.int64), np.ascontiguousarray(by_block), tuple(made.values()))


@kernel
def turn(near: Array, places: Array, words: Array, block: int) -> None:
    """Let the table of addresses find the fields of a block."""
    for k in range(places.shape[0]):
        near[places[k]] = words[block, k]
