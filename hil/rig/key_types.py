"""Declare the types that the keys of a rig or site file are made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Amps = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Watts = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Pu = Annotated[float, Field(gt=0.5, lt=1.5)]
Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """Refuse unknown keys, numbers in quotes and non-finite values: a typing error must stop the run."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
