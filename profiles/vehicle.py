"""Load the classes of electric cars: phases, amps, battery, floors and reaction, each with its source."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from profiles.errors import ProfileError

PATH = Path(__file__).parent / "vehicles" / "ev_classes.toml"
ROUND_TRIP = 0.9  # of a V2G car from plug to plug, at best [R?]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class DcBattery(BaseModel):
    """Describe the battery of a car as a DC charger meets it.

    `soc` and `ocv_v` are points of the open-circuit volts, `power_soc` and `power_w` of the largest watts taken, both
    over the state of charge from 0 to 1; `tail_a` is the demand under which the car is full.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    capacity_ah: Positive
    soc: list[Share]
    ocv_v: list[Positive]
    resistance_ohm: Positive
    max_v: Positive
    max_a: Positive
    power_soc: list[Share]
    power_w: list[Positive]
    tail_a: Positive
    source: str
    verified: str


class Vehicle(BaseModel):
    """Describe a class of cars.

    `max_a` holds per phase with all `phases` in use, `max_1p_a` on one phase alone (default the same); the floors are
    the smallest current at which the car charges on one or three phases; from `taper_soc` on it takes less and less.
    `dead_time_s` and the slopes say how it follows the control pilot: `below_a` under it, in steps of `step_a`, its
    first rise within `start_ramp_s`. After a pause of `sleep_after_s` it sleeps, until a new plug-in or, where it
    `wakes`, the charger's toggle. `cable_ohm` codes what its cable carries (1500, 680, 220, 100: 13, 20, 32, 63 A).
    `dc` is its battery, where a DC charger may
    charge it. A car that gives power back (V2G) has `discharge_max_a` over 0, A per phase from 0, and stops at
    `soc_floor`; the efficiencies are plug to battery and battery to plug.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    title: str
    phases: Literal[1, 2, 3]
    max_a: Positive
    max_1p_a: Positive | None = None
    battery_wh: Positive
    floor_1p_a: Positive
    floor_3p_a: Positive
    taper_soc: Annotated[float, Field(gt=0, le=1)]
    dead_time_s: Annotated[float, Field(ge=0, le=5)]
    fall_a_per_s: Positive
    rise_a_per_s: Positive
    below_a: Annotated[float, Field(ge=0, le=3)] = 0.0
    step_a: Annotated[float, Field(ge=0, le=3)] = 0.0
    start_ramp_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    sleep_after_s: Positive | None = None
    wakes: bool = False
    cable_ohm: Literal[1500, 680, 220, 100] = 100
    discharge_max_a: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    discharge_min_a: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    soc_floor: Share = 0.3
    efficiency: Annotated[float, Field(gt=0, le=1)] = 0.9
    discharge_efficiency: Annotated[float, Field(gt=0, le=1)] = 0.9
    reaction_source: str
    source: str
    verified: str
    dc: DcBattery | None = None

    @model_validator(mode="after")
    def discharges(self) -> "Vehicle":
        """Refuse a car that gives back what no car does."""
        if self.discharge_min_a > self.discharge_max_a:
            raise ValueError(f"discharge_min_a {self.discharge_min_a:g} A: allowed up to discharge_max_a")
        if self.discharge_max_a > 0.0 and self.efficiency * self.discharge_efficiency > ROUND_TRIP + 1e-9:
            trip = self.efficiency * self.discharge_efficiency
            raise ValueError(f"efficiency x discharge_efficiency {trip:.3g}: allowed up to {ROUND_TRIP:g} for V2G")
        return self

    def ceiling_a(self, phases: int) -> float:
        """Return the largest current per phase on so many phases, A."""
        return self.max_1p_a if phases == 1 and self.max_1p_a is not None else self.max_a


def load_vehicles(path: Path = PATH) -> dict[str, Vehicle]:
    """Return the classes by name; a ProfileError lists all that is wrong with the file."""
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ProfileError(f"{path.name}: {error}") from error
    found: dict[str, Vehicle] = {}
    problems: list[str] = []
    for name, entry in raw.get("vehicle", {}).items():
        try:
            found[name] = Vehicle.model_validate(raw.get("default", {}) | entry | {"name": name})
        except ValidationError as error:
            problems += [
                f"{path.name}:vehicle.{name}.{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}"
                for e in error.errors()
            ]
    if problems:
        raise ProfileError("\n".join(problems))
    return found
