"""Load the classes of charger behaviour: what is not in a register map, each with its source."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from profiles.errors import ProfileError

PATH = Path(__file__).parent / "chargers" / "evse_classes.toml"
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
NOT_OF_THE_PLANT = {"name", "title", "source", "verified"}


class EvseBehaviour(BaseModel):
    """Describe how a class of chargers behaves; seconds, None as the emulated charger has it.

    `wake_up_s`: a car that takes nothing for so long is woken by a toggle of the pilot; `switch_pause_s` and
    `switch_dwell_s`: between its phases; `overcurrent_s`: grace of a car over its pilot; `load_open_s`: until it opens
    under load; `ventilated`: it may charge a car that asks for ventilation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    title: str
    overcurrent_s: Annotated[float, Field(ge=6, allow_inf_nan=False)]
    switch_pause_s: Seconds
    switch_dwell_s: Seconds
    wake_up_s: Seconds | None = None
    contactor_close_s: Seconds | None = None
    load_open_s: Annotated[float, Field(ge=6, allow_inf_nan=False)] | None = None
    boot_s: Seconds | None = None
    ventilated: bool | None = None
    source: str
    verified: str

    def numbers(self) -> dict[str, Any]:
        """Return what the class says, by the names of the emulated charger."""
        return self.model_dump(exclude=NOT_OF_THE_PLANT, exclude_none=True)


def load_behaviours(path: Path = PATH) -> dict[str, EvseBehaviour]:
    """Return the classes by name; a ProfileError lists all that is wrong with the file."""
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ProfileError(f"{path.name}: {error}") from error
    found: dict[str, EvseBehaviour] = {}
    problems: list[str] = []
    for name, entry in raw.get("behaviour", {}).items():
        try:
            found[name] = EvseBehaviour.model_validate(raw.get("default", {}) | entry | {"name": name})
        except ValidationError as error:
            problems += [
                f"{path.name}:behaviour.{name}.{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}"
                for e in error.errors()
            ]
    if problems:
        raise ProfileError("\n".join(problems))
    return found
