"""Declare the process image: the INPUT, PLAN, STATE and OUTPUT tables and how they lie in memory.

Each image is one contiguous buffer that holds the arrays of its table one after the other, every array on a
64-byte boundary. The law sees a named tuple of views on such a buffer; windows, ledger, desk and documents read
the same table. Shape letters: 1 a scalar, N chargers, M nodes, P the three phases, W contract windows,
K points of a droop curve, S steps of the chain, R buckets of the reservation history, Q the three phases in amps and
their sum in watts.

Numbers (DESIGN: one meaning everywhere): NaN unknown, +inf no limit, 0 is zero; + flows from the grid into the
charger; ``_ns`` are integer nanoseconds of the monotonic clock unless the name says ``utc``; ``_s`` of a calendar
are seconds of the UTC epoch in float64 (resolution 0.2 us).
"""

from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from controller.law.names import Step

PHASES = 3
STEPS = len(Step)
BUCKETS = 16
COLUMNS = 4  # amps of the phases a, b, c; watts of all
ALIGN = 64


class Field(NamedTuple):
    """Describe one array of an image: name, dtype, shape letters, unit, fill value and meaning."""

    name: str
    dtype: str
    shape: str
    unit: str
    fill: float
    meaning: str


class Dims(NamedTuple):
    """Give the sizes of an image: n chargers, m nodes, w contract windows, k points of a droop curve."""

    n: int
    m: int
    w: int = 0
    k: int = 4


NAN = float("nan")
INF = float("inf")

INPUT_FIELDS: tuple[Field, ...] = (
    Field("now_ns", "i8", "1", "ns", 0, "monotonic clock of this scan"),
    Field("utc_ns", "i8", "1", "ns", 0, "UTC clock of this scan, nanoseconds of the Unix epoch"),
    Field("utc_offset_s", "f8", "1", "s", 0, "local time minus UTC at the site now"),
    Field("scan", "i8", "1", "1", 0, "number of this scan"),
    # one row a charger; columns are the charger's own terminals L1, L2, L3
    Field("charger_v", "f8", "NP", "V", NAN, "line to neutral volts seen by the charger"),
    Field("charger_a", "f8", "NP", "A", NAN, "amps drawn, by the charger's meter"),
    Field("charger_w", "f8", "N", "W", NAN, "active power by the charger's meter"),
    Field("charger_wh", "f8", "N", "Wh", NAN, "energy of the present session"),
    Field("charger_state", "i1", "N", "1", -1, "control-pilot state, names.Cp"),
    Field("charger_limit_a", "f8", "N", "A", NAN, "limit that the charger says it applies"),
    Field("charger_quality", "u1", "N", "1", 2, "names.Quality of the charger's readings"),
    Field("charger_change_ns", "i8", "N", "ns", 0, "monotonic time of the last complete fresh reading"),
    Field("charger_link", "u1", "N", "1", 0, "1 while the link to the charger answers"),
    Field("session_no", "i4", "N", "1", 0, "counts plug-ins; a new number is a new session"),
    Field("departure_s", "f8", "N", "s", NAN, "UTC epoch time at which the driver leaves"),
    Field("need_wh", "f8", "N", "Wh", NAN, "energy that the driver still needs (guaranteed)"),
    Field("wish_a", "f8", "N", "A", INF, "set-point asked for by a planner; +inf full power"),
    Field("override_a", "f8", "N", "A", INF, "operator's limit; may only lower"),
    Field("override_until_s", "f8", "N", "s", NAN, "UTC epoch time at which the override ends; NaN never"),
    Field("random_u", "f8", "N", "1", 0, "random number in [0, 1) for the random delay"),
    # one row a node; columns are the grid's phases a, b, c
    Field("node_v", "f8", "MP", "V", NAN, "line to neutral volts at the node"),
    Field("node_v_quality", "u1", "M", "1", 2, "names.Quality of the volts"),
    Field("node_v_change_ns", "i8", "M", "ns", 0, "monotonic time at which their source stamp last changed"),
    Field("node_v_stamp_utc_ns", "i8", "M", "ns", 0, "their source time stamp, UTC"),
    Field("node_a", "f8", "MP", "A", NAN, "amps through the node towards the customers"),
    Field("node_a_quality", "u1", "M", "1", 2, "names.Quality of the amps"),
    Field("node_a_change_ns", "i8", "M", "ns", 0, "monotonic time at which their source stamp last changed"),
    Field("node_a_stamp_utc_ns", "i8", "M", "ns", 0, "their source time stamp, UTC"),
    Field("node_w", "f8", "M", "W", NAN, "active power through the node"),
    Field("node_temp_c", "f8", "M", "degC", NAN, "temperature (transformer hot spot)"),
    Field("order_w", "f8", "M", "W", INF, "DSO order: import limit of the node; +inf none"),
    Field("order_from_s", "f8", "M", "s", NAN, "UTC epoch time from which it holds; NaN at once"),
    Field("order_to_s", "f8", "M", "s", NAN, "UTC epoch time until which it holds; NaN until withdrawn"),
    Field("order_quality", "u1", "M", "1", 2, "names.Quality of the order node"),
    Field("order_beat_ns", "i8", "M", "ns", 0, "monotonic time at which its heartbeat last changed"),
)

