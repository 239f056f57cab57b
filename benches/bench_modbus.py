"""Time full cycles (read 20 registers, write 1) over 100 and 1,000 emulated chargers, one connection each.

In one run: a raw echo of frames of the same size, pymodbus against pymodbus's own server, our link against our twins'
server. Then the product's path: the wires process itself (`modbus_wires`) at 10 Hz with an order that changes in every
cycle, its cycle from a charger's answer to its next one. All servers run in a process of their own; pacing is off. p50,
p99 and p99.9 in extra_info, and ratios to the echo of the same run. Run: pytest benches/bench_modbus.py
"""

import asyncio
import json
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modbus_wires import HZ, WARM_S, Scan, site_of
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from controller.runtime import wires_status
from hil.twins.modbus_server import ModbusServer
from instruments.catalog import Model, load_model, modbus_of
from instruments.modbus_catalog import Polls, Register
from instruments.modbus_link import ModbusLink
from instruments.modbus_poller_frames import read_pdu

UNIT = 1
READ = 20
SETPOINT = 100
ROUNDS = {100: 60, 1_000: 12}
PYMODBUS_ROUNDS = {100: 20, 1_000: 3}
FOR_S = 8.0
FRAMES = 12 + 49  # bytes of a read's request and answer; the echo sends the larger one
NAMES = ("voltage_l1_v", "voltage_l2_v", "voltage_l3_v", "current_l1_a", "current_l2_a", "current_l3_a", "power_w",
         "session_wh", "limit_a")  # fmt: skip
VALUES = (230.0, 230.0, 230.0, 9.0, 9.0, 9.0, 6210.0, 1000.0, 10.0)


def block() -> list[int]:
    """Return the 20 registers of an emulated charger: nine floats, state C, cable."""
    return [*struct.unpack(">18H", struct.pack(">9f", *VALUES)), 2, 1]


def raise_files() -> None:
    """Allow as many open sockets as the system does."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Echo(asyncio.Protocol):
    """Send back what comes."""

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer."""
        self.transport.write(data)


class Ping(asyncio.Protocol):
    """Send frames and wait for as many bytes."""

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self.transport = transport
        self.due = 0

    def data_received(self, data: bytes) -> None:
        """Count the bytes that came back."""
        self.due -= len(data)
        if self.due <= 0:
            self.done.set_result(None)

    async def cycle(self) -> None:
        """Make two exchanges, one after the other, as a read and a write are."""
        for frame in (bytes(49), bytes(12)):
            self.done = asyncio.get_running_loop().create_future()
            self.due = len(frame)
            self.transport.write(frame)
            await self.done


def listening(server: Any) -> int:
    """Return the port that a pymodbus server found."""
    return int(server.transport.sockets[0].getsockname()[1])


