"""Make one reading of what a charge point tells: states, meter values and transactions of 1.6 and 2.x alike.

A reading is dated by the point's own timestamp, which the CSMS set by its BootNotification and heartbeats: values that
were queued while the point was offline stay as old as they are. A stamp from the future is not believed. Each phase has
a date of its own, the reading that of the oldest: a phase that a sample leaves out does not become younger by it.
"""

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from instruments.ocpp_profiles import amps_of

NS = 1_000_000_000
GOOD, BAD = 0, 2
CP_UNKNOWN, CP_A, CP_B, CP_C, CP_F = -1, 0, 1, 2, 5
STATES = {  # 1.6 ChargePointStatus and 2.x ConnectorStatusEnumType -> IEC 61851-1 state
    "Available": CP_A,
    "Reserved": CP_A,
    "Preparing": CP_B,
    "SuspendedEV": CP_B,
    "SuspendedEVSE": CP_B,
    "Finishing": CP_B,
    "Occupied": CP_B,
    "Charging": CP_C,
    "Faulted": CP_F,
    "Unavailable": CP_F,
}
CHARGING = {"Idle": CP_A, "EVConnected": CP_B, "SuspendedEV": CP_B, "SuspendedEVSE": CP_B, "Charging": CP_C}
KILO = {"kW": 1e3, "kWh": 1e3, "W": 1.0, "Wh": 1.0, "A": 1.0, "V": 1.0, "Celsius": 1.0, "Percent": 1.0}
PHASES = {"L1": (0,), "L2": (1,), "L3": (2,), "L1-N": (0,), "L2-N": (1,), "L3-N": (2,), None: (0, 1, 2)}
FUTURE_NS = 2 * NS  # stamps have whole seconds, and the point's clock was set over a network


def _three_nan() -> np.ndarray:
    return np.full(3, np.nan)


@dataclass(slots=True)
class PointReading:
    """Hold what is known of one charge point now, as `instruments.charger_port.ChargerReading` names it."""

    volt_v: np.ndarray = field(default_factory=_three_nan)
    amp_a: np.ndarray = field(default_factory=_three_nan)
    power_w: float = math.nan
    energy_wh: float = math.nan
    session_wh: float = math.nan
    state: int = CP_UNKNOWN
    limit_a: float = math.nan
    quality: int = BAD
    change_ns: int = 0
    link: bool = False
    session_no: int = 0
    sent_a: float = math.nan
    sent_ns: int = 0
    failsafe_a: float = math.nan
    failsafe_s: float = math.nan
    phases: int = -1  # in use, of a point that is asked to switch; -1 not known
    round_trip_ns: int = 0
    errors: int = 0
    fault: str = ""
    overwritten_a: float = math.nan


