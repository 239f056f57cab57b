"""Run the bench: the source plays the feeder's node and the load the car, or a supply plays the battery.

`python -m controller.runtime.bench SITE_JSON`, started by the supervisor. Software is no safety function; on top of
the hardware's own, this process switches off what energises when it is told to, when a port fails, and when the scan or
the plant has gone silent.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controller.runtime.bench_base import EXIT_FAULT, BenchLoop
from controller.runtime.bench_dc import DcBench
from controller.runtime.bench_images import SET_NAME, Measured, Wanted
from controller.runtime.bench_loop import Bench
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.guarding import wait_for_guard
from controller.runtime.load_bank import LoadBank
from controller.runtime.pilots import open_pilot
from controller.runtime.played_battery import BatterySpec, PlayedBattery
from controller.runtime.played_car import CarSpec, PlayedCar
from controller.runtime.process import die_with_parent, ignore_sigint, on_sigterm
from controller.runtime.site import BenchPort, InstrumentPort, Site, read_site
from controller.runtime.store import StoreError
from controller.runtime.stores import Heartbeat
from instruments.ac_load import AcLoad
from instruments.ac_source import AcSource
from instruments.analyzer import Analyzer
from instruments.catalog import load_model
from instruments.dc_supply import BidirectionalSupply
from instruments.faults import FaultKind, PortFault
from instruments.scpi_port import OPENING_S, ScpiPort
from instruments.scpi_role import scpi_of

TIMEOUT_S = 0.4  # of one exchange once energised; with the opening anew it stays under the guard's patience
FIGURES = "bench.json"

Tell = Callable[..., None]


def build(site: Site, tell: Tell, stop_asked: Callable[[], bool]) -> BenchLoop:
    """Open the ports of the site's bench, identify each, and return the bench; a PortFault names the device."""
    port = site.bench
    if port is None:
        raise PortFault(FaultKind.INTERLOCK, site.name, "bench", "the site has no bench", "add one to the site file")
    _carries(port)
    scan = Heartbeat(site.store("output.img"))
    opened: list[Any] = []

    def common() -> dict[str, Any]:
        """Return what both kinds of bench have; made last, for the measured image tells that the bench is there."""
        analyzer = None
        if port.analyzer is not None:
            phases = 1 if port.supply is not None else port.phases
            analyzer = Analyzer(_open(port.analyzer, tell, opened), phases=phases)
        return {
            "analyzer": analyzer,
            "wanted": Wanted.attach(site.store(SET_NAME)),
            "measured": Measured.create(site),
            "period_s": port.period_s,
            "scan_age_s": lambda: scan.age_s(time.monotonic_ns()),
            "tell": tell,
            "stop_asked": stop_asked,
            "opened": opened,
        }

    if port.supply is not None:
        return _dc_bench(port, tell, opened, common)
    return _ac_bench(site, port, tell, opened, common)


def _ac_bench(
    site: Site, port: BenchPort, tell: Tell, opened: list[Any], common: Callable[[], dict[str, Any]]
) -> Bench:
    if port.source is None or port.load is None or port.adapter is None:
        raise PortFault(
            FaultKind.INTERLOCK, "bench", "", "source, load or adapter is missing", "add it to the site file"
        )
    source = AcSource(
        _open(port.source, tell, opened),
        phases=port.phases,
        hard_max_v=port.source.hard_max_v,
        hard_max_a=port.source.hard_max_a,
        slew_v_per_s=port.source.slew_v_per_s,
    )
    further = [part for part in (port.load_l2, port.load_l3) if part is not None]
    phases = 1 if further else port.phases
    loads = [
        AcLoad(_open(part, tell, opened), hard_max_a=part.hard_max_a, phases=phases) for part in (port.load, *further)
    ]
    adapter, identity = open_pilot(site, port.adapter, TIMEOUT_S)
    tell("identified", device=adapter.name, identity=identity)
    opened.append(adapter)
    return Bench(
        source=source,
        load=LoadBank(loads, port.car_phases),
        adapter=adapter,
        car=PlayedCar(CarSpec(max_a=port.car_max_a)),
        phase_map=port.phase_map,
        frequency_hz=port.source.frequency_hz,
        angles_deg=port.source.angles_deg,
        cable_a=port.adapter.cable_a,
        **common(),
    )


def _dc_bench(port: BenchPort, tell: Tell, opened: list[Any], common: Callable[[], dict[str, Any]]) -> DcBench:
    part = port.supply
    if part is None or port.battery is None:
        raise PortFault(FaultKind.INTERLOCK, "bench", "", "supply or battery is missing", "add it to the site file")
    supply = BidirectionalSupply(
        _open(part, tell, opened),
        hard_max_v=part.hard_max_v,
        hard_max_a=part.hard_max_a,
        hard_sink_a=part.hard_sink_a,
        slew_v_per_s=part.slew_v_per_s,
        side="car",
    )
    battery = PlayedBattery(BatterySpec(**port.battery.model_dump()))
    return DcBench(supply=supply, battery=battery, source_a=part.hard_max_a, sink_a=part.hard_sink_a, **common())


def _open(part: InstrumentPort, tell: Tell, opened: list[Any]) -> ScpiPort:
    """Open and identify one SCPI instrument."""
    record = scpi_of(load_model(part.model), part.role)
    port = ScpiPort(part.name, record, part.address, timeout_s=TIMEOUT_S, opening_s=OPENING_S)
    tell("identified", device=port.name, identity=port.open())
    opened.append(port)
    return port


def _carries(port: BenchPort) -> None:
    """Refuse instruments whose hard limits are below what the played car may draw, before anything is opened."""
    for instrument in (port.source, port.load, port.load_l2, port.load_l3):
        if instrument is not None and not instrument.hard_max_a >= port.car_max_a:
            detail = f"{instrument.hard_max_a:g} A; allowed {port.car_max_a:g} A (the played car) or more"
            raise PortFault(
                FaultKind.INTERLOCK, instrument.name, "hard_max_a", detail, "take a larger one, or less car"
            )


def figures(bench: BenchLoop) -> dict[str, object]:
    """Return round trips, loop latency and counters for `bench.json`; what this bench has not is left out."""
    record = bench.measured.record
    counters = {name: int(record[name]) for name in ("cycles", "late", "timeouts", "slewing")}
    used = {name: histogram.to_dict() for name, histogram in bench.timings.items()}
    return {"counters": counters} | {name: found for name, found in used.items() if found["count"] or name == "loop"}


def main(site_json: Path) -> int:
    """Run the bench of a site; 0 after a planned stop, 3 after a fault, which is named on stderr."""
    ignore_sigint()
    asked: list[int] = []
    on_sigterm(lambda: asked.append(1))
    die_with_parent()
    site = read_site(site_json)
    events = Events(Path(site.run_dir) / EVENTS, "bench")

    def tell(kind: str, **fields: object) -> None:
        events.write(kind, **fields)
        if kind == "fault":  # the supervisor hands the last words of our log to the user
            print(f"bench: {fields['text']}", file=sys.stderr)

    try:
        wait_for_guard(site, lambda: bool(asked))
        bench = build(site, tell, lambda: bool(asked))
    except (PortFault, StoreError) as fault:
        tell("fault", text=str(fault), device=getattr(fault, "device", ""))
        return EXIT_FAULT
    code = bench.run()
    (Path(site.run_dir) / FIGURES).write_text(json.dumps(figures(bench), indent=1))
    for one in bench.opened:
        one.close()
    events.close()
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