def serve() -> None:
    """Serve echo, pymodbus and our twins' server, print their ports on one line, and go on until killed."""
    raise_files()
    registers = block()

    def handle(unit_id: int, function: int, address: int, count: int, values: list[int] | None) -> list[int] | None:
        return registers[:count] if values is None else None

    async def run() -> None:
        echo = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=2048)
        data = SimData(0, values=[0] * (SETPOINT + 10), datatype=DataType.REGISTERS)
        theirs = ModbusTcpServer(SimDevice(UNIT, simdata=[data]), address=("127.0.0.1", 0))
        await theirs.serve_forever(background=True)
        ours = ModbusServer(handle, max_clients=5_000)
        print(echo.sockets[0].getsockname()[1], listening(theirs), await ours.start(), flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """Give the ports of echo, pymodbus and twins in another process."""
    raise_files()
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield [int(text) for text in process.stdout.readline().split()]
        process.kill()


def emulated(transactions: int = 1) -> Model:
    """Return a charger with one block of 20 registers, 10 Hz and no pacing; the rest is an Alfen's."""
    model = load_model("alfen-ng9xx")
    part, charger = modbus_of(model), model.charger
    assert charger is not None
    head = {"unit_id": UNIT, "source": "bench", "verified": "P"}
    rows: list[dict[str, Any]] = [
        {"name": name.rsplit("_", 1)[0], "address": 2 * k, "type": "f32", "unit": "1", "quantity": name}
        for k, name in enumerate(NAMES)
    ]
    codes = {str(k): k for k in range(6)}
    rows += [
        {"name": "state", "address": 18, "type": "u16", "unit": "1", "quantity": "state", "decode": codes},
        {"name": "cable", "address": 19, "type": "u16", "unit": "1", "quantity": "cable_connected", "decode": codes},
    ]
    order = {"name": "setpoint", "address": SETPOINT, "type": "u16", "unit": "A", "access": "w", "min": 6, "max": 32}
    rows.append({**order, "quantity": "setpoint_a"})
    registers = [Register.model_validate({**head, **row}) for row in rows]
    polls = Polls(core=[[row["name"] for row in rows[:-1]]], rare=[], source="bench", verified="P")
    identity = part.identity.model_copy(update={"register_name": "state", "pattern": ".*"})
    update = {
        "registers": registers,
        "polls": polls,
        "identity": identity,
        "read_gap_s": 0.0,
        "read_period_s": 1 / HZ,
        "timeout_s": 5.0,
        "transactions": transactions,
    }
    timing = charger.timing.model_copy(update={"write_gap_s": 0.0})
    dog = charger.watchdog.model_copy(update={"kind": "any_traffic", "current_get": "", "timeout_get": ""})
    charger = charger.model_copy(update={"timing": timing, "watchdog": dog, "step_a": 1.0})
    return model.model_copy(
        update={"modbus": part.model_copy(update=update | {"write_functions": [6]}), "charger": charger}
    )


async def rounds(cycles: list[Callable[[], Awaitable[None]]], count: int) -> np.ndarray:
    """Return the milliseconds of `count` rounds in which every charger makes its cycle."""
    took = np.empty(count)
    for k in range(count + 1):  # the first one warms up
        begin_ns = time.perf_counter_ns()
        await asyncio.gather(*(cycle() for cycle in cycles))
        if k:
            took[k - 1] = (time.perf_counter_ns() - begin_ns) * 1e-6
    return took


async def echo_rounds(port: int, n: int) -> np.ndarray:
    """Time the raw echo."""
    loop = asyncio.get_running_loop()
    pings = [(await loop.create_connection(Ping, "127.0.0.1", port))[1] for _ in range(n)]
    took = await rounds([ping.cycle for ping in pings], ROUNDS[n])
    for ping in pings:
        ping.transport.abort()
    return took


async def pymodbus_rounds(port: int, n: int) -> np.ndarray:
    """Time pymodbus against pymodbus."""
    clients = [AsyncModbusTcpClient("127.0.0.1", port=port, timeout=30, retries=0) for _ in range(n)]
    for client in clients:
        assert await client.connect()

    def cycle_of(client: AsyncModbusTcpClient) -> Callable[[], Awaitable[None]]:
        async def cycle() -> None:
            answer = await client.read_holding_registers(0, count=READ, device_id=UNIT)
            assert len(answer.registers) == READ
            assert not (await client.write_register(SETPOINT, 10, device_id=UNIT)).isError()

        return cycle

    took = await rounds([cycle_of(client) for client in clients], PYMODBUS_ROUNDS[n])
    for client in clients:
        client.close()
    return took


async def link_rounds(port: int, n: int, model: Model) -> np.ndarray:
    """Time our link against our twins' server."""
    address = f"modbus+tcp://127.0.0.1:{port}"
    links = [ModbusLink(f"cp{i}", modbus_of(model), address, time.monotonic_ns) for i in range(n)]
    pdu = read_pdu(3, 0, READ)
    for link in links:
        await link.open()

    def cycle_of(link: ModbusLink) -> Callable[[], Awaitable[None]]:
        async def cycle() -> None:
            assert len(await link.fetch("block", UNIT, pdu, READ)) == 2 * READ
            await link.write("setpoint", UNIT, SETPOINT, [10])

        return cycle

    took = await rounds([cycle_of(link) for link in links], ROUNDS[n])
    for link in links:
        link.leave()
    return took


def note(benchmark: Any, name: str, took_ms: np.ndarray, echo_ms: np.ndarray | None = None) -> None:
    """Keep p50, p99 and p99.9, and the ratio of the medians to the echo."""
    p50, p99, p999 = np.percentile(took_ms, [50.0, 99.0, 99.9])
    figures = {"p50_ms": float(p50), "p99_ms": float(p99), "p999_ms": float(p999)}
    if echo_ms is not None:
        figures["to_echo"] = float(p50 / np.median(echo_ms))
    benchmark.extra_info[name] = figures


@pytest.mark.parametrize("n", [100, 1_000])
def test_cycle(benchmark: Any, ports: list[int], n: int) -> None:
    """Measure the three in turn."""
    model = emulated()
    took: dict[str, np.ndarray] = {}

    async def run() -> None:
        took["echo"] = await echo_rounds(ports[0], n)
        took["pymodbus"] = await pymodbus_rounds(ports[1], n)
        took["link"] = await link_rounds(ports[2], n, model)
        took["echo_after"] = await echo_rounds(ports[0], n)

    benchmark.pedantic(lambda: asyncio.run(run()), rounds=1, iterations=1)
    echo_ms = np.concatenate([took.pop("echo"), took.pop("echo_after")])
    note(benchmark, "raw_echo", echo_ms)
    for name, took_ms in took.items():
        note(benchmark, name, took_ms, echo_ms)
    assert np.median(took["link"]) < np.median(took["pymodbus"])  # it is there for nothing else


@pytest.mark.parametrize("transactions", [1, 2])
@pytest.mark.parametrize("n", [100, 1_000])
def test_wires(benchmark: Any, ports: list[int], tmp_path: Path, n: int, transactions: int) -> None:
    """Read and command all of them at 10 Hz by the wires process; a segment takes one request, or order and read."""
    site = site_of(tmp_path, n)
    command = [sys.executable, str(Path(__file__).with_name("modbus_wires.py"))]
    command += [str(tmp_path / "site.json"), str(ports[2]), str(transactions)]
    result: dict[str, float] = {}

    def run() -> None:
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            scan = Scan(site)
            while not wires_status.read_wires(site)["ready"]:
                assert process.poll() is None, "the wires process ended"
                time.sleep(0.05)
            scan.play(WARM_S + FOR_S)
            process.send_signal(signal.SIGTERM)
            result.update(json.loads(process.communicate(timeout=30)[0]))

    benchmark.pedantic(run, rounds=1, iterations=1)
    benchmark.extra_info["wires"] = result
    assert result["good"] == 1.0 and result["errors"] == 0.0
    assert result["orders_hz"] > 0.0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    serve()