PLAN_FIELDS: tuple[Field, ...] = (
    Field("period_s", "f8", "1", "s", 0.1, "scan period"),
    Field("u_nom_v", "f8", "1", "V", 230, "base of the pu values, line to neutral"),
    # the capacity tree, parents before children
    Field("parent", "i4", "M", "1", -1, "index of the node above; -1 the root"),
    Field("node_limit_a", "f8", "MP", "A", INF, "capacity per phase"),
    Field("node_limit_w", "f8", "M", "W", INF, "capacity over all phases"),
    Field("node_metered", "u1", "M", "1", 0, "1 where node_a is measured"),
    Field("node_design_a", "f8", "MP", "A", 0, "design load of what is not controlled below the node"),
    Field("node_growth_a_per_s", "f8", "M", "A/s", 0, "growth margin of a held value"),
    Field("node_tau_s", "f8", "M", "s", 1, "filter of the uncontrolled load"),
    Field("node_max_age_s", "f8", "M", "s", 3, "oldest value that is believed"),
    Field("node_hold_s", "f8", "M", "s", 30, "how long the last value is held after that"),
    Field("node_unbalance_a", "f8", "M", "A", INF, "largest difference between phases of the chargers' amps"),
    Field("node_failsafe_w", "f8", "M", "W", INF, "import limit while the order's heartbeat is lost"),
    Field("node_beat_timeout_s", "f8", "M", "s", INF, "heartbeat is lost after this time"),
    Field("node_obey_s", "f8", "M", "s", 0, "longest obey time of the chargers below"),
    # chargers
    Field("charger_node", "i4", "N", "1", 0, "node at which the charger is connected"),
    Field("phase_map", "i1", "NP", "1", -1, "grid phase (0 a, 1 b, 2 c) of terminal L1, L2, L3; -1 unused"),
    Field("hard_max_a", "f8", "N", "A", 32, "ceiling of EVSE, cable and installation"),
    Field("floor_a", "f8", "N", "A", 6, "smallest current that the car takes; below it is 0"),
    Field("step_a", "f8", "N", "A", 0.001, "resolution of the device's set-point"),
    Field("weight", "f8", "N", "1", 1, "weight in the fair share"),
    Field("priority", "i4", "N", "1", 0, "class; a higher one is served first"),
    Field("no_pause", "u1", "N", "1", 0, "1: the car may not be paused (it would not resume)"),
    Field("max_age_s", "f8", "N", "s", 5, "oldest reading that is believed"),
    Field("hold_s", "f8", "N", "s", 30, "how long the last reading is held after that"),
    Field("obey_s", "f8", "N", "s", 15, "write pacing + PWM + car: time until a lower limit is drawn"),
    Field("failsafe_a", "f8", "N", "A", 0, "current of the charger's own fail-safe"),
    Field("failsafe_s", "f8", "N", "s", INF, "time-out of the charger's own fail-safe; +inf none"),
    Field("ramp_up_a_per_s", "f8", "N", "A/s", INF, "fastest raise"),
    Field("random_delay_s", "f8", "N", "s", 0, "largest random delay before a raise after a pause"),
    Field("raise_band_a", "f8", "N", "A", 0.25, "smaller raises are skipped (no hunting)"),
    Field("car_margin_a", "f8", "N", "A", 3, "margin over what the car was seen to take"),
    Field("car_shrink_s", "f8", "N", "s", 60, "how long it must take less before the rest goes to others"),
    # voltage droop: piecewise linear share of hard_max over volts
    Field("volt_source", "u1", "N", "1", 2, "names.VoltSource"),
    Field("droop_pu", "f8", "NK", "pu", 0, "volts of the curve's points, rising"),
    Field("droop_share", "f8", "NK", "1", 1, "share of hard_max allowed at the point"),
    Field("droop_tau_s", "f8", "N", "s", 10, "filter of the volts"),
    Field("droop_deadband_pu", "f8", "N", "pu", 0, "change of filtered volts that is ignored"),
    Field("droop_hysteresis_pu", "f8", "N", "pu", 0, "volts must recover by this much before a raise"),
    Field("droop_pause_pu", "f8", "N", "pu", 0, "below it the charger is paused"),
    Field("droop_resume_pu", "f8", "N", "pu", 0, "above it a paused charger resumes"),
    # contract windows: one row a window and target
    Field("window_charger", "i4", "W", "1", -1, "charger that it binds; -1 where it binds a node"),
    Field("window_node", "i4", "W", "1", -1, "node that it binds; -1 where it binds a charger"),
    Field("window_from_s", "f8", "W", "s", 0, "start, seconds of the local day"),
    Field("window_to_s", "f8", "W", "s", 0, "end, seconds of the local day; before the start: over midnight"),
    Field("window_days", "u1", "W", "1", 127, "days of the week, bit 0 Monday"),
    Field("window_a", "f8", "W", "A", INF, "limit per phase"),
    Field("window_w", "f8", "W", "W", INF, "limit over all phases"),
    Field("window_lead_s", "f8", "W", "s", 0, "issued early by this time"),
    # admission
    Field("rotation_s", "f8", "1", "s", 900, "length of a clock-aligned rotation slot"),
    Field("min_on_s", "f8", "1", "s", 300, "shortest time on, where the cap permits it"),
    Field("min_off_s", "f8", "1", "s", 300, "shortest time off"),
    Field("grace_s", "f8", "1", "s", 210, "time after plug-in in which a car is not paused for rotation"),
    # emergency brake
    Field("alarm_pu", "f8", "1", "pu", 0.9, "volts below which the alarm is raised (EN 50160, -10 %)"),
    Field("brake_pu", "f8", "1", "pu", 0, "volts below which the brake acts"),
    Field("brake_over", "f8", "1", "1", INF, "multiple of a node's limit above which the brake acts"),
    Field("brake_delay_s", "f8", "1", "s", 5, "how long either must last"),
    Field("brake_release_s", "f8", "1", "s", 60, "how long neither may last before the release"),
)

STATE_FIELDS: tuple[Field, ...] = (
    # clock
    Field("started", "u1", "1", "1", 0, "1 after the first scan"),
    Field("last_ns", "i8", "1", "ns", 0, "monotonic clock of the last scan"),
    Field("last_utc_ns", "i8", "1", "ns", 0, "UTC clock of the last scan"),
    Field("start_ns", "i8", "1", "ns", 0, "monotonic clock of the first scan"),
    Field("dt_s", "f8", "1", "s", 0, "time since the last scan; 0 in the first one"),
    Field("clock_ok", "u1", "1", "1", 1, "0 in a scan whose clocks stepped: nothing is raised in it"),
    # what was believed of a charger; columns of NP here are the grid's phases
    Field("uses", "u1", "NP", "1", 0, "1 where the charger is connected to the grid's phase"),
    Field("known", "u1", "N", "1", 0, "1 once a reading was believed"),
    Field("seen_a", "f8", "NP", "A", 0, "last believed amps"),
    Field("seen_w", "f8", "N", "W", 0, "last believed watts"),
    Field("seen_ns", "i8", "N", "ns", 0, "monotonic time of that reading"),
    Field("seen_state", "i1", "N", "1", -1, "last believed control-pilot state"),
    Field("volts_v", "f8", "N", "V", 0, "sum of the volts on its phases, for watts; the high side where unknown"),
    Field("linked", "u1", "N", "1", 0, "1 where the link answered in the last scan"),
    Field("contact_ns", "i8", "N", "ns", 0, "last time at which the charger can have heard us"),
    Field("sent_a", "f8", "N", "A", 0, "last allowed amps that can have reached it"),
    Field("lost_a", "f8", "N", "A", 0, "amps reserved when its link was lost"),
    Field("no_raise", "u1", "N", "1", 0, "1 where an input of it is not believed: it may not rise"),
    # timers of a session
    Field("session_seen", "i4", "N", "1", -1, "number of the present session"),
    Field("session_ns", "i8", "N", "ns", 0, "monotonic time of its plug-in; 0 not seen"),
    Field("on_ns", "i8", "N", "ns", 0, "monotonic time at which it was last switched on; 0 not seen"),
    Field("off_ns", "i8", "N", "ns", 0, "monotonic time at which it was last paused; 0 not paused"),
    Field("want_ns", "i8", "N", "ns", 0, "since when a paused charger could resume; 0 it cannot"),
    Field("delay_s", "f8", "N", "s", 0, "random delay drawn at the pause"),
    Field("car_a", "f8", "N", "A", INF, "what the car was seen to take, plus a margin"),
    Field("car_ns", "i8", "N", "ns", 0, "since when it takes clearly less than it may; 0 it does not"),
    # voltage droop
    Field("volt_f_pu", "f8", "NP", "pu", NAN, "filtered volts per phase"),
    Field("volt_used_pu", "f8", "N", "pu", NAN, "volts on the curve: lowest phase, behind the dead band"),
    Field("volt_ns", "i8", "N", "ns", 0, "monotonic time at which all its volts were last believed"),
    Field("droop_a", "f8", "N", "A", NAN, "cap of the droop, behind the hysteresis"),
    Field("droop_paused", "u1", "N", "1", 0, "1 between the pause and the resume volts"),
    # what was allowed: break before make
    Field("last_a", "f8", "N", "A", 0, "amps allowed in the last scan"),
    Field("hist_hi_a", "f8", "NR", "A", 0, "highest amps allowed in each bucket of time"),
    Field("hist_lo_a", "f8", "NR", "A", 0, "lowest amps allowed in each bucket of time"),
    Field("hist_slot", "i8", "N", "1", -1, "number of the present bucket"),
    Field("obey_hi_a", "f8", "N", "A", 0, "highest amps allowed within the obey time"),
    Field("span_hi_a", "f8", "N", "A", 0, "highest amps allowed until readings must show them"),
    Field("span_lo_a", "f8", "N", "A", 0, "lowest amps allowed until readings must show them"),
    Field("swing_a", "f8", "N", "A", 0, "the highest minus the lowest of those"),
    Field("fell_ns", "i8", "N", "ns", 0, "monotonic time at which its limit last fell; 0 not seen"),
    Field("drop_a", "f8", "N", "A", 0, "the swing, where the limit fell until readings must show it; else 0"),
    Field("ramp_a", "f8", "N", "A", 0, "position of the ramp"),
    # nodes; columns of MQ are the phases a, b, c in amps and all phases in watts
    Field("node_uses", "u1", "MP", "1", 0, "1 where a charger below uses the phase"),
    Field("node_v_ok", "u1", "M", "1", 0, "1 where the node's volts are believed"),
    Field("node_a_seen_ns", "i8", "M", "ns", 0, "monotonic time of the last believed amps"),
    Field("node_known", "u1", "M", "1", 0, "1 once its amps were believed"),
    Field("node_hold", "u1", "M", "1", 0, "1 where it, or a node above, is metered and not believed"),
    Field("node_other", "f8", "MQ", "A|W", NAN, "filtered uncontrolled load"),
    Field("node_over_ns", "i8", "MQ", "ns", 0, "since when the measured load lies over the estimate; 0 it does not"),
    Field("node_over", "f8", "MQ", "A|W", 0, "lowest measured load since then"),
    Field("node_under_ns", "i8", "MQ", "ns", 0, "since when the measured load lies under the estimate; 0 it does not"),
    Field("node_under", "f8", "MQ", "A|W", 0, "highest measured load since then"),
    Field("node_head_seen", "f8", "MQ", "A|W", INF, "headroom when its amps were last believed"),
    Field("node_cap", "f8", "MQ", "A|W", INF, "limit in force: capacity, window, order"),
    Field("node_cap_why", "u1", "MQ", "1", 9, "names.Reason of that limit"),
    Field("order_held_w", "f8", "M", "W", INF, "last believed DSO order"),
    Field("order_held_from_s", "f8", "M", "s", NAN, "UTC epoch time from which it holds"),
    Field("order_held_to_s", "f8", "M", "s", NAN, "UTC epoch time until which it holds"),
    Field("order_lost", "u1", "M", "1", 1, "1 while its heartbeat is lost"),
    # admission
    Field("rotation_no", "i8", "1", "1", -1, "number of the clock-aligned rotation slot"),
    Field("rank", "i4", "N", "1", 0, "place in the rotation"),
    Field("waiting", "u1", "N", "1", 0, "1 where it is paused for others"),
    # emergency brake
    Field("brake_level", "u1", "N", "1", 0, "0 free, 1 down to the floor, 2 paused"),
    Field("brake_ns", "i8", "N", "ns", 0, "since when its own condition lasts; 0 it does not"),
    Field("brake_clear_ns", "i8", "N", "ns", 0, "since when a braked charger's conditions are gone; 0 not gone"),
    Field("node_brake_level", "u1", "M", "1", 0, "0 free, 1 down to the floor, 2 paused"),
    Field("node_brake_ns", "i8", "M", "ns", 0, "since when its condition lasts; 0 it does not"),
    # scratch: written before it is read in every scan
    Field("cap_a", "f8", "N", "A", 0, "running cap"),
    Field("why", "u1", "N", "1", 0, "names.Reason of the running cap"),
    Field("why_a", "f8", "N", "A", 0, "value of that limit"),
    Field("why_node", "i4", "N", "1", -1, "node or window of that limit"),
    Field("base_a", "f8", "N", "A", 0, "lower bound in the filling: the floor on the device's grid"),
    Field("target_a", "f8", "N", "A", 0, "share"),
    Field("floor_q_a", "f8", "N", "A", 0, "floor on the device's grid"),
    Field("spare_a", "f8", "N", "A", 0, "scratch per charger"),
    Field("ask_a", "f8", "N", "A", 0, "raise asked for beyond what is reserved"),
    Field("grant_a", "f8", "N", "A", 0, "raise granted beyond what is reserved"),
    Field("member", "u1", "N", "1", 0, "1 where it takes part in the filling"),
    Field("active", "i4", "N", "1", 0, "chargers still growing in the filling"),
    Field("queue", "i4", "N", "1", 0, "chargers in the order of admission"),
    Field("key", "f8", "NP", "1", 0, "sort key of that order"),
    Field("tight_node", "i4", "N", "1", -1, "node that stopped it in the filling"),
    Field("tight_col", "i1", "N", "1", -1, "column of that node"),
    Field("room", "f8", "MQ", "A|W", 0, "headroom minus what is reserved for good"),
    Field("free", "f8", "MQ", "A|W", 0, "room minus every reservation"),
    Field("load", "f8", "MQ", "A|W", 0, "scratch per node: sum below"),
    Field("load_hi", "f8", "MQ", "A|W", 0, "scratch per node: upper sum below"),
    Field("slope", "f8", "MQ", "A|W", 0, "scratch per node: growth per unit of level"),
    Field("level", "f8", "MQ", "A", 0, "scratch per node: level at which it, alone, is full"),
    Field("lowest", "f8", "MQ", "A", 0, "scratch per node: lowest level up to the root"),
    Field("tight", "i4", "MQ", "1", -1, "scratch per node: node that is tight at or above it"),
)

