"""Describe a Modbus relay card as data: coils, what each one does, and how its state is read back.

Client and twin read the same record. A coil is energised (1) or not (0), and not energised without
supply: a chain that must open on a dead card hangs on a coil that opens it when it is released.
"""

from typing import Literal

from pydantic import Field, model_validator

from instruments.modbus_catalog import Block, Seconds


class Coil(Block):
    """Describe one relay: its place on the card, what it does, and the input that mirrors its contact, if any."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    channel: int = Field(ge=0, description="place on the card, from 0; the rig file may move it")
    purpose: str = Field(min_length=1, description="what the energised coil does")
    safe: Literal[0, 1] = Field(default=0, description="state that is safe; 0 is also the state without supply")
    mirror_input: int | None = Field(
        default=None,
        ge=0,
        description="discrete input (function 2) wired to a mirror contact; none: only the coil is read",
    )


class DutyInput(Block):
    """Describe the register of a DAQ on the same card or gateway that measures the duty cycle of the control pilot."""

    register_address: int = Field(ge=0, le=65535, alias="register")
    read_function: Literal[3, 4]
    scale: float = Field(gt=0, description="share 0..1 for one step of the register")


class RelayPart(Block):
    """Describe how the card speaks Modbus TCP and what hangs on its coils."""

    port: int = Field(default=502, ge=1, le=65535)
    unit_id: int = Field(ge=0, le=255)
    first_coil: int = Field(ge=0, le=65535, description="wire address of channel 0")
    channels: int = Field(ge=1, le=64)
    first_input: int = Field(default=0, ge=0, le=65535, description="wire address of discrete input 0")
    inputs: int = Field(default=0, ge=0, le=64, description="discrete inputs of the card; 0: it has none")
    read_function: Literal[1] = 1
    write_function: Literal[5, 15] = 5
    settle_s: Seconds = Field(description="time from the answer to a write until the read-back may be believed")
    timeout_s: float = Field(default=1.0, gt=0, description="longest wait of the client for an answer")
    max_clients: int = Field(default=2, ge=1)
    idle_close_s: Seconds = Field(default=0.0, description="card closes a silent connection; 0 never")
    keeps_state: bool = Field(description="coils stay as they are when the connection ends: a lost link opens nothing")
    coils: list[Coil] = Field(min_length=1)
    duty: DutyInput | None = Field(default=None, description="none: somebody has to measure the duty cycle by hand")

    def coil(self, name: str) -> Coil:
        """Return a coil by name; a KeyError lists those that exist."""
        for coil in self.coils:
            if coil.name == name:
                return coil
        raise KeyError(f"{name}: no such coil; the card has {', '.join(c.name for c in self.coils)}")

    def moved(self, places: dict[str, int]) -> "RelayPart":
        """Return the card with coils at other channels, as the rig file wires it; ValueError where that cannot be."""
        unknown = sorted(set(places) - {coil.name for coil in self.coils})
        if unknown:
            raise ValueError(f"unknown coils {', '.join(unknown)}; allowed: {', '.join(c.name for c in self.coils)}")
        coils = [{**coil.model_dump(), "channel": places.get(coil.name, coil.channel)} for coil in self.coils]
        return RelayPart.model_validate({**self.model_dump(by_alias=True), "coils": coils})

    @model_validator(mode="after")
    def _consistent(self) -> "RelayPart":
        names = [coil.name for coil in self.coils]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"coils named twice: {', '.join(twice)}")
        channels = [coil.channel for coil in self.coils]
        if shared := sorted({channel for channel in channels if channels.count(channel) > 1}):
            raise ValueError(f"channel {shared[0]} carries more than one coil")
        for coil in self.coils:
            if coil.channel >= self.channels:
                raise ValueError(f"coil {coil.name}: channel {coil.channel}; allowed 0..{self.channels - 1}")
            if coil.mirror_input is not None and coil.mirror_input >= self.inputs:
                raise ValueError(
                    f"coil {coil.name}: mirror_input {coil.mirror_input}; the card has {self.inputs} inputs"
                )
        return self
