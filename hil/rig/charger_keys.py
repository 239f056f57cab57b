"""Declare the keys of a device of a rig file, of a charger, and of a row of like chargers."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from hil.rig.key_types import Amps, Seconds, Strict
from hil.rig.tree_keys import Rotation
from profiles.evse import load_behaviours


class Twin(Strict):
    """Name a device and say whether it is emulated (`twin = true`) or where the real one is (`real = "address"`).

    That exactly one of both is said is checked with the references, beside everything else that is wrong.
    """

    name: Annotated[str, Field(min_length=1)]
    model: str
    port: Annotated[int, Field(ge=0, le=65535, description="TCP port of the twin; 0 a free one")] = 0
    twin: bool = False
    real: str | None = None


class ChargerKeys(Strict):
    """Say what holds for a charger wherever it stands: phases, limits, fail-safe, behaviour."""

    phases: Literal[1, 3] = Field(
        default=1, description="3: the connection has all phases, L1 on the one that the feeder's data gives it"
    )
    hard_max_a: Amps | None = None
    failsafe_a: Amps = 0.0
    failsafe_s: Seconds = 10.0
    weight: Annotated[float, Field(gt=0)] = 1.0
    priority: int = 0
    may_pause: bool = True
    switch_phases: bool = Field(
        default=False, description="with phases = 3: it can go to L1 alone and back, through a pause"
    )
    discharge_max_a: Amps = Field(
        default=0.0, description="A per phase that it lets a V2G car give back, virtual time only; 0 none"
    )
    behaviour: str = Field(default="plain", description="class of profiles/chargers/evse_classes.toml")
    restart_after_blackout: bool = Field(default=True, description="false: a session ends with the supply")
    restart_delay_s: Annotated[float, Field(ge=0, le=1800)] = Field(
        default=0.0, description="random delay up to this before it charges again after a black-out"
    )

    @field_validator("behaviour")
    @classmethod
    def known_behaviour(cls, name: str) -> str:
        """Refuse a class of behaviour that the data does not have."""
        if name not in (known := load_behaviours()):
            raise ValueError(f"unknown behaviour; known: {', '.join(sorted(known))}")
        return name

    @model_validator(mode="after")
    def can_switch(self) -> "ChargerKeys":
        """Refuse a switch of phases where there is one phase only."""
        if self.switch_phases and self.phases == 1:
            raise ValueError("switch_phases = true: allowed with phases = 3, this charger has 1")
        return self


class ChargerPart(Twin, ChargerKeys):
    """Place one charger: at which customer, of which model, with which car."""

    customer: Annotated[int, Field(ge=1, description="number of the customer on the feeder, from 1")]
    vehicle: str
    station: str = Field(default="", description="station that it is a socket of; empty: it stands by itself")
    phase_rotation: Rotation = Field(
        default="RST", description="phases of the connection, R its first, on the charger's L1, L2, L3 (as in OCPP)"
    )


class ChargerRow(ChargerKeys):
    """Place a row of like chargers (`[[chargers]]`): numbered names, customers and stations dealt out in turn.

    Each becomes a `[[charger]]` of its own; what stands here holds for all of them.
    """

    count: Annotated[int, Field(ge=1, le=10000)]
    name: Annotated[str, Field(pattern=r"^[^#]*#+[^#]*$", description="cp## is cp01, cp02, ...: each # a digit")]
    first: Annotated[int, Field(ge=0, description="number of the first one")] = 1
    model: str
    twin: Literal[True] = Field(description="a real charger has an address: write it as a [[charger]]")
    customers: str | Annotated[list[int], Field(min_length=1)] = Field(
        description='"1-4, 7" or [1, 2, 3, 4, 7]: as many chargers in sequence at each'
    )
    stations: Annotated[str, Field(pattern=r"^[^#]*#+[^#]*$")] | None = Field(
        default=None, description="names of stations, numbered like name; left out: no stations"
    )
    sockets: Annotated[int, Field(ge=1, description="chargers in each station")] = 2
    station_limit_a: Amps | None = Field(default=None, description="A per phase of each of these stations")
    vehicle: str | None = None
    vehicles: Annotated[list[str], Field(min_length=1, description="in turn, instead of vehicle")] | None = None
    phase_rotations: list[Rotation] = Field(default=["RST"], min_length=1, description="in turn")

    @model_validator(mode="after")
    def dealt(self) -> "ChargerRow":
        """Refuse a row whose chargers have no car, or two answers."""
        if (self.vehicle is None) == (self.vehicles is None):
            raise ValueError("either vehicle, one for all, or vehicles, in turn, is needed")
        if self.stations is None and (self.station_limit_a is not None or "sockets" in self.model_fields_set):
            raise ValueError("sockets and station_limit_a belong to stations, which is not given")
        return self
