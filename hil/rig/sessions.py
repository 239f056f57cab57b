"""Draw who comes to which charger when, with which car and how much he wants: from tables or a transaction file.

Everything random comes from the rig's seed. A rig without `[sessions]` has a car at every charger from the start on.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hil.rig.rigfile import LoadedRig
from hil.rig.schema import Rig
from hil.rig.session_keys import SessionsPart
from profiles.errors import ProfileError
from profiles.session import DAY_S, Sessions, draw_sessions, load_transactions, resample, vehicle_of_power
from profiles.vehicle import Vehicle

NAME = "sessions.csv"
COLUMNS = ("charger", "vehicle", "arrive_s", "leave_s", "wanted_wh", "arrive_utc")
FIRST_SOC = 0.05  # a car does not arrive emptier than this
FULLEST = 0.95  # share of its battery that a session asks for at most


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """Plug a car in (need_wh > 0) or out (0) at a charger, at scenario time `at_s`.

    `vehicle` is its class where it is not the charger's own.
    """

    at_s: float
    charger: int
    soc: float
    need_wh: float
    vehicle: str = ""


def session_events(loaded: LoadedRig, start: datetime, cars: Sequence[Vehicle], horizon_s: float) -> list[SessionEvent]:
    """Return the plug-ins and plug-outs of a rig up to `horizon_s`, in order; `start` is the site's local time.

    ProfileError where a file of transactions is missing, of no known format or has none for these days.
    """
    part = loaded.rig.sessions
    if part is None:
        return _cars_from_the_start(loaded.rig, start, cars, horizon_s)
    midnight_s = start.hour * 3600.0 + start.minute * 60.0 + start.second
    drawn = _drawn(part, loaded, start, horizon_s)
    random = np.random.default_rng([loaded.rig.rig.seed, 5])
    events = []
    for k in np.argsort(drawn.arrive_s, kind="stable"):
        begin_s, end_s = float(drawn.arrive_s[k]) - midnight_s, float(drawn.leave_s[k]) - midnight_s
        i = int(drawn.charger[k])
        name = _class(part, float(drawn.max_w[k]), random)
        if i >= len(cars) or begin_s > horizon_s or end_s <= -loaded.rig.scenario.settle_s or end_s <= begin_s:
            continue
        car = loaded.vehicles[name] if name else cars[i]
        wanted_wh = float(min(drawn.need_wh[k], FULLEST * car.battery_wh))
        if wanted_wh <= 0.0:
            continue
        begin_s = max(begin_s, -loaded.rig.scenario.settle_s)
        events.append(SessionEvent(begin_s, i, max(FIRST_SOC, 1.0 - wanted_wh / car.battery_wh), wanted_wh, name))
        events.append(SessionEvent(end_s, i, 0.0, 0.0))
    return sorted(events, key=lambda event: (event.at_s, event.need_wh > 0.0))  # out before in


def _drawn(part: SessionsPart, loaded: LoadedRig, start: datetime, horizon_s: float) -> Sessions:
    """Return the sessions of all chargers, seconds from the midnight before the scenario's start."""
    n, days, seed = len(loaded.rig.charger), int(horizon_s // DAY_S) + 2, loaded.rig.rig.seed
    if part.profile is not None:
        return draw_sessions(seed, n, days, part.profile, part.per_day, start.weekday())
    path = _beside(loaded.path, part.file or "")
    found = load_transactions(path)
    if part.draw == "resample":
        return resample(found, seed, n, days, part.per_day, start.weekday())
    first = found.first_day
    day = first if part.first_day is None else part.first_day
    shift_s = 0.0 if first is None or day is None else (day - first).days * DAY_S
    kept = (found.leave_s > shift_s) & (found.arrive_s < shift_s + days * DAY_S)
    if not kept.any():
        raise ProfileError(f"{path.name}: no transactions in {days} days from {day} (the file begins on {first})")
    return found.part(kept, shift_s)


def _beside(rig: Path, name: str) -> Path:
    for path in (rig.parent / name, Path(name)):
        if path.is_file():
            return path
    raise ProfileError(f"{rig.name}:sessions.file = {name!r}: no such file beside the rig file or here")


def _class(part: SessionsPart, max_w: float, random: np.random.Generator) -> str:
    """Return the class of the next car; an empty text for the charger's own."""
    place = random.random()
    for share in part.fleet:
        place -= share.share
        if place < 0.0:
            return share.vehicle
    return part.fleet[-1].vehicle if part.fleet else vehicle_of_power(max_w)


def _cars_from_the_start(rig: Rig, start: datetime, cars: Sequence[Vehicle], horizon_s: float) -> list[SessionEvent]:
    """Plug every charger's first car in before the start (local time); draw what comes after it, up to the horizon."""
    soc = rig.scenario.arrival_soc
    events = []
    days = int(horizon_s // DAY_S) + 2
    drawn = draw_sessions(rig.rig.seed, len(cars), days, first_weekday=start.weekday())
    midnight_s = start.hour * 3600 + start.minute * 60 + start.second
    for i, car in enumerate(cars):
        need_wh = (1 - soc) * car.battery_wh
        events.append(SessionEvent(-rig.scenario.settle_s, i, soc, need_wh))
        mine = np.flatnonzero(drawn.charger == i)
        arrive = drawn.arrive_s[mine] - midnight_s
        leave = drawn.leave_s[mine] - midnight_s
        present = mine[(arrive <= 0) & (leave > 0)]
        stay_s = float(drawn.leave_s[present[0]] - midnight_s) if len(present) else 8 * 3600.0
        events.append(SessionEvent(max(stay_s, rig.scenario.for_s + 1.0), i, 0.0, 0.0))
        gone = max(stay_s, rig.scenario.for_s + 1.0)
        for k, (begin, end) in enumerate(zip(arrive, leave, strict=True)):
            if begin <= gone or begin > horizon_s:
                continue
            wanted = float(min(drawn.need_wh[mine[k]], FULLEST * car.battery_wh))
            events.append(SessionEvent(float(begin), i, max(FIRST_SOC, 1 - wanted / car.battery_wh), wanted))
            events.append(SessionEvent(float(end), i, 0.0, 0.0))
            gone = float(end)
    return sorted(events, key=lambda event: event.at_s)


@dataclass(frozen=True, slots=True)
class Stay:
    """Hold one session of a run: charger and class of the car by name, scenario s, Wh wanted at the plug."""

    charger: str
    vehicle: str
    arrive_s: float
    leave_s: float
    wanted_wh: float


def stays(events: Sequence[SessionEvent], chargers: Sequence[str], vehicles: Sequence[str]) -> list[Stay]:
    """Pair plug-ins with plug-outs; `vehicles` (N,) are the chargers' own classes. A car that stays leaves at +inf."""
    open_at: dict[int, SessionEvent] = {}
    found = []

    def close(event: SessionEvent, at_s: float) -> None:
        i = event.charger
        found.append(Stay(chargers[i], event.vehicle or vehicles[i], event.at_s, at_s, event.need_wh))

    for event in events:
        before = open_at.pop(event.charger, None)
        if before is not None:
            close(before, event.at_s)
        if event.need_wh > 0.0:
            open_at[event.charger] = event
    for event in open_at.values():
        close(event, float("inf"))
    return sorted(found, key=lambda stay: (stay.arrive_s, stay.charger))


def write_stays(path: Path, found: Sequence[Stay], start_utc_s: float) -> None:
    """Write sessions as CSV; a car that stays has an empty `leave_s`. No driver is named."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for stay in found:
            leave = f"{stay.leave_s:.1f}" if np.isfinite(stay.leave_s) else ""
            when = datetime.fromtimestamp(start_utc_s + stay.arrive_s, UTC).isoformat(timespec="seconds")
            row = (stay.charger, stay.vehicle, f"{stay.arrive_s:.1f}", leave, f"{stay.wanted_wh:.1f}", when)
            writer.writerow(row)


def read_stays(path: Path) -> list[Stay]:
    """Read sessions as `write_stays` wrote them; ProfileError tells file:row."""
    found = []
    with path.open(newline="", encoding="utf-8") as file:
        for k, row in enumerate(csv.DictReader(file), start=2):
            try:
                leave_s = float(row["leave_s"] or "inf")
                found.append(
                    Stay(row["charger"], row["vehicle"], float(row["arrive_s"]), leave_s, float(row["wanted_wh"]))
                )
            except (KeyError, TypeError, ValueError) as error:
                raise ProfileError(f"{path.name}:{k}: {error}") from error
    return found
