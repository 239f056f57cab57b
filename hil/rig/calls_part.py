"""Declare `[calls]` of a rig file: the DSO that is played where a rig's first contract is called on for days."""

from typing import Annotated

from pydantic import Field, model_validator

from hil.rig.key_types import Strict, Watts

Hour = Annotated[int, Field(ge=0, le=23)]


class CallsPart(Strict):
    """Say what the DSO calls: on every weekday, between two local hours, announced at an hour of the day before."""

    limit_w: Watts
    from_h: Hour = 16
    to_h: Annotated[int, Field(ge=1, le=23)] = 21
    told_h: Hour = 8
    late_every: Annotated[int, Field(ge=0, description="every so many calls come an hour late; 0 none")] = 0

    @model_validator(mode="after")
    def in_order(self) -> "CallsPart":
        """Refuse a call that ends before it begins."""
        if self.to_h <= self.from_h:
            raise ValueError(f"to_h = {self.to_h}: allowed is an hour after from_h, {self.from_h}")
        return self