class PointReadingBuilder:
    """Fill one reading from a point's messages; `phases` of the charger's connection (1 or 3)."""

    __slots__ = (
        "_others_a",
        "_phase_ns",
        "_phases",
        "_session_start_wh",
        "reading",
        "skew_s",
        "stamp_ns",
        "transaction",
    )

    def __init__(self, phases: int = 3) -> None:
        self._phases = phases
        self._session_start_wh = math.nan
        self._phase_ns = [0] * 3  # monotonic date of each phase's amps
        self._others_a: dict[str, float] = {}  # limits of other parties by source, A
        self.reading = PointReading()
        self.stamp_ns = 0  # UTC stamp of the newest meter values
        self.skew_s = 0.0  # by which the point's clock is ahead of ours at most, as its stamps show
        self.transaction: str | int | None = None

    def lost(self) -> None:
        """Begin anew after a lost link: old values stay, but they are bad until new ones come."""
        self.reading.link = False
        self.reading.quality = BAD
        self._others_a.clear()

    def status(self, name: str) -> None:
        """Take a connector's status; while a 2.x transaction runs its charging state says more than Occupied."""
        state = STATES.get(name, CP_UNKNOWN)
        if name == "Occupied" and self.transaction is not None and self.reading.state in (CP_B, CP_C):
            return
        self._state(state)

    def charging_state(self, name: str) -> None:
        """Take the charging state of a 2.x transaction."""
        self._state(CHARGING.get(name, CP_UNKNOWN))

    def begin(self, transaction: str | int, meter_wh: float = math.nan) -> None:
        """Note that a transaction runs."""
        self.transaction = transaction
        if math.isfinite(meter_wh):
            self._energy(meter_wh)

    def end(self) -> None:
        """Note that no transaction runs."""
        self.transaction = None

    def meter(self, values: list[dict[str, Any]], now_ns: int, utc_ns: int) -> str:
        """Take the meterValue list of a message and return what is wrong with its stamps, or an empty text.

        `now_ns` monotonic and `utc_ns` our UTC at its arrival. Older values than the newest known are left out.
        """
        trouble = ""
        for value in sorted(values, key=lambda one: str(one.get("timestamp"))):
            stamp_ns = parse_stamp(value.get("timestamp"))
            if stamp_ns is None:
                trouble = f"meter values without a readable time ({value.get('timestamp')!r})"
                continue
            self.skew_s = (stamp_ns - utc_ns) / NS
            if stamp_ns > utc_ns + FUTURE_NS:
                self.reading.quality = BAD
                trouble = f"its clock is {self.skew_s:.0f} s ahead: values are not believed"
                continue
            if stamp_ns < self.stamp_ns:
                continue
            self.stamp_ns = stamp_ns
            if self._sampled(value.get("sampledValue") or [], now_ns - max(utc_ns - stamp_ns, 0)):
                self.reading.change_ns = min(self._phase_ns[: self._phases])
                known = self.reading.state != CP_UNKNOWN
                self.reading.quality = GOOD if known else BAD
        return trouble

    def limited(self, schedules: list[dict[str, Any]], source: str) -> float:
        """Take the schedules of another party's limit and return it, A; none take that party's limit away.

        NaN where nothing is said: its composite schedule and its amps tell then.
        """
        said_a = math.inf
        for schedule in schedules:
            first = (schedule.get("chargingSchedulePeriod") or [{}])[0]
            if math.isfinite(limit := float(first.get("limit", math.nan))):
                phases = min(int(first.get("numberPhases") or self._phases), self._phases)
                unit = str(schedule.get("chargingRateUnit", "A"))
                said_a = min(said_a, amps_of(limit, unit, self.reading.volt_v, phases))
        if not math.isfinite(said_a):
            if self._others_a.pop(source, None) is not None:
                self.reading.limit_a = math.nan
            return math.nan
        self._others_a[source] = said_a
        self.reading.limit_a = said_a if math.isnan(self.reading.limit_a) else self.reading.limit_a
        self.own_limit()
        return said_a

    def own_limit(self) -> None:
        """Count the limits of other parties as the point's own: what it applies is not above the lowest."""
        if self._others_a and math.isfinite(self.reading.limit_a):
            self.reading.limit_a = min(self.reading.limit_a, *self._others_a.values())

    def _state(self, state: int) -> None:
        before, self.reading.state = self.reading.state, state
        if state > CP_A and state != CP_F and before <= CP_A and (before == CP_A or self.reading.session_no == 0):
            self.reading.session_no += 1
            self.reading.session_wh = self._session_start_wh = math.nan
        if state == CP_A and before > CP_A:
            self.reading.amp_a[: self._phases] = 0.0  # nothing is plugged in: points send no values then
        if self.reading.quality == GOOD and state == CP_UNKNOWN:
            self.reading.quality = BAD

    def _sampled(self, values: list[dict[str, Any]], at_ns: int) -> bool:
        """Take the sampled values of one instant, monotonic ns; return whether amps were among them."""
        reading, power_w, amps = self.reading, [], False
        for sampled in values:
            number = _number(sampled)
            if math.isnan(number):
                continue
            measurand = sampled.get("measurand", "Energy.Active.Import.Register")
            phase = sampled.get("phase")
            rows = [row for row in PHASES.get(phase, ()) if row < self._phases]
            if measurand == "Current.Import" and rows:
                reading.amp_a[rows] = number
                for row in rows:
                    self._phase_ns[row] = max(self._phase_ns[row], at_ns)
                amps = True
            elif measurand == "Voltage" and rows:
                reading.volt_v[rows] = number if number > 0.0 else math.nan
            elif measurand == "Power.Active.Import":
                power_w.append((phase, number))
            elif measurand == "Current.Offered":
                reading.limit_a = number
                self.own_limit()
            elif measurand == "Energy.Active.Import.Register" and phase is None:
                self._energy(number)
        if power_w:
            total = [number for phase, number in power_w if phase is None]
            reading.power_w = total[0] if total else sum(number for _, number in power_w)
        return amps

    def _energy(self, value_wh: float) -> None:
        self.reading.energy_wh = value_wh
        if math.isnan(self._session_start_wh):
            self._session_start_wh = value_wh
        self.reading.session_wh = value_wh - self._session_start_wh


def parse_stamp(text: Any) -> int | None:
    """Return a timestamp of the wire as UTC ns; None where it cannot be read. Without a zone it counts as UTC."""
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    offset = when.utcoffset()
    seconds = (when.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
    return round((seconds - (offset.total_seconds() if offset is not None else 0.0)) * NS)


def _number(sampled: dict[str, Any]) -> float:
    """Return a sampled value in SI units; NaN for signed data and for what is no number."""
    if sampled.get("format") == "SignedData":
        return math.nan
    unit = sampled.get("unit")
    scale = 1.0
    of = sampled.get("unitOfMeasure")
    if isinstance(of, dict):
        unit = of.get("unit")
    try:
        if isinstance(of, dict):
            scale = 10.0 ** int(of.get("multiplier", 0))
        number = float(sampled["value"]) * KILO.get(unit or "Wh", math.nan) * scale
    except (KeyError, TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan
