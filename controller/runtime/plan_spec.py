"""Declare what a plan is built from: nodes, chargers with droop, export and reserve, contract windows, the site."""

from dataclasses import dataclass

from controller.law.names import Fairness, VoltSource
from controller.runtime.plan_groups import GroupSpec

INF = float("inf")


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """Declare a node of the capacity tree; parents stand before their children.

    Amps and watts are capacities per phase and over all phases; `design_a` is the load per phase that is assumed
    for everything not controlled below the node once its meter cannot be believed, `design_export_a` the generation.
    Limits of export are numbers from 0; the capacity in amps holds in both directions.
    """

    name: str
    parent: int
    limit_a: float = INF
    limit_w: float = INF
    metered: bool = False
    design_a: float = 0.0
    growth_a_per_s: float = 0.0
    tau_s: float = 1.0
    max_age_s: float = 3.0
    hold_s: float = 30.0
    unbalance_a: float = INF
    failsafe_w: float = INF
    beat_timeout_s: float = INF
    export_a: float = INF
    export_w: float = INF
    failsafe_export_w: float = INF
    design_export_a: float = 0.0
    doe_max_age_s: float = INF  # a limit handed in is lost after it; inf: the node is handed none
    subscribed_w: float = INF
    subscribed_export_w: float = INF
    station: bool = False  # of several sockets, below the node of its connection


@dataclass(frozen=True, slots=True)
class DroopSpec:
    """Declare a voltage droop: points (pu of 230 V, share of the ceiling), filter, hysteresis and fairness."""

    points: tuple[tuple[float, float], ...]
    tau_s: float = 10.0
    deadband_pu: float = 0.001
    hysteresis_pu: float = 0.02
    pause_pu: float = 0.0
    resume_pu: float = 0.0
    fairness: Fairness = Fairness.LOCAL


@dataclass(frozen=True, slots=True)
class ExportSpec:
    """Declare what a charger may export: ceiling and least current (A per phase), battery floor, volt-watt curve."""

    max_a: float
    min_a: float = 0.0
    soc_floor: float = 0.3
    soc_band: float = 0.01
    points: tuple[tuple[float, float], ...] = ()
    tau_s: float = 4.3429448


@dataclass(frozen=True, slots=True)
class ReserveSpec:
    """Declare the frequency reserve (FCR) of a charger: watts to either side of a base in amps per phase."""

    power_w: float
    base_a: float = 0.0


@dataclass(frozen=True, slots=True)
class ChargerSpec:
    """Declare a charger: where it is connected, what it and its device model can do, and its comfort rules."""

    name: str
    node: int
    phase_map: tuple[int, int, int]
    hard_max_a: float
    obey_s: float
    max_age_s: float
    failsafe_a: float
    failsafe_s: float
    step_a: float
    floor_a: float = 6.0
    weight: float = 1.0
    priority: int = 0
    no_pause: bool = False
    hold_s: float = 30.0
    limit_slack_a: float = 0.25  # by how much the limit that it tells may be above the order
    ramp_up_a_per_s: float = INF
    raise_band_a: float = 0.25
    car_margin_a: float = 3.0
    car_shrink_s: float = 60.0
    random_delay_s: float = 0.0
    volt_source: VoltSource = VoltSource.NONE
    droop: DroopSpec | None = None
    nominal_drop_pu: float = 0.0  # fall of the volts at its node at design load, for the equalised droop
    export: ExportSpec | None = None
    reserve: ReserveSpec | None = None
    wish_exempt: bool = False
    switch_phases: bool = False  # it can go from all its phases to the first alone, and back
    switch_floor_a: float = 0.0  # smallest current of its car on the one phase; 0: floor_a
    switch_dwell_s: float = 600.0
    switch_pause_s: float = 10.0


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Declare one contract window for a charger or a node (the other one is -1), in local seconds of the day.

    `dates` bounds it: bit k, lowest first, is the date `SiteSpec.calendar_day` + k; empty is every date.
    """

    from_s: float
    to_s: float
    charger: int = -1
    node: int = -1
    limit_a: float = INF
    limit_w: float = INF
    export_w: float = INF
    days: int = 127
    lead_s: float = 0.0
    dates: bytes = b""


@dataclass(frozen=True, slots=True)
class SiteSpec:
    """Hold the declarations of a whole site, from which `build_plan` fills the PLAN image."""

    nodes: tuple[NodeSpec, ...]
    chargers: tuple[ChargerSpec, ...]
    windows: tuple[WindowSpec, ...] = ()
    groups: tuple[GroupSpec, ...] = ()
    calendar_day: int = 0  # days since 1970-01-01
    period_s: float = 0.1
    rotation_s: float = 900.0
    min_on_s: float = 300.0
    min_off_s: float = 300.0
    grace_s: float = 210.0
    alarm_pu: float = 0.9
    brake_pu: float = 0.0
    brake_high_pu: float = INF
    brake_over: float = INF
    brake_delay_s: float = 5.0
    brake_release_s: float = 60.0
    brake_lost_s: float = INF
    fcr_nominal_hz: float = 50.0
    fcr_deadband_hz: float = 0.01
    fcr_full_hz: float = 0.2
    fcr_max_age_s: float = 2.0
    switch_margin_w: float = 200.0
