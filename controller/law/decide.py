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

LAW = (
    # 1 trust: what may be believed
    trust.clock,
    tree.arrange,
    trust.chargers,
    trust.nodes,
    start.adopt,
    reserve.reserve,
    export.reserve,
    # 2-5 what each charger, and each node, may have at most
    wish.ask,
    frequency.respond,
    envelope.car,
    envelope.ceiling,
    envelope.discharge,
    voltage.volts,
    voltage.droop,
    voltage.volt_watt,
    contract.orders,
    contract.windows,
    # 6-9 how the room is shared
    uncontrolled.estimate,
    headroom.capacity,
    admit.candidates,
    admit.rotate,
    admit.admit,
    share.split,
    quantise.quantise,
    # 10-12 last resort, way up, and why
    brake.watch_nodes,
    brake.brake,
    ramp.rise,
    ramp.pay,
    export.share,
    reason.conclude,
    export.settle,
)


def decide(inp: Any, plan: Any, state: Any, out: Any) -> None:
    """Decide one scan in place: images of `controller.law.image` for the same sizes, in the order of the tables."""
    arrays = (*inp, *plan, *state, *out)
    for step in LAW:
        step(arrays)
    out.scan[0] = inp.scan[0]
    out.now_ns[0] = inp.now_ns[0]


def warm(dims: image.Dims) -> None:
    """Compile every step, or load it from the cache, by deciding an empty scan of the given sizes."""
    decide(*(image.allocate(table, dims)[1] for table in image.TABLES))
