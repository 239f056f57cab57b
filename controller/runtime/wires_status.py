"""Lay out `wires.img`: whether the wires are ready, and link, faults, round trips and ages of every port."""

from typing import Any

import numpy as np

from controller.runtime.histogram import HISTOGRAM, Histogram
from controller.runtime.site import Site
from controller.runtime.store import Store

NAME = "wires.img"
PORT = np.dtype(
    [
        ("name", "S48"),
        ("fault", "S240"),
        ("link", "i8"),
        ("errors", "i8"),
        ("round_trip", HISTOGRAM),
        ("age", HISTOGRAM),
        ("obey", HISTOGRAM),
        ("overwritten_a", "f8"),
        ("sent_a", "f8"),  # the last set-point that a charger acknowledged, and when
        ("sent_ns", "i8"),
        ("skew_s", "f8"),  # of its clock, + ahead, while that is told; NaN otherwise
    ]
)


def ports(site: Site) -> list[str]:
    """Return the names of the ports in their order: chargers, the substation where there is one, meters."""
    names = [charger.name for charger in site.chargers]
    names += [site.substation.name] if site.substation else []
    return names + [meter.name for meter in site.meters]


def dtype(names: list[str]) -> np.dtype:
    """Return the layout of `wires.img` for so many ports."""
    return np.dtype([("ready", "i8"), ("failed", "i8"), ("ports", PORT, (len(names),))])


def read_wires(site: Site) -> np.ndarray:
    """Return a copy of the wires' status, a record of `dtype` (shape ()); zeros where nothing was written yet."""
    layout = dtype(ports(site))
    buffer = np.zeros(layout.itemsize, dtype=np.uint8)
    Store.attach(site.store(NAME), layout.itemsize).read(buffer)
    record: np.ndarray = buffer.view(layout).reshape(())
    return record


def to_dict(status: np.ndarray) -> dict[str, Any]:
    """Return the ports' figures in the shape of `timing.json`: {name: link, errors, fault, round_trip, age, obey,
    overwritten_a}; `overwritten_a` A that another master set or made it draw above our order, None: nobody."""
    figures = {}
    for port in status["ports"]:
        named: dict[str, Any] = {name: Histogram(port[name]).to_dict() for name in ("round_trip", "age", "obey")}
        named |= {"link": bool(port["link"]), "errors": int(port["errors"]), "fault": port["fault"].decode() or None}
        named["overwritten_a"] = float(port["overwritten_a"]) if port["overwritten_a"] > 0.0 else None  # false on NaN
        figures[port["name"].decode()] = named
    return figures
