"""List the controller's processes of a site, in the order in which they are stopped. The rig adds plant and desk."""

import sys
from pathlib import Path

from controller.runtime import handed_image, order_image, stores, wires_status
from controller.runtime.site import Site
from controller.runtime.stores import Heartbeat
from controller.runtime.supervisor import ProcessSpec

# groups of a planned stop, from the first to the last; the plant's twins must outlive the bench and the guard
STOP_BENCH, STOP_GUARD, STOP_SCAN, STOP_LEDGER, STOP_PLANT = range(5)
WARM_S = 90.0  # numba compiles the law anew after an edit: the first scan waits for it
SILENT_S = 3.0
ROOM_SILENT_S = 20.0  # it stands behind all others, and writes at 0.2 Hz where it is told so
ORDERS_SILENT_S = 15.0  # a disk may keep an order waiting for some seconds
ORDERS_READY_S = 60.0  # on a busy machine it begins beside all others
ENDS_S = 3.0  # scan and wires have nothing to wait for at their end
BENCH_ENDS_S = 20.0  # the played car stops, the charger's contactor opens, then source and load


def controller_processes(site_json: Path, site: Site) -> list[ProcessSpec]:
    """Return the specs of ledger, orders, wires, scan, control room and bench and guard where the site has them.

    Start them together. The shared files must have been made (`stores.prepare`); `plan.bin` and the bench's images too.
    """
    scan, wires = Heartbeat(site.store("output.img")), Heartbeat(site.store("input.img"))
    book = Heartbeat(site.store(order_image.NAME))
    bench, guard = Heartbeat(site.store("bench_meas.img")), Heartbeat(site.store(stores.GUARD))

    def argv(module: str) -> list[str]:
        return [sys.executable, "-m", f"controller.runtime.{module}", str(site_json)]

    specs = [
        ProcessSpec("ledger", argv("ledger"), STOP_LEDGER),
        ProcessSpec(
            "orders",
            argv("orders"),
            STOP_LEDGER,
            critical=False,  # what it said last stays in force while it is started anew
            again=True,
            ready_timeout_s=ORDERS_READY_S,
            ready=lambda: book.written_ns() > 0,
            heartbeat=book.path,
            heartbeat_s=ORDERS_SILENT_S,
            stop_timeout_s=ENDS_S,
        ),
        ProcessSpec(
            "wires",
            argv("wires"),
            STOP_SCAN,
            ready=lambda: bool(wires_status.read_wires(site)["ready"]),
            heartbeat=wires.path,
            heartbeat_s=SILENT_S,
            stop_timeout_s=ENDS_S,
        ),
        ProcessSpec(
            "scan",
            argv("scan"),
            STOP_SCAN,
            ready=lambda: scan.written_ns() > 0,
            ready_timeout_s=WARM_S,
            heartbeat=scan.path,
            heartbeat_s=max(SILENT_S, 10 * site.period_s),
            stop_timeout_s=ENDS_S,
        ),
    ]
    if site.opcua is not None:
        room = site.store(stores.CONTROL_ROOM)
        specs.append(
            ProcessSpec(
                "control_room",
                argv("control_room"),
                STOP_BENCH,
                critical=False,
                again=True,
                heartbeat=room,
                heartbeat_s=ROOM_SILENT_S,
                stop_timeout_s=ENDS_S,
            )
        )
    links = [("openadr", site.openadr), ("s2", site.s2)]
    specs += [
        ProcessSpec(name, argv(f"order_{name}"), STOP_SCAN, critical=False, again=True, stop_timeout_s=ENDS_S)
        for name, port in links
        if port is not None
    ]
    if site.handed is not None:
        handed = Heartbeat(site.store(handed_image.NAME))
        specs.append(
            ProcessSpec(
                "handed",
                argv("handed"),
                STOP_LEDGER,
                critical=False,  # the law falls to what was agreed while it is started anew
                again=True,
                ready=lambda: handed.written_ns() > 0,
                ready_timeout_s=ORDERS_READY_S,
                heartbeat=handed.path,
                heartbeat_s=ORDERS_SILENT_S,
                stop_timeout_s=ENDS_S,
            )
        )
    if site.bench is not None:
        specs += [
            ProcessSpec(
                "bench",
                argv("bench"),
                STOP_BENCH,
                at_once=True,
                ready=lambda: bench.written_ns() > 0,
                stop_timeout_s=BENCH_ENDS_S,
                heartbeat=bench.path,
                heartbeat_s=SILENT_S,
            ),
            ProcessSpec(
                "guard",
                argv("guard"),
                STOP_GUARD,
                at_once=True,
                ready=lambda: guard.written_ns() > 0,
                heartbeat=guard.path,
                heartbeat_s=SILENT_S,
            ),
        ]
    return specs
