"""Describe a site to the running processes: names, addresses, clock and folders. One JSON file, read by all.

The plan (limits, curves, contracts) is not in here: it is the PLAN image beside it, `plan.bin`, so that ledger and
replay see exactly the bytes that the law saw.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from controller.law import image
from controller.runtime.handed_keys import HandedPort
from controller.runtime.journal import NAME as JOURNAL
from controller.runtime.opcua_keys import OpcuaKeys, OpcuaServerPort

HAND = "hand"  # address of what an operator does


class Strict(BaseModel):
    """Refuse unknown keys: a typing error must not switch a protection off."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class ChargerPort(Strict):
    """Say how one charger is reached and which fail-safe it is programmed with."""

    name: str
    model: str = Field(description="catalog name, e.g. keba-p30")
    address: str = Field(description="modbus+tcp://host:port, or the URL that an OCPP point dials: ws://host:port/id")
    unit: int | None = Field(default=None, description="Modbus unit id set on the device; None the model's")
    connector: int = Field(default=1, description="of a Modbus station with several, from 1")
    failsafe_a: float = Field(description="A; applied by the charger itself when it hears nothing")
    failsafe_s: float = Field(description="s; 0 where the model's own cannot be programmed")
    phases: int = Field(default=3, description="of its connection, 1 or 3: watts are shared over them")


class CsmsPort(Strict):
    """Say where the server of OCPP charge points listens and whom it lets in."""

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535, description="TCP; 0 a free one, for emulated points only")
    security: int = Field(default=0, ge=0, le=2, description="OCPP security profile; 3 (client certificate) missing")
    passwords: str = Field(default="", description="file of `identity:scrypt$salt$hash` lines, mode 0600")
    certificate: str = Field(default="", description="PEM file of the server's certificate; profile 2")
    key: str = Field(default="", description="PEM file of its key; profile 2")


class SubstationPort(OpcuaKeys):
    """Say how the substation is reached and which measuring point is which node of the plan."""

    name: str
    model: str
    address: str = Field(description="opc.tcp://host:port")
    points: dict[str, list[int]] = Field(
        description="measuring group (transformer, head, poc) -> node indices, in the order of the group's arrays"
    )


class MeterPort(Strict):
    """Say how a meter at a node is reached, and whether the law reads it or it is a witness only."""

    name: str
    model: str
    address: str = Field(description="modbus+tcp://host:port")
    unit: int | None = Field(default=None, description="Modbus unit id set on the device; None the model's")
    node: int = Field(ge=0, description="index of the node of the plan")
    phase_map: tuple[int, int, int] = Field(default=(0, 1, 2), description="grid phase at the meter's L1, L2, L3")
    ct_sign: int = Field(default=1, description="-1 where the current transformers are turned round")
    use: Literal["law", "evidence"] = "law"
    read_s: float = Field(default=0.5, gt=0, description="from one set of values to the next")
    frozen_s: float = Field(default=float("inf"), gt=0, description="unchanged values for so long are uncertain")


class InstrumentPort(Strict):
    """Say how one instrument is reached and which hard limits hold for it."""

    name: str
    model: str
    role: str = Field(description="ac_source, ac_load, bidirectional_supply, analyzer or ev_adapter")
    address: str = Field(description="a VISA resource; modbus+tcp://host:port or `hand` for an ev_adapter")
    hard_max_v: float = float("nan")
    hard_max_a: float = float("nan")
    hard_sink_a: float = Field(default=float("nan"), description="A that a bidirectional supply may take in")
    slew_v_per_s: float = float("inf")
    frequency_hz: float | None = Field(default=None, description="of a source; none: what its record sets up")
    angles_deg: tuple[float, float] | None = Field(default=None, description="of b and c behind a; none: 120 and 240")
    cable_a: float | None = Field(default=None, description="cable whose proximity resistor an ev_adapter shows")
    places: dict[str, int] = Field(default={}, description="coil -> channel of an ev_adapter made of relays")
    answer_s: float = Field(default=45.0, description="longest wait for an operator")
    valid_s: float = Field(default=60.0, description="how long a duty cycle that was typed is believed")


class BatteryPort(Strict):
    """Describe the vehicle battery that a supply plays: the numbers of `played_battery.BatterySpec`."""

    name: str
    capacity_ah: float
    soc: tuple[float, ...]
    ocv_v: tuple[float, ...]
    resistance_ohm: float
    max_v: float
    max_a: float
    power_soc: tuple[float, ...]
    power_w: tuple[float, ...]
    tail_a: float


class EstopPort(Strict):
    """Say where the relay is that takes the supply from the bench's instruments; the guard owns it."""

    name: str
    model: str
    address: str = Field(description="modbus+tcp://host:port")
    coil: str = Field(description="energised it closes the chain, released it opens it")
    places: dict[str, int] = Field(default={}, description="coil -> channel, where the wiring departs from the record")
    boot_s: float = Field(default=10.0, description="from the chain's closing until the instruments answer, s")


