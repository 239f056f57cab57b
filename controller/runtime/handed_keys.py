"""Declare what hands limits in from outside the order book: energy guards, operating envelopes, dimming."""

from pydantic import BaseModel, ConfigDict, Field

from profiles.contract_doe import OperatingEnvelope
from profiles.contract_lpc import Lpc
from profiles.contract_par14a import Par14a


class Keys(BaseModel):
    """Refuse unknown keys: a typing error must not switch a protection off."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class GuardPort(Keys):
    """Say where an energy guard finds us, and which contracts of consumption and production it speaks for."""

    node: int = Field(ge=0, description="index of the node that it limits")
    socket: str = Field(description="path of the local socket; a plain name lies in the run folder")
    contracts: list[Lpc] = Field(min_length=1, max_length=2)


class EnvelopePort(Keys):
    """Say which file brings operating envelopes for which nodes, and who signs it."""

    file: str = Field(description="schedule of intervals, CSV or JSON; read again when it is replaced")
    key: str = Field(default="", description="key file of who signs it; empty: whoever may write the file")
    nodes: list[int] = Field(min_length=1)
    contract: OperatingEnvelope


class DimmedContract(Keys):
    """Say which section 14a contract is dimmed, whose clock its days are of, and which chargers it binds."""

    contract: Par14a
    zone: str
    chargers: list[int]


class DimPort(Keys):
    """Say where dimming of section 14a is called for, what each group may draw then, and by which contracts."""

    socket: str
    groups: dict[int, float] = Field(min_length=1, description="group -> W while it is dimmed")
    contracts: list[DimmedContract] = Field(description="whose accounts are kept: none that is dimmed throughout")


class HandedPort(Keys):
    """Hold everything that hands limits in; one process writes them for the scan."""

    guards: list[GuardPort] = []
    envelopes: list[EnvelopePort] = []
    dim: DimPort | None = None
