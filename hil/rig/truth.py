"""Lay out what the plant publishes of itself, so that a run is judged by what was drawn and not by what was told."""

import numpy as np

from hil.rig.world import World


def truth_dtype(n: int, c: int) -> np.dtype:
    """Return the record of one plant step for n chargers and c customers (volts, amps, watts, seconds)."""
    return np.dtype(
        [
            ("t_s", "f8"),
            ("customer_v", "f8", (c,)),
            ("drawn_a", "f8", (n,)),
            ("volt_v", "f8", (n,)),
            ("drawn_w", "f8", (n,)),
            ("pwm_a", "f8", (n,)),
            ("state", "i1", (n,)),
            ("failsafe_active", "?", (n,)),
            ("link_cut", "?", (n,)),
            ("session_wh", "f8", (n,)),
            ("need_wh", "f8", (n,)),
            ("head_a", "f8", (3,)),
            ("head_w", "f8"),
            ("order_w", "f8"),
            ("temperature_c", "f8"),
            ("converged", "?"),
            ("late_ns", "i8"),  # how late this plant step was; 0 in virtual time
            ("busy_ns", "i8"),  # how long it took
        ]
    )


def fill(record: np.ndarray, t_s: float, world: World) -> None:
    """Write the world's present state into one record (a 0-d structured array)."""
    fleet = world.fleet
    record["t_s"] = t_s
    record["customer_v"] = world.lowest_v()
    record["drawn_a"] = world.drawn_a
    record["volt_v"] = world.terminal_v[:, 0]
    record["drawn_w"] = world.charger_w()
    record["pwm_a"] = fleet.pwm_a
    record["state"] = fleet.state
    record["failsafe_active"] = fleet.failsafe_active | world.fallen
    record["link_cut"] = world.link_cut
    record["session_wh"] = fleet.session_wh
    record["need_wh"] = world.wanted_wh
    record["head_a"] = world.head_a
    record["head_w"] = world.head_w
    order = world.order
    in_force = order is not None and order.from_s <= world.assembly.start_utc_s + t_s < order.to_s
    record["order_w"] = order.limit_w if order is not None and in_force else np.inf
    record["temperature_c"] = world.temperature_c
    record["converged"] = world.converged