OUTPUT_FIELDS: tuple[Field, ...] = (
    Field("scan", "i8", "1", "1", 0, "number of the scan that decided this"),
    Field("now_ns", "i8", "1", "ns", 0, "monotonic clock of that scan"),
    Field("alarm", "u4", "1", "1", 0, "names.Alarm bits"),
    Field("allowed_a", "f8", "N", "A", 0, "amps per phase that the charger may draw; 0 pauses it"),
    Field("reason", "u1", "N", "1", 0, "names.Reason that bound it"),
    Field("reason_a", "f8", "N", "A", NAN, "value of the binding limit"),
    Field("reason_node", "i4", "N", "1", -1, "node, or contract window, that is its source; -1 the charger"),
    Field("chain", "f8", "NS", "A", INF, "cap after each names.Step"),
    Field("admitted", "u1", "N", "1", 0, "1 where the charger may run"),
    Field("charger_trust", "u1", "N", "1", 2, "names.Trust of its readings"),
    Field("reserved_a", "f8", "N", "A", 0, "amps that it may still draw (break before make)"),
    Field("volt_pu", "f8", "N", "pu", NAN, "filtered volts that its droop used, lowest phase"),
    Field("node_trust", "u1", "M", "1", 2, "names.Trust of the node's amps"),
    Field("node_cap_w", "f8", "M", "W", INF, "import limit in force: capacity, window or order"),
    Field("node_other_a", "f8", "MP", "A", 0, "uncontrolled load used"),
    Field("node_reserved_a", "f8", "MP", "A", 0, "sum of reserved amps below the node"),
    Field("node_headroom_a", "f8", "MP", "A", INF, "amps left for the chargers below the node"),
)

