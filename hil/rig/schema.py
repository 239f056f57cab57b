"""Declare the rig file: one TOML with feeder, chargers, instruments, substation, contracts, scenario and limits.

Every key carries its unit; an unknown key is refused. A device says `twin = true` or `real = "address"`, so that
switching it between emulated and real changes one word.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from controller.law import preset
from controller.runtime.opcua_keys import OpcuaKeys
from controller.runtime.site import OpenAdrPort, S2Port
from hil.rig.calls_part import CallsPart
from hil.rig.charger_keys import ChargerPart, ChargerRow, Twin
from hil.rig.contracts import ContractPart
from hil.rig.csms_part import CsmsPart
from hil.rig.envelope_keys import EnvelopePart
from hil.rig.guard_keys import GuardPart
from hil.rig.key_types import Amps, Pu, Seconds, Share, Strict, Watts
from hil.rig.meter_keys import MeterPart
from hil.rig.opcua_part import OpcuaServerPart
from hil.rig.orders_part import OrdersPart
from hil.rig.scenario_keys import ScenarioPart
from hil.rig.session_keys import SessionsPart
from hil.rig.tree_keys import ConnectionPart, StationPart


class Head(Strict):
    """Name the rig and its clocks."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", description="names the run folder too")]
    title: str = ""
    seed: Annotated[int, Field(ge=0)] = 1
    timezone: str = "Europe/Amsterdam"
    scan_period_s: Annotated[float, Field(ge=0.001, le=60)] = 0.1
    plant_period_s: Annotated[float, Field(ge=0.01, le=60)] = 0.1


class FeederPart(Strict):
    """Choose the network and the capacities that are not in its data."""

    name: str
    source_pu: Pu = 1.0
    transformer_a: Amps = Field(description="A per phase on the low-voltage side")
    head_a: Amps = Field(description="A per phase of the feeder cable's head")
    connection_a: Amps = Field(description="A per phase of a customer's connection")
    unbalance_a: Amps | None = Field(
        default=None, description="A by which two phases of a connection may differ; 20 in VDE-AR-N 4100 (4.6 kVA)"
    )
    households: str
    power_factor: Annotated[float, Field(gt=0, le=1, description="of household shapes without reactive power")] = 0.95
    ambient_c: float = 10.0


class InstrumentPart(Twin):
    """Name one instrument of the bench that carries no power: the control-pilot adapter."""


class AdapterPart(InstrumentPart):
    """Name what plays the control pilot: a device, or the operator (`by = "hand"`: no model, no twin, no address)."""

    model: str = ""
    by: Literal["wire", "hand"] = "wire"
    cable_a: Literal[13, 20, 32, 63] | None = Field(
        default=None, description="cable whose proximity resistor is shown: nobody may draw more than it carries"
    )
    coils: dict[str, Annotated[int, Field(ge=0, le=63)]] = Field(
        default={}, description="coil -> channel of a card with relays, where the wiring departs from the catalog"
    )
    answer_s: Annotated[float, Field(gt=0, le=600, description="longest wait for the operator to confirm")] = 45.0
    valid_s: Annotated[float, Field(gt=0, le=3600, description="how long a typed duty cycle is believed")] = 60.0


class PowerPart(InstrumentPart):
    """Name one instrument that carries power, with the hard limits of what it may do."""

    hard_max_v: Annotated[float, Field(gt=0)]
    hard_max_a: Annotated[float, Field(gt=0)]
    slew_v_per_s: Annotated[float, Field(gt=0)] = 200.0


class SourcePart(PowerPart):
    """Name the source that plays the feeder's node; what is left out stays as the instrument's record sets it up."""

    frequency_hz: Annotated[float, Field(gt=0, description="of the volts it plays")] | None = None
    angles_deg: Annotated[
        tuple[Annotated[float, Field(ge=0, le=360)], Annotated[float, Field(ge=0, le=360)]] | None,
        Field(strict=False, description="how far b and c lag behind a; 120 and 240 is the usual system"),
    ] = None


class SupplyPart(PowerPart):
    """Name the bidirectional supply that plays the vehicle's battery; `hard_max_a` is what it may deliver."""

    hard_sink_a: Annotated[float, Field(gt=0, description="A; what it may take in from the charger")]


# what may stand on a bench, by key, with the role that each needs
AC_BENCH = {"source": "ac_source", "load": "ac_load", "load_l2": "ac_load", "load_l3": "ac_load"}
BENCH_ROLES = {**AC_BENCH, "adapter": "ev_adapter", "supply": "bidirectional_supply", "analyzer": "analyzer"}
GridPhase = Literal["a", "b", "c"]


