"""Gather all figures of a run for `timing.json`: the scan's, the ports', and what the kernel permitted."""

import json
from pathlib import Path
from typing import Any

from controller.runtime import wires_status
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import plain, read_events
from controller.runtime.site import Site
from controller.runtime.timing import NAME, read_timing

BENCH = "bench.json"  # written by the bench process at its end
REALTIME = ("sched_fifo", "mlockall", "timer_slack", "cpu")


def run_timing(site: Site) -> dict[str, Any]:
    """Return the figures of a run whose shared images still lie in the store folder.

    Keys: those of `TimingView.to_dict` (period_ms, scans, skipped, misses, missed_ratio, wake, busy, decide …), `bins`
    (edges and counts of the histograms), `ports` by device name (round_trip, age, obey, link, errors, fault),
    `realtime` (what was permitted to the scan) and, where the site has a bench, `bench` (its process's own figures).
    A StoreError names an image that is missing.
    """
    view = read_timing(site.store(NAME))
    permitted: dict[str, Any] = {}
    for event in read_events(Path(site.run_dir) / EVENTS):
        if event["kind"] == "scan_realtime":
            permitted = {name: event.get(name) for name in REALTIME}
    ports = wires_status.to_dict(wires_status.read_wires(site))
    figures = view.to_dict() | {"realtime": permitted, "ports": ports, "bins": view.bins()}
    bench = Path(site.run_dir) / BENCH
    if bench.exists():
        figures["bench"] = json.loads(bench.read_text())
    return figures


def write_timing(site: Site) -> dict[str, Any]:
    """Write `timing.json` into the run folder and return what it holds."""
    figures = run_timing(site)
    (Path(site.run_dir) / "timing.json").write_text(json.dumps(plain(figures), indent=1) + "\n")
    return figures