TABLES: dict[str, tuple[Field, ...]] = {
    "input": INPUT_FIELDS,
    "plan": PLAN_FIELDS,
    "state": STATE_FIELDS,
    "output": OUTPUT_FIELDS,
}

# numba types a named tuple by its class, so each table has exactly one
Input = namedtuple("Input", [f.name for f in INPUT_FIELDS])  # type: ignore[misc]
Plan = namedtuple("Plan", [f.name for f in PLAN_FIELDS])  # type: ignore[misc]
State = namedtuple("State", [f.name for f in STATE_FIELDS])  # type: ignore[misc]
Output = namedtuple("Output", [f.name for f in OUTPUT_FIELDS])  # type: ignore[misc]
CLASSES: dict[str, Callable[..., Any]] = {"input": Input, "plan": Plan, "state": State, "output": Output}


def shape_of(field: Field, dims: Dims) -> tuple[int, ...]:
    """Return the shape of a field's array for the given sizes."""
    size = {
        "1": 1,
        "N": dims.n,
        "M": dims.m,
        "P": PHASES,
        "W": dims.w,
        "K": dims.k,
        "S": STEPS,
        "R": BUCKETS,
        "Q": COLUMNS,
    }
    return tuple(size[letter] for letter in field.shape)


def layout(table: str, dims: Dims) -> tuple[dict[str, tuple[int, str, tuple[int, ...]]], int]:
    """Return {name: (offset in bytes, dtype, shape)} of a table and the size of its buffer in bytes."""
    places: dict[str, tuple[int, str, tuple[int, ...]]] = {}
    offset = 0
    for field in TABLES[table]:
        shape = shape_of(field, dims)
        places[field.name] = (offset, field.dtype, shape)
        size = int(np.prod(shape)) * np.dtype(field.dtype).itemsize
        offset += -(-size // ALIGN) * ALIGN
    return places, offset


def views(table: str, dims: Dims, buffer: np.ndarray) -> Any:
    """Return the table's named tuple of array views on an existing buffer.

    `buffer` is uint8 of the size that `layout` gives; a ValueError says so when it is not.
    """
    places, nbytes = layout(table, dims)
    if buffer.dtype != np.uint8 or buffer.size != nbytes:
        raise ValueError(f"{table} image of {dims} needs {nbytes} bytes of uint8, got {buffer.size} {buffer.dtype}")
    arrays = [np.ndarray(shape, dtype=dtype, buffer=buffer, offset=offset) for offset, dtype, shape in places.values()]
    return CLASSES[table](*arrays)


def allocate(table: str, dims: Dims) -> tuple[np.ndarray, Any]:
    """Return a new buffer (uint8) filled with the table's fill values, and its named tuple of views."""
    _, nbytes = layout(table, dims)
    buffer = np.zeros(nbytes, dtype=np.uint8)
    image = views(table, dims, buffer)
    reset(table, image)
    return buffer, image


def reset(table: str, image: Any) -> None:
    """Write the table's fill values into every array of an image."""
    for field, array in zip(TABLES[table], image, strict=True):
        array[...] = field.fill
