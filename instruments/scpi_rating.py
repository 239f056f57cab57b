"""Describe what an instrument can do and up to where: capabilities, ratings, and the variants of a family."""

import re
from typing import Literal

from pydantic import Field, model_validator

from instruments.scpi_dialect import Block

Limit = Literal["max_v", "max_a", "max_va", "min_v", "sink_max_a", "sink_max_va"]


class Can(Block):
    """Say what a role of the family is able to do; what is not said, it cannot."""

    phases: list[Literal[1, 3]] = Field(default=[], description="AC only: numbers of phases that it can be set to")
    angle: bool = Field(default=False, description="the angles between the phases can be set")
    frequency_hz: tuple[float, float] | None = Field(default=None, description="lowest and highest; none: not settable")
    sinks: bool = Field(default=False, description="takes power in at its terminals")
    regenerates: bool = Field(default=False, description="feeds what it takes in back to the mains")
    slew: bool = Field(default=False, description="has a slew rate of its own, quantity volt_slew or amp_slew")
    waveforms: list[str] = Field(default=["sine"], description="AC only")
    channels: int = Field(default=1, ge=1)
    measures: list[str] = Field(default=[], description="volt, amp, power, apparent, reactive, frequency, ...")


class Rating(Block):
    """Give the largest volts, amps and volt-amperes (watts for DC) of the device, in V, A and VA.

    `by_mode` overrides single values in a mode, `ask` has queries that let the device itself say the value.
    """

    max_v: float = Field(gt=0)
    max_a: float = Field(gt=0, description="per output, in its first mode")
    max_va: float = Field(gt=0)
    min_v: float = 0.0
    sink_max_a: float = Field(default=0.0, ge=0, description="magnitude")
    sink_max_va: float = Field(default=0.0, ge=0, description="magnitude")
    by_mode: dict[str, dict[Limit, float]] = Field(default={}, description="by mode, e.g. three")
    ask: dict[Limit, str] = Field(default={}, description="query of the device's own value, in V, A, VA")

    def of(self, mode: str) -> "Rating":
        """Return the ratings in a mode."""
        change = self.by_mode.get(mode, {})
        return self.model_copy(update={str(name): value for name, value in change.items()})


class Variant(Block):
    """Describe one device model of a family where it differs: what it answers, its ratings and its ranges."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", description="rig files write it behind the family: a/b")
    pattern: str = Field(description="regular expression that its whole *IDN? answer must match")
    sample: str
    rating: dict[str, dict[Limit, float]] = Field(default={}, description="by role")
    ranges: dict[str, dict[Literal["min", "max", "default", "step"], float]] = Field(
        default={}, description="by quantity, in the instrument's unit"
    )

    @model_validator(mode="after")
    def _sample_fits(self) -> "Variant":
        if not re.fullmatch(self.pattern, self.sample):
            raise ValueError(f"sample {self.sample!r} does not match pattern {self.pattern!r}")
        return self
