"""Declare the site file: what stands in the field. One TOML with chargers, capacity tree, meters, contracts and law.

It shares law and contracts with the rig file, and has no feeder, no cars and no scenario: those are the world's.
"""

from typing import Annotated

from pydantic import ConfigDict, Field

from controller.runtime.opcua_keys import OpcuaKeys
from controller.runtime.site import CsmsPort, OpenAdrPort, S2Port
from hil.rig.contracts import ContractPart
from hil.rig.key_types import Amps, Seconds, Strict, Watts
from hil.rig.meter_keys import SiteMeter
from hil.rig.opcua_part import OpcuaServerPart
from hil.rig.orders_part import SiteOrders
from hil.rig.schema import GridPhase, LawPart

Name = Annotated[str, Field(min_length=1, max_length=48)]


class SiteHead(Strict):
    """Name the site and its clocks."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", description="names the run folder too")]
    title: str = ""
    seed: Annotated[int, Field(ge=0, description="of the random delays and the rotation")] = 1
    timezone: str = "Europe/Amsterdam"
    scan_period_s: Annotated[float, Field(ge=0.001, le=60)] = 0.1


class SiteNode(Strict):
    """Declare a node of the capacity tree; a parent stands before its children."""

    name: Name
    parent: str | None = Field(default=None, description="name of the node above; left out: the root")
    limit_a: Amps = Field(description="A per phase: fuse, cable or transformer")
    limit_w: Watts | None = Field(default=None, description="W over all phases; left out: the amps alone limit")
    unbalance_a: Amps | None = Field(default=None, description="A by which two phases may differ")
    design_a: Amps | None = Field(default=None, description="uncontrolled load without a meter; default law.design_a")
    meter: Annotated[str, Field(pattern=r"^[a-z_]+(\[\d+\])?$")] | None = Field(
        default=None, description="measuring point of the substation: group, or group[index], e.g. poc[3]"
    )


class SiteCharger(Strict):
    """Say how a charger is reached and where it is connected."""

    name: Name
    model: str
    address: str = Field(
        description="modbus+tcp://host:port; devices behind one gateway or station share it. ws or wss://host:port/identity"
        " of an OCPP point: the URL that it dials"
    )
    unit: int | None = Field(default=None, description="unit id set on the device; default the model's")
    connector: int = Field(default=1, description="of a station with several, from 1")
    node: str
    phase_map: Annotated[
        list[GridPhase], Field(min_length=1, max_length=3, description="grid phases of the terminals L1, L2, L3")
    ]
    hard_max_a: Amps | None = Field(default=None, description="cable or fuse; default the model's largest")
    floor_a: Amps | None = Field(default=None, description="least amps its cars charge at; default the model's least")
    failsafe_a: Amps = Field(description="what the charger falls to without us, by itself")
    failsafe_s: Seconds = Field(description="after how long")
    obey_s: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="measured by `voltbench commission`; default the model's"
    )
    nominal_drop_pu: Annotated[float, Field(ge=0, le=0.1)] | None = Field(
        default=None, description="fall of its volts with law.droop.equalise_a drawn by all; for fairness equalised"
    )
    voltage_v_per_a: Annotated[float, Field(ge=0, le=10)] | None = Field(
        default=None, description="fall of its volts per A of its own, measured by `voltbench commission`"
    )
    weight: Annotated[float, Field(gt=0)] = 1.0
    priority: int = 0
    may_pause: bool = True
    switch_phases: bool = Field(
        default=False, description="the law may have it charge on one phase, and on all again, where its model can"
    )


class SiteSubstation(OpcuaKeys):
    """Say how the substation is reached that measures the nodes and carries DSO orders."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    name: Name
    model: str
    address: str = Field(description="opc.tcp://host:port")
    max_age_s: Seconds = 2.0
    hold_s: Seconds = 30.0
    heartbeat_timeout_s: Seconds = 60.0
    failsafe_w: Watts | None = Field(default=None, description="W at the roots' children while the DSO is silent")


class SiteFile(Strict):
    """Hold a whole site file."""

    site: SiteHead
    law: LawPart
    node: Annotated[list[SiteNode], Field(min_length=1)]
    charger: Annotated[list[SiteCharger], Field(min_length=1)]
    substation: SiteSubstation | None = None
    meter: Annotated[list[SiteMeter], Field(default=[])]
    csms: CsmsPort = CsmsPort()
    opcua: OpcuaServerPart | None = None
    contract: list[ContractPart] = Field(default=[])
    orders: SiteOrders = SiteOrders()
    openadr: OpenAdrPort | None = None
    s2: S2Port | None = None
