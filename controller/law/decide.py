"""Decide one scan: the twelve steps in their order. Each step is a page of its own beside this one.

`decide` reads the INPUT and PLAN images, keeps what it must remember in STATE and writes OUTPUT, all in place; it
allocates no array, reads no clock and draws no number. The same images give the same bits, compiled or not.
"""

from typing import Any

from controller.law import (
    admit,
    brake,
    contract,
    envelope,
    export,
    frequency,
    headroom,
    image,
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


@entry
def steps(images: Any) -> None:
    """Take the twelve steps; every step finds the arrays that it names in `images`."""
    # 1 trust: what may be believed
    trust.clock(images)
    tree.arrange(images)
    trust.chargers(images)
    trust.nodes(images)
    start.adopt(images)
    reserve.reserve(images)
    export.reserve(images)
    # 2-5 what each charger, and each node, may have at most
    wish.ask(images)
    frequency.respond(images)
    envelope.car(images)
    envelope.ceiling(images)
    envelope.discharge(images)
    voltage.volts(images)
    voltage.droop(images)
    voltage.volt_watt(images)
    contract.orders(images)
    contract.windows(images)
    # 6-9 how the room is shared
    uncontrolled.estimate(images)
    headroom.capacity(images)
    admit.candidates(images)
    admit.rotate(images)
    admit.admit(images)
    share.split(images)
    quantise.quantise(images)
    # 10-12 last resort, way up, and why
    brake.watch_nodes(images)
    brake.brake(images)
    ramp.rise(images)
    ramp.pay(images)
    export.share(images)
    reason.conclude(images)
    export.settle(images)


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
    steps(BOUND.table(inp, plan, state, out) if COMPILED else (*inp, *plan, *state, *out))
    out.scan[0] = inp.scan[0]
    out.now_ns[0] = inp.now_ns[0]


def warm(dims: image.Dims) -> None:
    """Compile the law, or load it from the cache, by deciding an empty scan of the given sizes."""
    decide(*(image.allocate(table, dims)[1] for table in image.TABLES))
