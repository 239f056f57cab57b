"""Load the effects of the emulated charger and car, each with its source, and write them as the tables of a page.

`python -m profiles.effects` prints the section that docs/emulation.md carries.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from profiles.errors import ProfileError

PATH = Path(__file__).parent / "chargers" / "effects.toml"
TITLES = {
    "evse": ("## EVSE", "What the emulated charger does, whatever its protocol."),
    "ev": ("## EV", "What the emulated car does; its class says with which numbers (`profiles/vehicles`)."),
    "fault": (
        "## Faults",
        "What an event of a scenario can let happen to chargers: `kind`, `chargers`, `at_s`, `for_s`; `meter_error`\n"
        'with `meter = "offset"`, `"scale"`, `"nan"` or `"stuck"`, and `value`.',
    ),
}
Text = Annotated[str, Field(min_length=3, pattern=r"^[^|\n]*$")]


class Effect(BaseModel):
    """Describe one effect: of what, what it does, where that comes from, and the fields or faults that it covers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    of: Literal["evse", "ev", "fault"]
    keys: Annotated[list[str], Field(min_length=1)]
    effect: Text
    source: Literal["standard", "manual", "driver", "measurement", "assumption"] = Field(alias="from")
    says: Text


def load_effects(path: Path = PATH) -> list[Effect]:
    """Return the effects in their order; a ProfileError lists all that is wrong with the file."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return TypeAdapter(list[Effect]).validate_python(raw.get("effect", []))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ProfileError(f"{path.name}: {error}") from error
    except ValidationError as error:
        told = [f"{path.name}:effect[{'].'.join(map(str, e['loc'][:2]))}: {e['msg']}" for e in error.errors()]
        raise ProfileError("\n".join(told)) from error


def sections(effects: list[Effect]) -> str:
    """Return the page's sections, a table each."""
    parts = []
    for of, (title, text) in TITLES.items():
        rows = [f"| {effect.effect} | {effect.source} | {effect.says} |" for effect in effects if effect.of == of]
        parts.append("\n".join([title, "", text, "", "| effect | from | what it says |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(sections(load_effects()), end="")