class EstopPart(Twin):
    """Name the relay card whose released coil takes the supply from the bench's instruments.

    The guard owns it: it closes the chain at the start of a run and opens it at the end, or when it trips.
    """

    coil: str = "estop"
    coils: dict[str, Annotated[int, Field(ge=0, le=63)]] = Field(
        default={}, description="coil -> channel of the card, where the wiring departs from the catalog"
    )
    boot_s: Seconds = Field(default=10.0, description="from the chain's closing until the instruments answer")


class SafetyPart(Strict):
    """Say once what protects the people at the bench: software does not. Required where a real instrument energises."""

    emergency_stop: bool = Field(
        default=False, description="a hardware emergency stop cuts the bench; it is there and tried"
    )
    rcd: str = Field(default="", description='type and residual current of the RCD, e.g. "type B 30 mA"')
    n_pe_bond: str = Field(default="", description='where N and PE are joined, e.g. "at the source"')
    estop: EstopPart | None = None


class BenchPart(Strict):
    """Put one of the chargers on the bench: between a source and loads (AC), or before a supply (DC).

    AC: `source`, `load` and `adapter`; with `phases = 3` either a load of three phases, or `load` at L1, `load_l2`
    and `load_l3`. DC: `supply` alone, which plays the vehicle's battery. An `analyzer` may stand on either.
    """

    charger: str
    phases: Literal[1, 3] = Field(default=1, description="of source and loads; as many as the charger's connection")
    phase_map: Annotated[
        list[GridPhase],
        Field(
            default=["a", "b", "c"],
            min_length=3,
            max_length=3,
            description="outputs of the source that lead to the charger's L1, L2, L3",
        ),
    ]
    source: SourcePart | None = None
    load: PowerPart | None = None
    load_l2: PowerPart | None = None
    load_l3: PowerPart | None = None
    adapter: AdapterPart | None = None
    supply: SupplyPart | None = None
    analyzer: InstrumentPart | None = None
    max_loop_gain: Annotated[float, Field(gt=0, lt=1)] = 0.5
    bench_period_s: Annotated[float, Field(ge=0.01, le=5)] = 0.1
    node_v: Annotated[float, Field(ge=0, le=300, description="V; what the source plays where no plant runs")] = 230.0

    @model_validator(mode="after")
    def either(self) -> "BenchPart":
        """Refuse a bench that is neither of the two kinds, or a mixture."""
        ac = [name for name in (*AC_BENCH, "adapter") if getattr(self, name) is not None]
        if self.supply is not None and ac:
            raise ValueError(f"supply beside {', '.join(ac)}: a DC bench has a supply, an AC bench source and load")
        missing = [name for name in ("source", "load", "adapter") if getattr(self, name) is None]
        if self.supply is None and missing:
            raise ValueError(
                f"{', '.join(missing)} missing: an AC bench needs source, load and adapter, a DC one supply"
            )
        return self

    def parts(self) -> dict[str, InstrumentPart]:
        """Return the instruments by key, in the order of BENCH_ROLES."""
        found = {key: getattr(self, key) for key in BENCH_ROLES}
        return {key: part for key, part in found.items() if part is not None}

    def devices(self) -> dict[str, InstrumentPart]:
        """Return the instruments that have a socket: all but what an operator does by hand."""
        by_hand = self.adapter is not None and self.adapter.by == "hand"
        return {key: part for key, part in self.parts().items() if not (by_hand and key == "adapter")}


class SubstationPart(OpcuaKeys, Twin):
    """Name the substation that measures transformer, feeder head and connections, and carries DSO orders.

    An emulated one makes its certificates, and ours for it, anew for each run.
    """

    plain: bool = Field(default=True, description="the twin lets unsecured readers in too, on this machine only")
    publish_period_s: Annotated[float, Field(ge=0.05, le=60)] = 0.2
    max_age_s: Seconds = 2.0
    hold_s: Seconds = 30.0
    heartbeat_timeout_s: Seconds = 60.0
    failsafe_w: Watts | None = None