class BenchPort(Strict):
    """Name the charger that stands on the bench and the instruments around it: source, load and adapter, or supply."""

    charger: int = Field(description="index of the device under test among the chargers")
    source: InstrumentPort | None = None
    load: InstrumentPort | None = Field(default=None, description="of L1, or of all phases")
    load_l2: InstrumentPort | None = None
    load_l3: InstrumentPort | None = None
    adapter: InstrumentPort | None = None
    supply: InstrumentPort | None = None
    analyzer: InstrumentPort | None = None
    estop: EstopPort | None = None
    battery: BatteryPort | None = Field(default=None, description="what the supply plays")
    phases: int = 1
    phase_map: tuple[int, int, int] = Field(default=(0, 1, 2), description="source output of L1, L2, L3")
    car_phases: int = 1
    period_s: float = 0.1
    car_max_a: float = Field(description="A; what the played car takes at most")

    def energising(self) -> list[InstrumentPort]:
        """Return what can energise the bench or sink from it, in the order of a fault stop: sources first."""
        ports = (self.source, self.supply, self.load, self.load_l2, self.load_l3)
        return [port for port in ports if port is not None]

    def instruments(self) -> list[InstrumentPort]:
        """Return every instrument."""
        return self.energising() + [port for port in (self.adapter, self.analyzer) if port is not None]


class OpenAdrPort(Strict):
    """Say which OpenADR 3 server gives limits for which node, and what is subscribed where it gives none."""

    url: str = Field(description="https://host/path of the server (VTN); plain http for this machine only")
    node: str = Field(description="node that its limits bind")
    program: str = Field(default="", description="take events of this program only, and of those of contracts")
    contracts: dict[str, str] = Field(
        default={}, description="program -> contract: its events are calls on that, not limits of the node"
    )
    client_id: str = ""
    secret_file: str = Field(default="", description="file of the client's secret, mode 0600")
    import_w: float = Field(default=float("inf"), ge=0, description="subscribed import where the server says none")
    export_w: float = Field(default=float("inf"), ge=0, description="subscribed export where the server says none")
    poll_s: float = Field(default=30.0, ge=0.2, description="between two questions to the server")


class S2Port(Strict):
    """Say which S2 energy manager we are a resource of, for which node, and how far its envelopes may go."""

    url: str = Field(description="wss://host/path of the energy manager (CEM); plain ws for this machine only")
    node: str = Field(description="node that its envelopes bind")
    resource_id: str = Field(
        pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", description="UUID of the connection, for ever"
    )
    import_w: float = Field(gt=0, description="the most that an envelope may allow to consume, W")
    export_w: float = Field(default=0.0, ge=0, description="the most that it may allow to produce, W from 0")
    contract: str = Field(default="", description="envelopes in its direction are calls on it, not limits of the node")
    measure_s: float = Field(default=5.0, ge=0.2, description="between two reports of the measured power")


class ContractPort(Strict):
    """Name a contract that calls bind: what it says, the chargers and nodes it binds, and its windows of the plan."""

    contract: dict[str, Any] = Field(description="the contract file's content, as JSON has it")
    chargers: tuple[int, ...] = ()
    nodes: tuple[int, ...] = Field(default=(), description="where its limit is measured, where that is a node")
    rows: tuple[int, ...] = Field(default=(), description="of the plan's windows")
    lead_s: float = Field(default=0.0, ge=0, description="a call is issued early by this time")


class Site(Strict):
    """Hold everything that a process of the run needs to know at its start."""

    name: str
    stage: str = Field(description="bench or field")
    period_s: float
    utc_minus_mono_ns: int = Field(description="UTC of the scenario minus the monotonic clock, ns")
    utc_offset_s: float = Field(description="local time minus UTC at the site at the start, s")
    timezone: str = Field(default="", description="IANA zone that says when it changes; empty: it does not")
    store_dir: str = Field(description="folder of the shared images, on a tmpfs where there is one")
    run_dir: str
    seed: int
    dims: tuple[int, int, int, int] = Field(description="n chargers, m nodes, w windows, k curve points")
    charger_names: list[str]
    node_names: list[str]
    chargers: list[ChargerPort]
    csms: CsmsPort = CsmsPort()
    substation: SubstationPort | None = None
    meters: list[MeterPort] = []
    opcua: OpcuaServerPort | None = Field(default=None, description="what is served to a control room")
    bench: BenchPort | None = None
    openadr: OpenAdrPort | None = None
    s2: S2Port | None = None
    handed: HandedPort | None = Field(default=None, description="what hands limits in beside the order book")
    journal_dir: str = Field(default="", description="where orders and deeds are kept; empty: the run folder")
    order_sources: dict[str, str] = Field(
        default={}, description="who may send orders -> its key file, or empty; none: anybody with access to the files"
    )
    contracts: list[ContractPort] = Field(default=[], description="those that calls bind")
    shadow: bool = Field(default=False, description="decide and read only: no port writes to any device")

    def image_dims(self) -> image.Dims:
        """Return the sizes of the process images."""
        return image.Dims(*self.dims)

    def store(self, name: str) -> Path:
        """Return the path of a shared image, e.g. ``input.img``."""
        return Path(self.store_dir) / name

    def socket(self, name: str) -> Path:
        """Return the path of a local socket: a plain name lies in the run folder."""
        return Path(self.run_dir) / name

    def journal(self) -> Path:
        """Return the path of the journal."""
        return Path(self.journal_dir or self.run_dir) / JOURNAL

    def load_plan(self) -> np.ndarray:
        """Return the bytes of the PLAN image (uint8), which nobody can write: the law reads such a plan faster."""
        plan = np.fromfile(self.store("plan.bin"), dtype=np.uint8)
        plan.flags.writeable = False
        return plan


def read_site(path: Path) -> Site:
    """Read `site.json`; pydantic's ValidationError lists everything that is wrong with it."""
    return Site.model_validate_json(path.read_text())
