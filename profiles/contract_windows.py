"""Declare the contracts that are kept by the clock alone: profiles, time blocks, fixed limitation, fixed steering."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from profiles.contract_common import ClockLimit, ContractBase, Span, Window


class Windowed(ContractBase):
    """Declare a contract of windows; where several are open, the lowest holds."""

    window: Annotated[list[Window], Field(min_length=1)]

    @model_validator(mode="after")
    def in_its_quantity(self) -> "Windowed":
        """Refuse a window whose limit is in another unit than the contract's."""
        for k, window in enumerate(self.window):
            if window.value(self.limit.quantity) is None:
                unit = self.limit.quantity.lower()
                raise ValueError(f'window[{k}]: limit.quantity is "{self.limit.quantity}", so give limit_{unit}')
        return self

    @property
    def windows(self) -> tuple[ClockLimit, ...]:
        """Return its limits by the clock."""
        found = []
        for window in self.window:
            value = window.value(self.limit.quantity)
            amps, watts = (value, None) if self.limit.quantity == "A" else (None, value)
            found.append(
                ClockLimit(
                    window.from_s,
                    window.to_s,
                    math.inf if amps is None else amps,
                    math.inf if watts is None else watts,
                    window.day_bits,
                    window,
                )
            )
        return tuple(found)


class StaticProfile(Windowed):
    """A capacity profile over the day, the same every day or by season (FlexPower).

    `other_socket` says what a limit at a station of several sockets means: "rotate" the sum of all keeps it and cars
    that do not fit take turns, "each" every socket may draw it by itself.
    """

    kind: Literal["static_profile"]
    other_socket: Literal["rotate", "each"] = "rotate"

    @model_validator(mode="after")
    def at_a_station(self) -> "StaticProfile":
        """Refuse a word about the other socket where the limit is not a station's."""
        if self.other_socket == "each" and self.limit.point != "station":
            raise ValueError(f'other_socket = "each" with limit.point = "{self.limit.point}": only at a station')
        return self


class LimitationFixed(Windowed):
    """Limitation of capacity at fixed times (capaciteitsbeperkingscontract, CBC-T)."""

    kind: Literal["limitation_fixed"]


class TimeBlock(Windowed):
    """Time-block transport right (TBTR): capacity in agreed blocks, `outside_w` (firm, mostly 0) at all other times.

    Each `[[window]]` is a block with the capacity in it; a time in several blocks has the highest of them.
    """

    kind: Literal["time_block"]
    outside_a: Annotated[float, Field(ge=0)] | None = None
    outside_w: Annotated[float, Field(ge=0)] | None = None
    outside_va: Annotated[float, Field(ge=0)] | None = None

    @property
    def windows(self) -> tuple[ClockLimit, ...]:
        """Return none: its windows give capacity, they do not limit it."""
        return ()

    @property
    def outside(self) -> float:
        """Return the limit outside the blocks, in the unit of the quantity."""
        return {"A": self.outside_a, "W": self.outside_w, "VA": self.outside_va}[self.limit.quantity] or 0.0

    @model_validator(mode="after")
    def outside_in_its_quantity(self) -> "TimeBlock":
        """Refuse a limit outside the blocks in another unit, or none."""
        given = {"A": self.outside_a, "W": self.outside_w, "VA": self.outside_va}
        if [unit for unit, value in given.items() if value is not None] != [self.limit.quantity]:
            raise ValueError(f"give outside_{self.limit.quantity.lower()} alone: what holds outside the blocks")
        return self


class SteeringSpan(Span):
    """Declare one window with the set-point asked for, W over all chargers of the point, + from the grid."""

    setpoint_w: Annotated[float, Field(allow_inf_nan=False)]


class SteeringFixed(ContractBase):
    """Steering at fixed times (capaciteitssturing, CSC-T): a set-point up as well as down."""

    kind: Literal["steering_fixed"]
    window: Annotated[list[SteeringSpan], Field(min_length=1)]


Kinds = StaticProfile | LimitationFixed | TimeBlock | SteeringFixed
