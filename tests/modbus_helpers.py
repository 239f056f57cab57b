"""Give the Modbus tests a view without a plant, a clock in their hands, twins on real sockets and raw frames."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from hil.twins.modbus_adapter import ModbusAdapterTwin
from hil.twins.modbus_charger import ModbusChargerTwin
from instruments.catalog import Model, load_model, modbus_of

NS = 1_000_000_000
PATIENCE_S = 30.0  # ends a broken test; no verdict hangs on it
TWINS = ("keba-p30", "keba-p40", "alfen-ng9xx", "cp-adapter")
CHARGERS = ("keba-p30", "keba-p40", "alfen-ng9xx")

QUANTITIES: dict[str, float | str] = {
    "state": 2.0, "mode3_state": "C2", "cable_connected": 1.0, "error_code": 0.0,
    "current_l1_a": 15.5, "current_l2_a": 0.0, "current_l3_a": 0.0,
    "voltage_l1_v": 228.0, "voltage_l2_v": 0.0, "voltage_l3_v": 0.0,
    "power_w": 3534.0, "power_l1_w": 3534.0, "power_l2_w": 0.0, "power_l3_w": 0.0,
    "energy_wh": 1000.0, "session_wh": 250.0, "limit_a": 16.0, "hardware_max_a": 32.0, "setpoint_a": 16.0,
    "enable": 1.0, "failsafe_a": 6.0, "failsafe_s": 60.0, "failsafe_persist": 0.0, "remaining_valid_s": 58.0,
    "frequency_hz": 50.0, "power_factor": 1.0, "serial": "10000001", "firmware": "1.2",
}  # fmt: skip


@dataclass(slots=True)
class FakeClock:
    """Tell the time that the test says."""

    now_s: float = 100.0

    def seconds(self) -> float:
        """Return the time in s."""
        return self.now_s

    def ns(self) -> int:
        """Return the time in ns."""
        return round(self.now_s * NS)


@dataclass(slots=True)
class FakeView:
    """Hold the quantities of one charger as a table and note what happens to it; an order is applied at once."""

    values: dict[str, float | str] = field(default_factory=lambda: dict(QUANTITIES))
    written: list[tuple[str, float]] = field(default_factory=list)
    touched: int = 0
    powered: bool = True
    deaf: bool = False  # acknowledges what is written and does nothing with it

    def get(self, quantity: str) -> float | str:
        """Return a quantity."""
        if quantity not in self.values:
            raise ValueError(f"{quantity}: unknown")
        return self.values[quantity]

    def set(self, quantity: str, value: float, now_s: float) -> None:
        """Take a quantity."""
        if value > 40 and quantity == "setpoint_a":
            raise ValueError(f"{quantity} = {value} A: allowed 0..40 A")
        if self.deaf:
            return
        self.values[quantity] = value
        self.written.append((quantity, value))
        on = self.values["enable"] != 0.0
        self.values["limit_a"] = self.values["setpoint_a"] if on else 0.0

    def touch(self, now_s: float) -> None:
        """Count a valid request."""
        self.touched += 1


def quick(name: str, **modbus: object) -> Model:
    """Return a model with short gaps, so that a test need not wait for the real ones; other keys replace as named."""
    model = load_model(name)
    part = modbus_of(model).model_copy(update={"read_gap_s": 0.002, "timeout_s": 3.0, **modbus})
    charger = model.charger
    if charger is not None:
        timing = charger.timing.model_copy(update={"write_gap_s": 0.02})
        charger = charger.model_copy(update={"timing": timing})
    return model.model_copy(update={"modbus": part, "charger": charger})


def make_twin(model: Model, view: FakeView, clock_s: Callable[[], float]) -> ModbusChargerTwin | ModbusAdapterTwin:
    """Return the twin that plays a model."""
    if model.model.role == "ev_adapter":
        return ModbusAdapterTwin(model, lambda: 0.25, lambda state: None)
    return ModbusChargerTwin(model, view, clock_s)


@contextlib.asynccontextmanager
async def serving(twin: ModbusChargerTwin | ModbusAdapterTwin) -> AsyncIterator[int]:
    """Serve a twin and yield its port."""
    port = await twin.start()
    try:
        yield port
    finally:
        await twin.stop()


def frame(pdu: bytes, unit_id: int, transaction: int = 1, protocol: int = 0) -> bytes:
    """Return a request with its MBAP header."""
    return struct.pack(">HHHB", transaction, protocol, len(pdu) + 1, unit_id) + pdu


class Raw:
    """Talk to a twin byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    async def answer(self) -> tuple[int, int, bytes]:
        """Return transaction, unit id and PDU of the next answer."""
        head = await asyncio.wait_for(self.reader.readexactly(7), PATIENCE_S)
        transaction, protocol, length, unit_id = struct.unpack(">HHHB", head)
        assert protocol == 0
        return transaction, unit_id, await asyncio.wait_for(self.reader.readexactly(length - 1), PATIENCE_S)

    async def ask(self, pdu: bytes, unit_id: int) -> bytes:
        """Return the answer PDU of a request PDU."""
        self.send(frame(pdu, unit_id))
        return (await self.answer())[2]

    async def ended(self) -> bool:
        """Return whether the twin closes the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(1), PATIENCE_S) == b""
        except ConnectionError:
            return True


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Raw]:
    """Open a raw connection to a twin."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def until(condition: Callable[[], bool], what: str, limit_s: float = PATIENCE_S) -> None:
    """Wait until a condition holds; an AssertionError says what did not happen."""
    try:
        async with asyncio.timeout(limit_s):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"did not happen: {what}") from None
