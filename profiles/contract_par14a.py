"""Declare section 14a EnWG: controllable devices behind a connection that the DSO may dim to a guaranteed floor."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from profiles.contract_common import Allowance, ContractBase, Strict, Value


class Device(Strict):
    """Declare a controllable device: charge points, storage, heat pumps or cooling, with its power from the grid."""

    kind: Literal["charge_point", "storage", "heat_pump", "cooling"]
    power_w: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Par14a(ContractBase):
    """Section 14a EnWG (BK6-22-300): while dimmed, the devices together draw no more than their floor.

    The limit is on what the devices draw from the grid, not on the household. `devices` are those behind the
    connection that are not charge points of the rig or site; the chargers that the contract names count by themselves.
    `floor_w` replaces the figure of the rule where the contract grants more. `mode = "direct"` dims each device to its
    own floor, "ems" their sum to the floor with simultaneity factors.
    """

    kind: Literal["p14a"]
    mode: Literal["ems", "direct"] = "ems"
    device: list[Device] = Field(default=[])
    floor_w: Value | None = None
    dimmed: bool = Field(default=False, description="dimmed throughout: a preventive window is a [[window]] elsewhere")
    allowance: Allowance = Allowance()

    @model_validator(mode="after")
    def at_its_devices(self) -> "Par14a":
        """Refuse a limit that is not in watts, or measured with the household."""
        if self.limit.quantity != "W" or self.limit.direction != "import":
            raise ValueError('limit: section 14a is in "W" and of import')
        if self.limit.point == "connection":
            raise ValueError('limit.point = "connection": the household is not dimmed; write "par14a_device"')
        return self


Kinds = Par14a
