"""Stand one charger of any catalog model before a raw Modbus client: plant, twin and socket, in a clock of the test's.

The client here knows the catalog record and nothing of our own client, so that a mistake of that one cannot hide.
"""

import struct
from typing import Any

import numpy as np
from modbus_helpers import FakeClock, Raw

from hil.plant.dc import DcOutput, DcSpec
from hil.plant.ev import EvSpec
from hil.plant.evse import EvseSpec
from hil.plant.fleet import Fleet
from hil.twins.modbus_charger import ModbusChargerTwin
from instruments.catalog import Model, all_models, charger_of, load_model, modbus_of
from instruments.charger_catalog import DcStage
from instruments.modbus_catalog import Register
from instruments.modbus_codec import code_of, decode_words, encode_value

DRIVEN = [m.model.name for m in all_models() if m.charger is not None and m.modbus is not None]
STEP_S = 0.1
FAILSAFE_A = 6.0
FAILSAFE_S = 12.0
BOOT_S = 3.0


class Refused(Exception):
    """Carry the exception code of an answer."""


class Post:
    """Hold plant and twin of one model; `wire` and `port` are set once the socket stands."""

    def __init__(self, model: Model | str, failsafe_a: float = FAILSAFE_A, **changes: Any) -> None:
        self.model = load_model(model) if isinstance(model, str) else model
        self.part, self.modbus = charger_of(self.model), modbus_of(self.model)
        phases = max(self.part.phases)
        dog = self.part.watchdog
        evse = EvseSpec(
            name="cp01",
            phases=phases,
            hard_max_a=min(self.part.max_a, 32.0),
            watchdog=dog.kind,
            failsafe_a=failsafe_a,
            failsafe_s=FAILSAFE_S,
            meter_v_step_v=self.part.voltage_step_v,
            meter_a_step_a=self.part.current_step_a,
            token=int(dog.feed_value) if dog.kind == "token" else 0,
            boot_s=BOOT_S,
            **changes,
        )
        car = EvSpec("car", phases=phases, max_a=32.0, dead_time_s=0.5, fall_a_per_s=20.0, rise_a_per_s=20.0)
        self.clock = FakeClock(0.0)
        self.fleet = Fleet([evse], [car])
        self.volt_v = np.full((1, 3), 230.0) if phases == 3 else np.array([[230.0, np.nan, np.nan]])
        self.view = self.fleet.view(0)
        if self.part.dc is not None:
            self.view.dc = DcOutput(_converter(self.part.dc))
        self.twin = ModbusChargerTwin(self.model, self.view, self.clock.seconds)
        self.wire: Raw | None = None
        self.port = 0
        self.fleet.plug_in(0, 0.0, 0.4, 40e3)
        self.pass_s(1.0)

    def pass_s(self, seconds: float) -> None:
        """Let time pass without a word."""
        for _ in range(round(seconds / STEP_S)):
            self.clock.now_s += STEP_S
            self.fleet.step(self.clock.now_s, STEP_S, self.volt_v)

    @property
    def drawn_a(self) -> float:
        """Return the amps that the car draws on L1."""
        return float(self.fleet.drawn_a[0, 0])

    async def ask(self, pdu: bytes, unit_id: int) -> bytes:
        """Return the answer to a request, or raise Refused with its exception code."""
        assert self.wire is not None
        answer = await self.wire.ask(pdu, unit_id)
        if answer[0] & 0x80:
            raise Refused(answer[1])
        return answer

    async def poll(self, names: list[str]) -> dict[str, float | str]:
        """Return the values of one request of the record."""
        unit_id, address, count = self.modbus.span(names)
        answer = await self.ask(struct.pack(">BHH", self.modbus.function(names), address, count), unit_id)
        words = struct.unpack(f">{count}H", answer[2:])
        found = {}
        for register in map(self.modbus.register, names):
            start = register.address - address
            found[register.name] = decode_words(self.modbus, register, words[start : start + register.count])
        return found

    async def read(self, name: str) -> float | str:
        """Return one value."""
        return (await self.poll([name]))[name]

    async def write(self, name: str, value: float) -> None:
        """Write one value of ours, with the function that the family takes, after its pacing."""
        self.pass_s(self.part.timing.write_gap_s)
        register = self.modbus.register(name)
        await self.put(register, encode_value(self.modbus, register, register.to_wire(value)))

    async def put(self, register: Register, words: list[int]) -> None:
        """Write words at once."""
        if len(words) == 1 and 6 in self.modbus.write_functions:
            pdu = struct.pack(">BHH", 6, register.address, words[0])
        else:
            pdu = struct.pack(f">BHHB{len(words)}H", 16, register.address, len(words), 2 * len(words), *words)
        await self.ask(pdu, register.unit_id)

    async def order(self, amps: float) -> None:
        """Order a current, or a pause with 0, as the record says."""
        setpoint = self.part.setpoint
        if setpoint.pause_by == "enable":
            if amps > 0.0:
                await self.write(setpoint.register_name, amps)
            await self.write(setpoint.enable, float(amps > 0.0))
        else:
            await self.write(setpoint.register_name, amps)

    async def keep_alive(self, amps: float) -> None:
        """Do what keeps this family from its fail-safe."""
        dog = self.part.watchdog
        if dog.kind == "per_setpoint":
            await self.order(amps)
        elif dog.feed:
            await self.write(dog.feed, dog.feed_value)
        else:
            await self.poll(self.modbus.polls.core[0])

    async def talk_past(self) -> None:
        """Say what does not count as a sign of life for this family."""
        dog = self.part.watchdog
        if dog.kind == "any_traffic":
            try:
                await self.ask(struct.pack(">BHH", 3, 9999, 1), self.modbus.registers[0].unit_id)
            except Refused:
                return
            raise AssertionError("a read of nothing was answered")
        await self.poll(self.modbus.polls.core[0])
        if dog.feed:
            await self.order(16.0)
            await self.write(dog.feed, 0.0)

    def same(self, name: str, value: float | str) -> bool:
        """Say whether a value that was read is what the plant's view has, within the register's resolution."""
        register = self.modbus.register(name)
        constant = self.part.prepare.get(name, register.sample)
        truth = self.view.get(register.quantity) if register.quantity else constant
        if register.quantity and register.decode:
            ours = code_of(register, value)
            return ours == (register.decode.get(truth) if isinstance(truth, str) else round(truth))
        if register.type == "str":
            return value == truth
        if isinstance(truth, str):
            truth = float("".join(c for c in truth if c.isdigit()))
        if register.quantity and not np.isfinite(truth):
            return True  # never expires: all ones
        return abs(float(value) - truth) <= register.scale / 2 + 1e-6 * abs(truth)


def _converter(stage: DcStage) -> DcSpec:
    return DcSpec(
        efficiency=stage.efficiency,
        watts_per_amp=stage.watts_per_amp,
        min_v=stage.min_v,
        max_v=stage.max_v,
        max_a=stage.max_a,
        max_w=stage.max_w,
        rise_a_per_s=stage.rise_a_per_s,
        fall_a_per_s=stage.fall_a_per_s,
    )
