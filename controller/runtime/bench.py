"""Run the bench: the source plays the feeder's node, the load plays the car, the adapter plays its control pilot.

`python -m controller.runtime.bench SITE_JSON`, started by the supervisor. Software is no safety function; on top of
the hardware's own, this process switches the source off when it is told to, when a port fails, and when the scan or
the plant has gone silent.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from controller.runtime.bench_images import SET_NAME, Measured, Wanted
from controller.runtime.bench_loop import EXIT_FAULT, Bench
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.played_car import CarSpec, PlayedCar
from controller.runtime.process import die_with_parent, ignore_sigint, on_sigterm
from controller.runtime.site import BenchPort, Site, read_site
from controller.runtime.store import StoreError
from controller.runtime.stores import Heartbeat
from instruments.ac_load import AcLoad
from instruments.ac_source import AcSource
from instruments.catalog import Model, load_model, modbus_of
from instruments.faults import FaultKind, PortFault
from instruments.modbus_adapter import ModbusAdapter
from instruments.scpi_port import ScpiPort
from instruments.scpi_role import scpi_of

TIMEOUT_S = 0.4  # of one exchange; with the opening anew it stays under the guard's patience
FIGURES = "bench.json"


def build(site: Site, tell: Callable[..., None], stop_asked: Callable[[], bool]) -> Bench:
    """Open the three ports of the site's bench, identify each, and return the bench; a PortFault names the device."""
    port = site.bench
    if port is None:
        raise PortFault(FaultKind.INTERLOCK, site.name, "bench", "the site has no bench", "add one to the site file")
    _carries(port)
    source_part = scpi_of(load_model(port.source.model), "ac_source")
    load_part = scpi_of(load_model(port.load.model), "ac_load")
    source_port = ScpiPort(port.source.name, source_part, port.source.address, timeout_s=TIMEOUT_S)
    load_port = ScpiPort(port.load.name, load_part, port.load.address, timeout_s=TIMEOUT_S)
    for scpi_port in (source_port, load_port):
        tell("identified", device=scpi_port.name, identity=scpi_port.open())
    adapter = ModbusAdapter(port.adapter.name, _quick(load_model(port.adapter.model)), port.adapter.address)
    tell("identified", device=adapter.name, identity=adapter.open())
    scan = Heartbeat(site.store("output.img"))
    return Bench(
        source=AcSource(
            source_port,
            phases=1,
            hard_max_v=port.source.hard_max_v,
            hard_max_a=port.source.hard_max_a,
            slew_v_per_s=port.source.slew_v_per_s,
        ),
        load=AcLoad(load_port, hard_max_a=port.load.hard_max_a),
        adapter=adapter,
        wanted=Wanted.attach(site.store(SET_NAME)),
        measured=Measured.create(site),
        car=PlayedCar(CarSpec(max_a=port.car_max_a)),
        period_s=port.period_s,
        scan_age_s=lambda: scan.age_s(time.monotonic_ns()),
        tell=tell,
        stop_asked=stop_asked,
    )


def _carries(port: BenchPort) -> None:
    """Refuse instruments whose hard limits are below what the played car may draw, before anything is opened."""
    for instrument in (port.source, port.load):
        if not instrument.hard_max_a >= port.car_max_a:
            detail = f"{instrument.hard_max_a:g} A; allowed {port.car_max_a:g} A (the played car) or more"
            raise PortFault(
                FaultKind.INTERLOCK, instrument.name, "hard_max_a", detail, "take a larger one, or less car"
            )


def _quick(model: Model) -> Model:
    """Return the adapter's record with a time-out that stays under the guard's patience."""
    part = modbus_of(model)
    timeout_s = min(part.timeout_s, TIMEOUT_S)
    return model.model_copy(update={"modbus": part.model_copy(update={"timeout_s": timeout_s})})


def figures(bench: Bench) -> dict[str, object]:
    """Return round trips, loop latency and counters for `bench.json`."""
    record = bench.measured.record
    counters = {name: int(record[name]) for name in ("cycles", "late", "timeouts", "slewing")}
    return {"counters": counters} | {name: histogram.to_dict() for name, histogram in bench.timings.items()}


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
        bench = build(site, tell, lambda: bool(asked))
    except (PortFault, StoreError) as fault:
        tell("fault", text=str(fault), device=getattr(fault, "device", ""))
        return EXIT_FAULT
    code = bench.run()
    (Path(site.run_dir) / FIGURES).write_text(json.dumps(figures(bench), indent=1))
    bench.adapter.close()
    bench.source.port.close()
    bench.load.port.close()
    events.close()
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
