"""Describe an OCPP charge point family as data: versions, smart charging as it really works, meter values, quirks.

The CSMS and the emulated charge point read the same record. What the record says of limits (units, stack levels,
periods) is what the emulated point reports; the CSMS asks each point and takes its answer before the record's.
"""

from typing import Literal

from pydantic import Field, model_validator

from instruments.modbus_catalog import Block, Strict

Version = Literal["ocpp1.6", "ocpp2.0.1", "ocpp2.1"]
Purpose = Literal[
    "TxDefaultProfile",
    "TxProfile",
    "ChargePointMaxProfile",
    "ChargingStationMaxProfile",
    "ChargingStationExternalConstraints",
]
STATION_PURPOSES = ("ChargePointMaxProfile", "ChargingStationMaxProfile", "ChargingStationExternalConstraints")
MEASURANDS = {  # measurand of the wire -> unit that we take it in
    "Current.Import": "A",
    "Voltage": "V",
    "Power.Active.Import": "W",
    "Energy.Active.Import.Register": "Wh",
    "Current.Offered": "A",
}


class Quirks(Strict):
    """Name how a family departs from the standard; the client relies on these, the twin shows them."""

    only_watts: bool = Field(default=False, description="takes no profile in A, whatever it says")
    ignores_profiles: bool = Field(default=False, description="accepts every profile and applies none: never trusted")
    empty_composite: bool = Field(default=False, description="answers GetCompositeSchedule without a schedule")
    minus_one: bool = Field(default=False, description="composite limit of -1 while no transaction runs")
    no_composite: bool = Field(default=False, description="does not know GetCompositeSchedule")
    forgets_on_reboot: bool = Field(default=False, description="stored profiles are gone after a restart")
    no_trigger: bool = Field(default=False, description="does not know TriggerMessage")

    @property
    def silent_composite(self) -> bool:
        """Say whether the composite schedule tells nothing, so that only measured amps show the limit."""
        return self.empty_composite or self.no_composite


class OcppPart(Block):
    """Describe how the family speaks OCPP-J and what becomes of a limit that it is sent."""

    versions: list[Version] = Field(min_length=1, description="subprotocols, the preferred one first")
    vendor: str = Field(default="", description="chargePointVendor of its BootNotification; empty: any")
    point_model: str = Field(default="", description="chargePointModel of its BootNotification; empty: any")
    connector: int = Field(default=1, ge=1, description="connectorId or evseId that is commanded")
    purpose: Purpose = "TxDefaultProfile"
    kind: Literal["Absolute", "Relative", "Dynamic"] = Field(
        default="Absolute", description="of the order; Dynamic (2.1) is moved by UpdateDynamicSchedule from then on"
    )
    operation_mode: Literal["ChargingOnly", "CentralSetpoint"] = Field(
        default="ChargingOnly", description="2.1; CentralSetpoint: the order is a set-point too, which the car follows"
    )
    dyn_update_s: int = Field(default=0, ge=0, description="s; the point pulls a dynamic order so often; 0 never")
    stack_level: int = Field(default=-1, ge=-1, description="of the order; -1: the highest that the point allows")
    failsafe: Literal["expiring", "offline", "latched"] = Field(
        description="what lowers the point when it hears nothing: the order's duration over a lower floor profile;"
        " maxOfflineDuration over the same (2.1); nothing: the last profile stands for ever"
    )
    rate_units: list[Literal["A", "W"]] = Field(default=["A", "W"], min_length=1)
    max_stack_level: int = Field(default=8, ge=0)
    max_periods: int = Field(default=24, ge=1)
    max_profiles: int = Field(default=10, ge=1)
    meter_interval_s: int = Field(default=1, ge=1, description="s; sampling interval that the CSMS configures")
    measurands: list[str] = Field(default=list(MEASURANDS), min_length=1)
    heartbeat_s: int = Field(default=30, ge=1, description="s; heartbeat interval that the CSMS gives")
    call_timeout_s: float = Field(default=10.0, gt=0, description="s; longest wait for the answer of a call")
    quirks: Quirks = Quirks()

    @model_validator(mode="after")
    def _fits(self) -> "OcppPart":
        if unknown := [name for name in self.measurands if name not in MEASURANDS]:
            raise ValueError(f"measurands {', '.join(unknown)}: known are {', '.join(MEASURANDS)}")
        if "Current.Import" not in self.measurands:
            raise ValueError("measurands must name Current.Import: a limit is checked on measured amps")
        if self.failsafe == "offline" and self.versions != ["ocpp2.1"]:
            raise ValueError("failsafe offline needs versions = ['ocpp2.1']: older ones have no maxOfflineDuration")
        new = self.kind == "Dynamic" or self.operation_mode != "ChargingOnly"
        if new and self.versions != ["ocpp2.1"]:
            raise ValueError("kind Dynamic and operation_mode need versions = ['ocpp2.1']: older ones have neither")
        if self.kind == "Dynamic" and self.failsafe == "expiring":
            raise ValueError("kind Dynamic needs failsafe offline or latched: an update does not move an order's end")
        if self.dyn_update_s and self.kind != "Dynamic":
            raise ValueError("dyn_update_s belongs to kind Dynamic")
        if self.failsafe != "latched" and self.stack_level == 0:
            raise ValueError("stack_level 0 leaves no level for the floor profile below it: use failsafe latched")
        if "ocpp1.6" in self.versions and self.purpose.startswith("ChargingStation"):
            raise ValueError(f"purpose {self.purpose} does not exist in OCPP 1.6")
        if self.versions != ["ocpp1.6"] and self.purpose == "ChargePointMaxProfile":
            raise ValueError("purpose ChargePointMaxProfile exists in OCPP 1.6 only: use ChargingStationMaxProfile")
        return self
