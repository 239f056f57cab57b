"""Let the scenario's faults happen to the chargers of a world, and end them.

What the charger itself does wrong is in its state (`hil.plant.faults`); a black-out and swapped phases are done here,
to its supply and its wiring; that an OCPP point refuses charging profiles is its twin's part.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.rig.scenario_keys import CHARGER_FAULTS, Event

if TYPE_CHECKING:
    from hil.rig.world import World

__all__ = ["CHARGER_FAULTS", "begin"]


def begin(world: "World", event: Event, t_s: float) -> Callable[[], None]:
    """Begin a fault at the event's chargers, write it down, and return what ends it."""
    names = world.assembly.charger_names
    chosen = [names.index(name) for name in event.chargers]
    entry: dict[str, Any] = {"t_s": t_s, "event": event.kind, "chargers": event.chargers, "for_s": event.for_s}
    if event.kind == "meter_error":
        entry |= {"meter": event.meter, "value": event.value}
    world.log.append(entry)
    if event.kind == "black_out":
        world.dark[chosen] = True
        return lambda: np.put(world.dark, chosen, False)
    if event.kind == "reject_profiles":
        world.rejecting[chosen] = True
        return lambda: np.put(world.rejecting, chosen, False)
    if event.kind == "swap_phases":
        roll(world, chosen, 1)
        return lambda: roll(world, chosen, -1)
    kind, value = fault_of(event)
    for i in chosen:
        world.fleet.fail(i, kind, value)

    def end() -> None:
        for i in chosen:
            if kind != "reboot":  # over by itself
                world.fleet.mend(i, kind)

    return end


def fault_of(event: Event) -> tuple[str, float]:
    """Return the kind of fault in the plant, and its number: A of an offset, factor of a scale."""
    if event.kind != "meter_error":
        return event.kind, math.nan
    return f"meter_{event.meter}", math.nan if event.value is None else event.value


def roll(world: "World", chosen: list[int], by: int) -> None:
    """Lead the grid's phases to the next terminals of some chargers: L1's wire to L2, L2's to L3, L3's to L1."""
    for i in chosen:
        mine = world.charger == i
        world.feed[mine] = np.roll(world.feed[mine], by)
