"""Read a case: a folder with README.md and case.toml. Unknown keys, names and empty cases are refused.

The file's tables are described in tests/cases/README.md.
"""

import tomllib
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from controller.law.names import VoltSource
from controller.runtime.plan import ChargerSpec, DroopSpec, NodeSpec, SiteSpec, WindowSpec

CASES = Path(__file__).parent
PHASE = {"a": 0, "b": 1, "c": 2}
HOUR_S = 3600.0
CHARGER_DEFAULTS: dict[str, Any] = {
    "hard_max_a": 32.0,
    "obey_s": 15.0,
    "max_age_s": 5.0,
    "failsafe_a": 0.0,
    "failsafe_s": 10.0,
    "step_a": 0.1,
}
NODE_DEFAULTS: dict[str, Any] = {"metered": True, "design_a": 60.0, "max_age_s": 3.0}


@dataclass(frozen=True, slots=True)
class Car:
    """Describe what is really connected to a charger, whatever the plan says.

    It starts to draw `rise_s` after a raise and keeps the old amps `fall_s` after a lowering, takes at most `max_a`,
    nothing under `floor_a`. `wired` are the grid's phases at the charger's terminals ("" as the plan says), `legs` how
    many of them the car loads, `noise_a` the standard deviation of the charger's meter.
    """

    max_a: float = 32.0
    floor_a: float = 6.0
    rise_s: float = 0.2
    fall_s: float = 5.0
    wired: str = ""
    legs: int = 3
    drawn_a: float = 0.0
    plugged: bool = True
    noise_a: float = 0.0


@dataclass(frozen=True, slots=True)
class Setting:
    """Describe the world around the chargers: scan, meters, volts and clock."""

    for_s: float
    dt_s: float = 0.2
    read_s: float = 1.0
    publish_s: float = 0.2
    volts_v: float = 230.0
    source_ohm: float = 0.0
    load_noise_a: float = 0.0
    seed: int = 1
    start: datetime = datetime(2026, 1, 13, 12, 0, 0)
    timezone: str = "Europe/Amsterdam"

    @property
    def start_utc_s(self) -> float:
        """Return the start as UTC epoch time, s."""
        return self.start.replace(tzinfo=ZoneInfo(self.timezone)).timestamp()


@dataclass(frozen=True, slots=True)
class Case:
    """Hold one case as read: site, cars, events in time, expectations, and what must break them."""

    name: str
    setting: Setting
    site: SiteSpec
    cars: tuple[Car, ...]
    load_a: dict[str, Any]
    events: tuple[dict[str, Any], ...]
    expect: tuple[dict[str, Any], ...]
    counter: dict[str, Any] = field(default_factory=dict)
    xfail: str = ""

    @property
    def chargers(self) -> list[str]:
        """Return the names of the chargers, in order."""
        return [charger.name for charger in self.site.chargers]

    @property
    def nodes(self) -> list[str]:
        """Return the names of the nodes, in order."""
        return [node.name for node in self.site.nodes]


def folders() -> list[Path]:
    """Return every folder that holds a case, sorted by name."""
    return sorted(path.parent for path in CASES.glob("*/case.toml"))


def read_case(folder: Path, changed: dict[str, Any] | None = None) -> Case:
    """Read a case; `changed` replaces keys of every row of a table (site, setting, node, charger): a counter-case.

    ValueError names the file and the key that is wrong.
    """
    with (folder / "case.toml").open("rb") as file:
        data = tomllib.load(file)
    for table, keys in (changed or {}).items():
        rows = data.setdefault(table, {})
        for row in rows if isinstance(rows, list) else [rows]:
            row.update(keys)
    try:
        return _case(folder.name, data)
    except (TypeError, KeyError, ValueError) as wrong:
        raise ValueError(f"{folder.name}/case.toml: {wrong!r}") from wrong


def _case(name: str, data: dict[str, Any]) -> Case:
    names = [row["name"] for row in data["node"]]
    chargers = [_charger(row, names) for row in data["charger"] for row in _repeated(row)]
    index = {charger.name: i for i, (charger, _) in enumerate(chargers)}
    case = Case(
        name=name,
        setting=Setting(**data.pop("setting")),
        site=SiteSpec(
            nodes=tuple(_node(row, names) for row in data.pop("node")),
            chargers=tuple(charger for charger, _ in chargers),
            windows=tuple(_window(row, names, index) for row in data.pop("window", [])),
            **data.pop("site", {}),
        ),
        cars=tuple(car for _, car in chargers),
        load_a=data.pop("load_a", {}),
        events=tuple(sorted(data.pop("at", []), key=lambda event: event["t_s"])),
        expect=tuple(data.pop("expect")),
        counter=data.pop("counter", {}),
        xfail=data.pop("xfail", ""),
    )
    data.pop("charger")
    if data:
        raise ValueError(f"unknown tables {sorted(data)}")
    if not case.expect:
        raise ValueError("nothing is expected")
    if len(index) != len(case.cars):
        raise ValueError("two chargers have one name")
    return case


def _repeated(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row once, or `count` times with numbered names and the given phases in turn."""
    count = row.get("count", 0)
    if not count:
        return [row]
    turns = row.get("phases", ["a"])
    turns = [turns] if isinstance(turns, str) else turns
    return [
        {k: v for k, v in row.items() if k != "count"}
        | {"name": f"{row['name']}{n + 1}", "phases": turns[n % len(turns)]}
        for n in range(count)
    ]


def _node(row: dict[str, Any], names: list[str]) -> NodeSpec:
    parent = names.index(row["parent"]) if "parent" in row else -1
    return NodeSpec(**(NODE_DEFAULTS | row | {"parent": parent}))


def _charger(row: dict[str, Any], names: list[str]) -> tuple[ChargerSpec, Car]:
    given = dict(row)
    car = Car(**given.pop("car", {}))
    order = [PHASE[letter] for letter in given.pop("phases", "a")]
    given["phase_map"] = tuple(order + [-1] * (3 - len(order)))
    given["node"] = names.index(given.pop("node", names[0]))
    if "droop" in given:
        droop = dict(given.pop("droop"))
        given["volt_source"] = VoltSource[droop.pop("volts", "OWN")]
        points = tuple((volts, share) for volts, share in droop.pop("points"))
        given["droop"] = DroopSpec(points=points, **droop)
    return ChargerSpec(**(CHARGER_DEFAULTS | given)), car


def _window(row: dict[str, Any], names: list[str], index: dict[str, int]) -> WindowSpec:
    given = dict(row)
    start, end = given.pop("from"), given.pop("until")
    given["from_s"] = start.hour * HOUR_S + start.minute * 60 + start.second
    given["to_s"] = end.hour * HOUR_S + end.minute * 60 + end.second
    if "charger" in given:
        given["charger"] = index[given["charger"]]
    if "node" in given:
        given["node"] = names.index(given["node"])
    return WindowSpec(**given)
