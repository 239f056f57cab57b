"""Serve all twins of a rig on real sockets and step the physics behind them.

`python -m hil.rig.plant_process SEED`, started by the supervisor. Until the site file appears the plant idles in
the settled state; then its clock is the scenario's. Ended last, so that no device vanishes before it was made safe.
"""

import asyncio
import json
import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.process import die_with_parent, ignore_sigint, on_sigterm
from controller.runtime.site import Site, read_site
from controller.runtime.store import Store
from hil.rig.devices import Devices, PortInUse
from hil.rig.live_guard import LivePlayer
from hil.rig.realtime import ADDRESSES, SITE, TRUTH, PlantSeed
from hil.rig.truth import fill, truth_dtype
from hil.rig.world import World

NS = 1_000_000_000
EXIT_FAULT = 3
LINGER_NS = 3 * NS  # an orphan stays this long, so that the bench and the guard can confirm that outputs are off
DOUBT_NS = NS // 5  # a killed parent is still seen for a moment: its first thread ends before the others do
LATE_S = 0.5  # a step later than this restarts the deadlines instead of running after them


def may_end(asked_ns: int, now_ns: int, *, orphaned: bool) -> bool:
    """Say whether a plant that was asked to end at `asked_ns` (0 never) may close its sockets at `now_ns`."""
    return bool(asked_ns) and now_ns - asked_ns >= (LINGER_NS if orphaned else DOUBT_NS)


class Plant:
    """Hold the world and its devices, and step both on absolute deadlines."""

    def __init__(self, seed: PlantSeed) -> None:
        self.assembly = seed.assembly
        self.store_dir = Path(seed.store_dir)
        self.events = Events(Path(seed.run_dir) / EVENTS, "plant")
        self.world = World(seed.assembly, seed.snapshot_s)
        self.world.drop_sessions_until(seed.snapshot_s)
        self.world.eventful = False
        self.snapshot = seed.snapshot
        self.world.fleet.restore(seed.snapshot)
        self.world.step(seed.snapshot_s, 0.0)
        self.started_ns = time.monotonic_ns()
        self.idle_s = seed.snapshot_s
        self.site: Site | None = None
        self.asked_ns = 0  # when it was asked to end; 0 not yet
        self.parent = os.getppid()
        self.devices = Devices(self.assembly, self.world, self.clock_s, self.store_dir)
        self._truth = np.zeros((), dtype=truth_dtype(len(self.assembly.evse), len(self.assembly.customer_names)))
        self._bytes = self._truth.reshape(1).view(np.uint8)
        self._store = Store.create(self.store_dir / TRUTH, self._bytes.size)
        self._told = 0
        self._outputs: dict[str, bool] = {}
        self._player: asyncio.Task[None] | None = None  # of guard and contact, once there is a controller

    def clock_s(self) -> float:
        """Return the scenario time now, s; while no site file is there, time since the settled state."""
        now_ns = time.monotonic_ns()
        if self.site is None:
            return self.idle_s + (now_ns - self.started_ns) / NS
        return (now_ns + self.site.utc_minus_mono_ns) / NS - self.assembly.start_utc_s

    def _look_for_site(self) -> None:
        """Take the scenario's clock over once the site file is complete, and begin anew in the settled state."""
        path = self.store_dir / SITE
        if self.site is not None or not path.exists():
            return
        try:
            site = read_site(path)
        except ValueError:
            return  # still being written: the next step looks again
        self.site = site
        now_s = self.clock_s()
        self.world.fleet.restore(self.snapshot, now_s - self.idle_s)
        self.world.eventful = True
        self.events.write("plant_clock", t_s=round(now_s, 3))

    async def step(self, late_ns: int, dt_s: float) -> None:
        """Step devices and world once and publish the truth."""
        begin_ns = time.monotonic_ns()
        self._look_for_site()
        t_s = self.clock_s()
        self.devices.before(t_s, dt_s, self.site)
        self.world.step(t_s, dt_s)
        await self.devices.after(t_s, self.site)
        fill(self._truth, t_s, self.world)
        self._truth["late_ns"] = late_ns
        self._truth["busy_ns"] = time.monotonic_ns() - begin_ns
        self._store.write(self._bytes, time.monotonic_ns())
        for entry in self.world.log[self._told :]:
            self.events.write("scenario", **entry)
        self._told = len(self.world.log)
        self._tell_outputs()
        if self.site is not None and self._player is None:
            self._player = asyncio.create_task(LivePlayer(self.assembly, self.world, self.clock_s).run(self.site))

    def _tell_outputs(self) -> None:
        """Write down which energising twin went on or off since the last step."""
        now = self.devices.outputs()
        for name, on in now.items():
            if on != self._outputs.get(name, False):
                self.events.write("twin_output", device=name, on=on)
        self._outputs = now

    async def run(self) -> None:
        """Serve until SIGTERM; then close every socket."""
        addresses = await self.devices.start()
        temporary = self.store_dir / (ADDRESSES + ".part")
        temporary.write_text(json.dumps(addresses))
        temporary.rename(self.store_dir / ADDRESSES)
        period_ns = int(self.assembly.rig.rig.plant_period_s * NS)
        last_ns = time.monotonic_ns()
        deadline_ns = last_ns + period_ns
        try:
            while not may_end(self.asked_ns, time.monotonic_ns(), orphaned=os.getppid() != self.parent):
                await asyncio.sleep(max(0.0, (deadline_ns - time.monotonic_ns()) / NS))
                now_ns = time.monotonic_ns()
                late_ns = now_ns - deadline_ns
                await self.step(late_ns, (now_ns - last_ns) / NS)
                last_ns = now_ns
                deadline_ns += period_ns
                if late_ns > LATE_S * NS:
                    deadline_ns = now_ns + period_ns
        finally:
            if self._player is not None:
                self._player.cancel()
            await self.devices.stop()
            self.events.write("plant_ended", devices=self.devices.outputs())


def main(argv: list[str]) -> int:
    """Load the seed and serve; 0 after a stop, 3 where a socket cannot be had, which is named on stderr."""
    ignore_sigint()
    die_with_parent()
    seed: Any = pickle.loads(Path(argv[0]).read_bytes())
    plant = Plant(seed)

    def end() -> None:
        plant.asked_ns = plant.asked_ns or time.monotonic_ns()

    on_sigterm(end)
    try:
        asyncio.run(plant.run())
    except PortInUse as error:
        print(error, file=sys.stderr)
        return EXIT_FAULT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
