"""Serve the twins and the plant of a rig alone, for somebody else's controller."""

import json
import shutil
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.supervisor import Supervisor
from hil.rig import realtime
from hil.rig.assembler import assemble
from hil.rig.rigfile import LoadedRig
from hil.runs.exits import OK
from hil.runs.fast import settle
from hil.runs.folder import make_run_dir


def emulate_rig(loaded: LoadedRig, *, as_json: bool, for_s: float | None, out: str | None = None) -> int:
    """Serve until interrupted (or for `for_s` seconds) and return the exit code.

    stdout gets the addresses: one JSON line with `as_json`, else a table. The scenario's events do not happen. `out`
    is a new folder that keeps events.jsonl (when which output went on and off) and the logs.
    """
    assembly = assemble(loaded)
    print("settling the rig in virtual time", file=sys.stderr)
    warm = settle(assembly)
    store_dir = realtime.make_store_dir()
    run_dir = Path(mkdtemp(prefix="voltbench-emulate-")) if out is None else make_run_dir(out, loaded.rig.rig.name)
    events = Events(run_dir / EVENTS, "supervisor")
    seed = realtime.PlantSeed(assembly, warm.world.fleet.snapshot(), warm.t_s, str(store_dir), str(run_dir))
    try:
        with Supervisor(run_dir, events) as supervisor:
            failed = supervisor.start([realtime.plant_spec(realtime.write_seed(seed))])
            if failed is None:
                _print(realtime.read_addresses(store_dir), as_json)
                until_s = None if for_s is None else time.monotonic() + for_s
                outcome = supervisor.watch(lambda: until_s is not None and time.monotonic() >= until_s)
            else:
                outcome = failed
            supervisor.stop()
        if outcome.exit_code != OK:
            print(f"voltbench: {outcome.who_died or 'emulate'}: {outcome.text}", file=sys.stderr)
        return outcome.exit_code
    finally:
        events.close()
        shutil.rmtree(store_dir, ignore_errors=True)
        if out is None:
            shutil.rmtree(run_dir, ignore_errors=True)


def _print(addresses: dict[str, dict[str, object]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"devices": addresses}), flush=True)
        return
    for name, device in addresses.items():
        unit = "" if device["unit"] is None else f"unit {device['unit']}"
        print(f"{name:14} {device['role']:11} {device['model']:20} {device['address']} {unit}", flush=True)
    print("all twins listen; Ctrl-C ends them", file=sys.stderr, flush=True)
