"""Run the wires process over emulated chargers as a site does, and tell at its end what every charger's cycle took.

`python benches/modbus_wires.py SITE_JSON PORT TRANSACTIONS`, ended by SIGTERM: one line of JSON. All is the product's:
the shared images, publishing, measuring, looking for orders; only the model, without pacing, is the bench's.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from controller.law import image
from controller.law.names import Trust
from controller.runtime import stores, wires
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.site import ChargerPort, Site, read_site
from instruments.catalog import Model
from instruments.modbus_charger import ModbusCharger

WARM_S = 3.0
HZ = 10.0
LEVELS = 7  # an order that is left out must not look like no change


def site_of(folder: Path, n: int) -> Site:
    """Write the site of `n` chargers and its shared files; return it."""
    names = [f"cp{i:04d}" for i in range(n)]
    ports = [
        ChargerPort(name=name, model="alfen-ng9xx", address="modbus+tcp://127.0.0.1:1", failsafe_a=6, failsafe_s=60)
        for name in names
    ]
    site = Site(
        name="street",
        stage="field",
        period_s=1 / HZ,
        utc_minus_mono_ns=1_700_000_000_000_000_000,
        utc_offset_s=0.0,
        store_dir=str(folder / "store"),
        run_dir=str(folder),
        seed=1,
        dims=(n, 1, 0, 2),
        charger_names=names,
        node_names=["transformer"],
        chargers=ports,
    )
    stores.prepare(site)
    image.allocate("plan", site.image_dims())[0].tofile(site.store("plan.bin"))
    (folder / "site.json").write_text(site.model_dump_json())
    return site


class Scan:
    """Write OUTPUT as the scan does: another limit for every charger in every period."""

    def __init__(self, site: Site) -> None:
        self._buffer, self._output = image.allocate("output", site.image_dims())
        self._output.charger_trust[:] = Trust.BELIEVED
        self._store = stores.attach(site, "output.img")
        self._turn = 0

    def play(self, for_s: float) -> None:
        """Go on for so long, s."""
        end_s = then_s = time.monotonic()
        end_s += for_s
        while then_s < end_s:
            then_s += 1 / HZ
            time.sleep(max(then_s - time.monotonic(), 0.0))
            now_ns = time.monotonic_ns()
            self._turn = (self._turn + 1) % LEVELS
            self._output.allowed_a[:] = 10.0 + self._turn
            self._output.now_ns[0] = now_ns
            self._store.write(self._buffer, now_ns)


class Counted(ModbusCharger):
    """Note when each block was read, and count the orders."""

    __slots__ = ("orders", "reads_ns")

    def __init__(self, name: str, model: Model, address: str) -> None:
        super().__init__(name, model, address, clock_ns=time.monotonic_ns, failsafe_a=6.0, failsafe_s=60.0)
        self.reads_ns: list[int] = []
        self.orders = 0

    def _take(self, poll: int, payload: bytes, sent_ns: int, now_ns: int) -> None:
        super()._take(poll, payload, sent_ns, now_ns)
        self.reads_ns.append(now_ns)

    def _ordered(self, write: Any, now_ns: int) -> None:
        super()._ordered(write, now_ns)
        self.orders += 1


async def forget_start(chargers: list[Counted], since: list[float]) -> None:
    """Begin the count once all is warm."""
    await asyncio.sleep(WARM_S)
    for charger in chargers:
        charger.reads_ns.clear()
        charger.orders = 0
    since[:] = spent()


def spent() -> list[float]:
    """Return the clock, this process's CPU time and how long it was ready to run and had none, all in s."""
    waited_ns = int(Path("/proc/self/schedstat").read_text().split()[1])
    return [time.monotonic(), time.process_time(), waited_ns * 1e-9]


def figures(chargers: list[Counted], took_s: float, cpu_s: float, waited_s: float) -> dict[str, float]:
    """Return cycle times (ms), rates (Hz), missed periods, the CPU time of a cycle (us) and the shares of a core."""
    gaps_ms = np.concatenate([np.diff(charger.reads_ns) for charger in chargers]) * 1e-6
    p50, p99, p999 = np.percentile(gaps_ms, [50.0, 99.0, 99.9])
    reads = sum(len(charger.reads_ns) for charger in chargers)
    missed = int(np.maximum(np.rint(gaps_ms * 1e-3 * HZ) - 1.0, 0.0).sum())
    return {
        "reads_hz": 1e3 / float(np.mean(gaps_ms)),
        "orders_hz": sum(charger.orders for charger in chargers) / len(chargers) / took_s,
        "misses": missed,
        "missed_ratio": missed / (missed + len(gaps_ms)),
        "cpu_us": 1e6 * cpu_s / reads,
        "core": cpu_s / took_s,
        "waited_core": waited_s / took_s,
        "cycle_p50_ms": float(p50),
        "cycle_p99_ms": float(p99),
        "cycle_p999_ms": float(p999),
        "good": sum(charger.reading.quality == 0 for charger in chargers) / len(chargers),
        "errors": float(sum(charger.reading.errors for charger in chargers)),
    }


def main(site_json: Path, port: int, transactions: int) -> int:
    """Serve until SIGTERM and print the figures."""
    from bench_modbus import emulated, raise_files

    raise_files()
    site, model = read_site(site_json), emulated(transactions)
    chargers = [Counted(name, model, f"modbus+tcp://127.0.0.1:{port}") for name in site.charger_names]
    process = wires.Wires(site, chargers, None, Events(Path(site.run_dir) / EVENTS, "wires"))
    since: list[float] = []

    async def run() -> int:
        counting = asyncio.ensure_future(forget_start(chargers, since))
        code = await wires.serve(process)
        await counting
        return code

    code = asyncio.run(run())
    took_s, cpu_s, waited_s = (end - begin for end, begin in zip(spent(), since, strict=True))
    print(json.dumps(figures(chargers, took_s, cpu_s, waited_s)), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