class DroopPart(Strict):
    """Shape the voltage droop of the chargers: a curve by name, or [pu of 230 V, share of the ceiling] points.

    A preset fills in every key of the droop that the file does not give; `points` beside it are refused.
    """

    preset: Literal["eu_research", "as_nzs_4777_charging"] | None = None
    points: Annotated[
        list[Annotated[tuple[Pu, Share], Field(strict=False)]],
        Field(default=[], validate_default=False, min_length=2, max_length=8, description="rising volts"),
    ]
    fairness: Literal["local", "common", "equalised"] = Field(
        default="local", description="own volts; lowest volts of all; own volts, start shifted by the nominal drop"
    )
    equalise_a: Amps = Field(default=6.0, description="amps of every charger at which the nominal drop is taken")
    filter_s: Seconds = 10.0
    deadband_pu: Annotated[float, Field(ge=0, lt=0.1)] = 0.001
    hysteresis_pu: Annotated[float, Field(ge=0, lt=0.1)] = 0.02
    pause_pu: Annotated[float, Field(ge=0, lt=1.2)] = 0.0
    resume_pu: Annotated[float, Field(ge=0, lt=1.2)] = 0.0
    required_margin_db: float = 6.0

    @model_validator(mode="before")
    @classmethod
    def from_preset(cls, given: Any) -> Any:
        """Fill in what the named preset says; refuse a file that gives both a curve and a name, or neither."""
        if not isinstance(given, dict):
            return given
        if ("preset" in given) == ("points" in given):
            both = "both" if "preset" in given else "neither"
            raise ValueError(f'{both} of preset and points given: say either preset = "eu_research" or points')
        found = preset.CHARGING.get(given["preset"]) if isinstance(given.get("preset"), str) else None
        if found is None:
            return given
        filled = {
            "points": [list(point) for point in found.points],
            "filter_s": found.tau_s,
            "deadband_pu": found.deadband_pu,
            "hysteresis_pu": found.hysteresis_pu,
            "pause_pu": found.pause_pu,
            "resume_pu": found.resume_pu,
        }
        return filled | given


class LawPart(Strict):
    """Set the site-wide parameters of the law."""

    droop: DroopPart
    ramp_up_a_per_s: Annotated[float, Field(gt=0)] = 0.1
    random_delay_s: Seconds = 0.0
    rotation_s: Annotated[float, Field(gt=0)] = 900.0
    min_on_s: Seconds = 300.0
    min_off_s: Seconds = 300.0
    grace_s: Seconds = 210.0
    growth_a_per_s: Amps = 0.2
    design_a: Amps = Field(default=30.0, description="uncontrolled load per phase once a meter is lost, A")
    filter_s: Seconds = 2.0
    reserve_w: Watts = Field(default=0.0, description="frequency reserve (FCR) of every charger, to either side")
    reserve_base_a: Amps = Field(default=0.0, description="amps around which the reserve moves")
    brake_pu: Annotated[float, Field(ge=0, lt=1)] = 0.85
    brake_over: Annotated[float, Field(gt=1)] = 1.3
    brake_delay_s: Seconds = 5.0
    brake_release_s: Seconds = 60.0
    brake_lost_s: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="brake below a meter not believed for so long; default never"
    )


class VerdictPart(Strict):
    """Set the bounds that the run is judged by."""

    voltage_min_pu: Pu | None = Field(default=None, description="lowest volts at a charger's customer; left out: free")
    tolerance_a: Amps = 0.5
    tolerance_w: Watts = 500.0
    missed_max_share: Share = 0.02
    wake_p99_max_share: Annotated[float, Field(gt=0)] = 0.5


class Rig(Strict):
    """Hold a whole rig file."""

    rig: Head
    feeder: FeederPart
    scenario: ScenarioPart
    sessions: SessionsPart | None = None
    law: LawPart
    charger: Annotated[list[ChargerPart], Field(default=[], validate_default=True, min_length=1)]
    chargers: Annotated[list[ChargerRow], Field(default=[], description="rows of like chargers")]
    connection: Annotated[list[ConnectionPart], Field(default=[])]
    station: Annotated[list[StationPart], Field(default=[])]
    substation: SubstationPart
    meter: Annotated[list[MeterPart], Field(default=[])]
    opcua: OpcuaServerPart | None = None
    csms: CsmsPart = CsmsPart()
    bench: BenchPart | None = None
    safety: SafetyPart = SafetyPart()
    contract: list[ContractPart] = Field(default=[])
    calls: CallsPart | None = None
    orders: OrdersPart = OrdersPart()
    openadr: OpenAdrPort | None = None
    s2: S2Port | None = None
    guard: GuardPart | None = None
    envelope: EnvelopePart | None = None
    verdict: VerdictPart

    @model_validator(mode="after")
    def can_swap(self) -> "Rig":
        """Refuse swapped phases where there is one phase only."""
        single = {charger.name for charger in self.charger if charger.phases == 1}
        for k, event in enumerate(self.scenario.events):
            found = single.intersection(event.chargers) if event.kind == "swap_phases" else set()
            if found:
                raise ValueError(f"scenario.events[{k}]: swap_phases of {', '.join(sorted(found))}: has one phase only")
        return self
