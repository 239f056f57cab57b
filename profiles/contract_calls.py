"""Declare the contracts that are called on: fully variable, time-duration, limitation and steering on call."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from profiles.contract_common import Allowance, ContractBase, Notice, Span, Value


class Called(ContractBase):
    """Declare a contract whose limit somebody calls.

    `capacity_w` holds while there is no call, `floor_w` is the lowest that a call may go down to; a lower one is
    obeyed at the floor and flagged. `moment` bounds when calls may hold; left out: at all times.
    """

    capacity_w: Annotated[float, Field(ge=0)]
    floor_w: Value = 0.0
    notice: Notice = Notice()
    allowance: Allowance = Allowance()
    moment: list[Span] = Field(default=[])

    @model_validator(mode="after")
    def in_watts(self) -> "Called":
        """Refuse a contract on call in amps: calls are in watts."""
        if self.limit.quantity == "A":
            raise ValueError('limit.quantity = "A": calls are in watts, so "W" or "VA"')
        if self.limit.direction == "export" and self.capacity_w == math.inf:
            raise ValueError('capacity_w = inf with limit.direction = "export": give what the connection may export')
        if self.floor_w > self.capacity_w:
            raise ValueError(f"floor_w = {self.floor_w:g}: allowed up to capacity_w, {self.capacity_w:g}")
        return self


class FullyVariable(Called):
    """Fully variable transport right (non-firm): orders give the capacity of a period, `capacity_w` without one.

    An order may give more than `capacity_w`, up to `max_w`.
    """

    kind: Literal["fully_variable"]
    max_w: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def most_over_default(self) -> "FullyVariable":
        """Refuse a highest capacity under the one without an order."""
        if self.max_w < self.capacity_w:
            raise ValueError(f"max_w = {self.max_w:g}: allowed from capacity_w, {self.capacity_w:g}, up")
        return self


class TimeDuration(Called):
    """Time-duration transport right (TDTR): `capacity_w` for most hours of the year, less on a call of the day before.

    Source of the defaults: at least 85 % of the hours, restriction announced before 08:30 of the day before
    [V: gopacs.eu/products/tdtr].
    """

    kind: Literal["time_duration"]


class LimitationCall(Called):
    """Limitation of capacity on call (capaciteitsbeperkingscontract, CBC-A)."""

    kind: Literal["limitation_call"]


class SteeringCall(ContractBase):
    """Steering on call (capaciteitssturing, CSC-A): a set-point between `least_w` and `most_w`, + from the grid."""

    kind: Literal["steering_call"]
    least_w: Annotated[float, Field(allow_inf_nan=False)]
    most_w: Annotated[float, Field(allow_inf_nan=False)]
    notice: Notice = Notice()
    allowance: Allowance = Allowance()
    moment: list[Span] = Field(default=[])

    @model_validator(mode="after")
    def in_order(self) -> "SteeringCall":
        """Refuse a range without numbers."""
        if self.least_w > self.most_w:
            raise ValueError(f"least_w = {self.least_w:g}: allowed up to most_w, {self.most_w:g}")
        return self


Kinds = FullyVariable | TimeDuration | LimitationCall | SteeringCall
