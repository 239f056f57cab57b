"""Describe a SunSpec device as data: the models that it must show, those that it may, and how it is asked.

What the models hold is not repeated here: `sunspec_points` has it, by the specification's own definitions.
"""

from pydantic import Field, model_validator

from instruments.modbus_catalog import Block, Seconds
from instruments.sunspec_points import MODELS


class SunSpecModel(Block):
    """Name one model of the chain and what it is for."""

    number: int
    title: str = Field(min_length=1)


class SunSpecPart(Block):
    """Describe a SunSpec device as its client sees it."""

    unit_id: int = Field(default=1, ge=0, le=255)
    timeout_s: Seconds = Field(default=1.0, description="longest wait for an answer")
    one_of: list[int] = Field(default=[], description="of these one must be there")
    all_of: list[int] = Field(default=[], description="these must be there")
    models: list[SunSpecModel] = Field(min_length=1)

    @model_validator(mode="after")
    def _known(self) -> "SunSpecPart":
        numbers = [model.number for model in self.models]
        if unknown := sorted({*numbers, *self.one_of, *self.all_of} - set(MODELS)):
            raise ValueError(f"models {unknown}: have no definition here; known: {', '.join(map(str, MODELS))}")
        if unlisted := sorted({*self.one_of, *self.all_of} - set(numbers)):
            raise ValueError(f"models {unlisted}: needed, and not in the list of models")
        return self
