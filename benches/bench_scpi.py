"""Time one SCPI exchange: a raw socket, plain pyvisa, our port, and what TCP_NODELAY and a compound message spare.

Beside it a whole control cycle of two batteries: one compound message (Keysight), two paced ones (EA, 10 ms apart).
The twins run in a process of their own. All variants are measured in turn in one run, so that they share the machine's
mood; p50, p99 and p99.9 in extra_info. Run: pytest benches/bench_scpi.py
"""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import pyvisa

from hil.twins.scpi_twins import make_twin
from hil.twins.scpi_twins import serve as serve_twin
from instruments.catalog import load_model
from instruments.dc_supply import BidirectionalSupply
from instruments.scpi_catalog import ScpiPart
from instruments.scpi_port import ScpiPort

MODEL = "chroma-61500"
BATTERIES = ("keysight-rp7900", "ea-psb")
ROUNDS = 2_000
RATIO = 1.5  # our port beside pyvisa's own query, p50
STALL_US = 10_000.0  # delayed acknowledgements stall for 40 ms
SLOW_ROUNDS = 50  # write, write, query without TCP_NODELAY takes 40 ms a time
BATCH = 100


def part_of(model: str) -> ScpiPart:
    """Return the dialect record of a model."""
    part = load_model(model).scpi
    assert part is not None
    return part


def serve() -> None:
    """Serve the twins, print their ports on one line, and go on until killed."""
    servers = [serve_twin(make_twin(part_of(model), time.monotonic)) for model in (MODEL, *BATTERIES)]

    async def run() -> None:
        print(*[await server.start() for server in servers], flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


@pytest.fixture
def port_numbers() -> Iterator[list[int]]:
    """Give the ports of the twins in another process."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield [int(text) for text in process.stdout.readline().split()]
        process.kill()


def battery(model: str, port_number: int) -> BidirectionalSupply:
    """Return a battery that is ready to cycle."""
    port = ScpiPort(model, part_of(model), f"TCPIP::127.0.0.1::{port_number}::SOCKET")
    port.open()
    device = BidirectionalSupply(port, hard_max_v=450.0, hard_max_a=10.0, hard_sink_a=10.0)
    device.prepare()
    return device


def raw_query(link: socket.socket, message: bytes) -> None:
    """Send one line and read one."""
    link.sendall(message)
    while not link.recv(4096).endswith(b"\n"):
        pass


def link_of(port: ScpiPort) -> Any:
    """Return the open link of a port."""
    assert port._link is not None
    return port._link


def timed(act: Callable[[], Any], count: int) -> np.ndarray:
    """Return the microseconds of each of `count` calls."""
    took = np.empty(count)
    for k in range(count):
        begin_ns = time.perf_counter_ns()
        act()
        took[k] = (time.perf_counter_ns() - begin_ns) * 1e-3
    return took


def test_exchange(benchmark: Any, port_numbers: list[int]) -> None:
    """Measure every variant in turns of a hundred calls."""
    part = part_of(MODEL)
    port_number = port_numbers[0]
    batteries = {model: battery(model, number) for model, number in zip(BATTERIES, port_numbers[1:], strict=True)}
    address = f"TCPIP::127.0.0.1::{port_number}::SOCKET"
    link = socket.create_connection(("127.0.0.1", port_number))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain = pyvisa.ResourceManager("@py").open_resource(address, read_termination="\n", write_termination="\n")
    port = ScpiPort("source", part, address)
    port.open()
    cycle = part.roles["ac_source"].cycle["one"]
    compound = cycle.message.format(volt_a_v=100.0)

    def two_sets_and_a_query(resource: Any) -> None:
        resource.write("VOLT:AC 100")
        resource.write("CURR:LIM 20")
        resource.query("MEAS:CURR:AC?")

    variants: dict[str, Callable[[], Any]] = {
        "raw_query": lambda: raw_query(link, b"MEAS:CURR:AC?\n"),
        "raw_compound": lambda: raw_query(link, compound.encode() + b"\n"),
        "pyvisa_query": lambda: plain.query("MEAS:CURR:AC?"),  # type: ignore[attr-defined]
        "port_query": lambda: port.query("MEAS:CURR:AC?"),
        "port_compound": lambda: port.exchange(compound, cycle.order),
        "port_write_write_query": lambda: two_sets_and_a_query(link_of(port).resource),
    }
    took: dict[str, list[np.ndarray]] = {name: [] for name in [*variants, "pyvisa_write_write_query", *BATTERIES]}

    def all_variants() -> None:
        for _ in range(ROUNDS // BATCH):
            for name, act in variants.items():
                took[name].append(timed(act, BATCH))
        took["pyvisa_write_write_query"].append(timed(lambda: two_sets_and_a_query(plain), SLOW_ROUNDS))
        for name, device in batteries.items():
            took[name].append(timed(lambda device=device: device.set_and_measure(400.0, 5.0, 5.0), SLOW_ROUNDS))  # type: ignore[misc]

    benchmark.pedantic(all_variants, rounds=1, iterations=1)
    for name, batches in took.items():
        p50, p99, p999 = np.percentile(np.concatenate(batches), [50.0, 99.0, 99.9])
        benchmark.extra_info[name] = {"p50_us": round(p50, 1), "p99_us": round(p99, 1), "p999_us": round(p999, 1)}
    for device in batteries.values():
        device.port.close()
    port.close()
    plain.close()
    link.close()
    slow, fast = (benchmark.extra_info[f"{who}_write_write_query"]["p50_us"] for who in ("pyvisa", "port"))
    assert fast < min(slow, STALL_US)  # TCP_NODELAY is what the port is for
    ours, theirs = (benchmark.extra_info[f"{who}_query"]["p50_us"] for who in ("port", "pyvisa"))
    assert ours <= RATIO * theirs


if __name__ == "__main__":
    serve()
