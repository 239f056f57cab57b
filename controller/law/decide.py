"""Decide one scan: the twelve steps in their order. Each step is a page of its own beside this one.

`decide` reads the INPUT and PLAN images, keeps what it must remember in STATE and writes OUTPUT, all in place; it
allocates no array, reads no clock and draws no number. The same images give the same bits, compiled or not.
"""

from typing import Any

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

BLOCK = 512  # chargers a turn: what one step wrote is still in the cache when the next one reads it


@entry
def steps(images: Any, chargers: int) -> None:
    """Take the twelve steps; every step finds the arrays that it names in `images`."""
    # 1 trust: what may be believed, and what is reserved
    trust.clock(images)
    phases.follow(images)
    tree.arrange(images)
    trust.nodes(images)
    for first in range(0, chargers, BLOCK):
        end = min(first + BLOCK, chargers)
        trust.chargers(images, first, end)
        phases.floors(images, first, end)
        start.adopt(images, first, end)
        reserve.reserve(images, first, end)
        reserve.reserve_exports(images, first, end)
        # 2-5 what each charger, and each node, may have at most
        wish.ask(images, first, end)
        frequency.respond(images, first, end)
        envelope.car(images, first, end)
        envelope.ceiling(images, first, end)
        voltage.volts(images, first, end)
    wish.notice(images)
    for first in range(0, chargers, BLOCK):
        end = min(first + BLOCK, chargers)
        envelope.discharge(images, first, end)
        voltage.droop(images, first, end)
        voltage.volt_watt(images, first, end)
    contract.orders(images)
    doe.bind_nodes(images)
    contract_windows.windows(images)
    # 6-9 how the room is shared
    uncontrolled.estimate(images)
    headroom.capacity(images)
    anm.share_import(images)
    balance.gaps(images)
    phases.hold(images)
    admit.candidates(images, 0, chargers)
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
        brake.brake(images, first, end)
        ramp.rise(images, first, end)
    ramp.pay(images)
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
        reason.conclude(images, first, end)
        export.settle(images, first, end)


class _Bound:
    """Keep the table of the images that were decided last: the same ones come again scan by scan."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: tuple[Any, ...] = (None, None, None, None, None)

    def table(self, inp: Any, plan: Any, state: Any, out: Any) -> Any:
        """Return the table of addresses of these images."""
        last = self._last
        if not (last[0] is inp and last[1] is plan and last[2] is state and last[3] is out):
            self._last = last = (inp, plan, state, out, bind((inp, plan, state, out)))
        return last[4]


BOUND = _Bound()


def decide(inp: Any, plan: Any, state: Any, out: Any) -> None:
    """Decide one scan in place: images of `controller.law.image` for the same sizes, in the order of the tables."""
    steps(BOUND.table(inp, plan, state, out) if COMPILED else (*inp, *plan, *state, *out), plan.charger_node.size)
    out.scan[0] = inp.scan[0]
    out.now_ns[0] = inp.now_ns[0]


def warm(dims: image.Dims) -> None:
    """Compile the law, or load it from the cache, by deciding an empty scan of the given sizes."""
    decide(*(image.allocate(table, dims)[1] for table in image.TABLES))
