"""Declare the keys of what stands between feeder and charger in a rig file: connections and stations."""

from typing import Annotated, Literal

from pydantic import Field

from hil.rig.key_types import Amps, Strict

# phases of the connection on a charger's L1, L2, L3; names of OCPP's ConnectorPhaseRotation
Rotation = Literal["RST", "STR", "TRS"]
TURNS: dict[str, int] = {"RST": 0, "STR": 1, "TRS": 2}


class ConnectionPart(Strict):
    """Say what is special about the connection of one customer; one that is not named has the feeder's limit."""

    customer: Annotated[int, Field(ge=1, description="number of the customer on the feeder, from 1")]
    limit_a: Amps | None = Field(default=None, description="A per phase; left out: feeder.connection_a")
    phases: Literal[1, 3] | None = Field(
        default=None, description="left out: 3 where a charger there has three, else 1"
    )
    household: bool = Field(default=True, description="false: nothing but the chargers is connected here")


class StationPart(Strict):
    """Give a station a limit of its own: what its sockets may take together."""

    name: Annotated[str, Field(min_length=1)]
    limit_a: Amps | None = Field(default=None, description="A per phase of all its sockets; left out: none")
