"""Decide one scan: the twelve steps in their order. Each step is a page of its own beside this one.

`decide` reads the INPUT and PLAN images, keeps what it must remember in STATE and writes OUTPUT, all in place; it
allocates no array, reads no clock and draws no number. The same images give the same bits, compiled or not.
"""

from typing import Any

import numpy as np

from controller.law import (
    admit,
    anm,
    balance,
    brake,
    contract,
    contract_windows,
    doe,
    envelope,
    export,
    export_brake,
    export_ramp,
    frequency,
    headroom,
    image,
    pay,
    phases,
    quantise,
    ramp,
    reason,
    reserve,
    share,
    start,
    tree,
    trust,
    uncontrolled,
    voltage,
    wish,
)
from controller.law.kernel import COMPILED, bind, entry
from controller.law.pages import frozen, paged, turn

BLOCK = 512  # chargers a turn: what one step wrote is still in the cache when the next one reads it


@entry
def steps(images: Any, near: Any, places: Any, words: Any, chargers: int) -> None:
    """Take the twelve steps; every step finds the arrays that it names in `images`, in `near` those of a block."""
    # 1 trust: what may be believed, and what is reserved
    trust.clock(images)
    phases.follow(images)
    tree.arrange(images)
    trust.nodes(images)
    voltage.groups(images)
    for first in range(0, chargers, BLOCK):
        end = min(first + BLOCK, chargers)
        turn(near, places, words, first // BLOCK)
        trust.chargers(near, first, end)
        phases.floors(near, first, end)
        start.adopt(near, first, end)
        reserve.reserve(near, first, end)
        reserve.reserve_exports(near, first, end)
        # 2-5 what each charger, and each node, may have at most
        wish.ask(near, first, end)
        frequency.respond(near, first, end)
        envelope.car(near, first, end)
        envelope.ceiling(near, first, end)
        voltage.volts(near, first, end)
        voltage.droop(near, first, end)
    wish.notice(images)
    voltage.all_read(images)
    for first in range(0, chargers, BLOCK):
        end = min(first + BLOCK, chargers)
        turn(near, places, words, first // BLOCK)
        envelope.discharge(near, first, end)
        voltage.droop(near, first, end)
        voltage.volt_watt(near, first, end)
    contract.orders(images)
    doe.bind_nodes(images)
    contract_windows.windows(images)
    # 6-9 how the room is shared
    uncontrolled.estimate(images)
    headroom.capacity(images)
    anm.share_import(images)
    balance.gaps(images)
    phases.hold(images)
    for first in range(0, chargers, BLOCK):
        end = min(first + BLOCK, chargers)
        turn(near, places, words, first // BLOCK)
        admit.candidates(near, first, end)
    admit.rotate(images)
    admit.admit(images)
    share.lower_lost(images)
    phases.choose(images)
    share.remember(images)
    share.split(images)
    share.balance(images)
    quantise.quantise(images)
    # 10, 11 last resort and way up
    brake.watch_nodes(images)
    for first in range(0, chargers, BLOCK):
        end = min(first + BLOCK, chargers)
        turn(near, places, words, first // BLOCK)
        brake.brake(near, first, end)
        ramp.rise(near, first, end)
    pay.pay(images)
    balance.settle(images)
    # 6-11 once more with all signs turned, for those who may export
    export_ramp.gaps(images)
    export.candidates(images)
    anm.share_export(images)
    export.admit(images)
    export.share(images)
    export_brake.watch_exports(images)
    export_brake.stop(images)
    export_ramp.rise(images)
    export_ramp.grant(images)
    export_ramp.balance(images)
    export.publish(images)
    # 12 reason: why
    for first in range(0, chargers, BLOCK):
        end = min(first + BLOCK, chargers)
        turn(near, places, words, first // BLOCK)
        reason.conclude(near, first, end)
        export.settle(near, first, end)


class _Bound:
    """Keep the tables of the images that were decided last: the same ones come again scan by scan."""

    __slots__ = ("_again", "_images", "_pages", "_plan")

    def __init__(self) -> None:
        self._images: tuple[Any, ...] = (None, None, None, None)
        self._plan: Any = None
        self._pages: Any = None
        self._again: tuple[Any, ...] = ()

    def tables(self, inp: Any, plan: Any, state: Any, out: Any) -> tuple[Any, ...]:
        """Return whether the plan is that of the scan before and cannot have been written, then the pages, which must
        live as long as the steps run, then what `steps` takes for these images."""
        last = self._images
        if last[0] is inp and last[1] is plan and last[2] is state and last[3] is out:
            return self._again
        images = (inp, plan, state, out)
        if plan is not self._plan:
            self._plan, self._pages = plan, paged(plan, BLOCK) if frozen(plan) else None
        places, words = self._pages[:2] if self._pages and COMPILED else NOWHERE
        table: Any = bind(images) if COMPILED else (*inp, *plan, *state, *out)
        near = table.copy() if places.size else table
        given = (self._pages, table, near, places, words, plan.charger_node.size)
        self._images, self._again = images, (self._pages is not None, *given)
        return (False, *given)


NOWHERE = (np.zeros(0, dtype=np.int64), np.zeros((0, 0), dtype=np.int64))
BOUND = _Bound()


def decide(inp: Any, plan: Any, state: Any, out: Any) -> None:
    """Decide one scan in place: images of `controller.law.image` for the same sizes, in the order of the tables.

    A plan that nobody can write is looked at once, not in every scan.
    """
    kept, _pages, *tables = BOUND.tables(inp, plan, state, out)
    state.plan_kept[0] = kept and state.started[0] == 1
    steps(*tables)
    out.scan[0] = inp.scan[0]
    out.now_ns[0] = inp.now_ns[0]


def warm(dims: image.Dims) -> None:
    """Compile the law, or load it from the cache, by deciding an empty scan of the given sizes."""
    decide(*(image.allocate(table, dims)[1] for table in image.TABLES))
