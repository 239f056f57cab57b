"""Fill the images of a street of six chargers as a run would leave them in the middle; the clock stands still."""

from pathlib import Path

import numpy as np

from controller.law import image
from controller.law.names import Alarm, Reason, Trust
from controller.runtime import stores, wires_status
from controller.runtime.histogram import Histogram
from controller.runtime.site import ChargerPort, Site, SubstationPort
from controller.runtime.store import Store
from controller.runtime.timing import Timing

NOW_NS = 10_000_000_000_000
UTC_NS = 1_768_320_036_000_000_000  # 2026-01-13 16:00:36 UTC
HOSTILE = "[/] [red]\x1b[2J"


def fill(plan, inp, out) -> None:
    """Fill the images: charger 1 ordered down, 2 low in voltage, 3 with its link lost, 4 paused, 5 hostile."""
    plan.parent[:] = [-1, 0, 1, 1, 1, 1, 1, 1]
    plan.node_limit_a[:] = np.array([1110, 315, 40, 40, 40, 40, 40, 40])[:, None]
    plan.node_metered[:2] = 1
    plan.charger_node[:] = range(2, 8)
    plan.phase_map[:, 0] = [0, 1, 2, 0, 1, 2]
    inp.now_ns[0], inp.utc_ns[0], inp.utc_offset_s[0], inp.scan[0] = NOW_NS, UTC_NS, 3600.0, 460
    inp.charger_v[:, 0] = [228.0, 224.5, 205.0, 226.0, 231.0, 229.9]
    inp.charger_a[:, 0] = [31.5, 9.8, 12.2, 14.0, 0.0, 31.9]
    inp.charger_state[:] = [2, 2, 2, 2, 1, 2]
    inp.charger_quality[:] = [0, 0, 0, 2, 0, 0]
    inp.charger_link[:] = [1, 1, 1, 0, 1, 1]
    inp.charger_change_ns[:] = NOW_NS - np.array([4, 8, 12, 240, 6, 11]) * 100_000_000
    inp.node_a[:2] = [[180.0, 151.2, 99.9], [171.3, 150.2, 98.8]]
    inp.order_w[1], inp.order_from_s[1], inp.order_to_s[1] = 40_000.0, UTC_NS / 1e9 - 10, UTC_NS / 1e9 + 3590
    inp.order_quality[:] = 0
    out.scan[0], out.now_ns[0] = 460, NOW_NS
    out.alarm[0] = int(Alarm.LINK_LOST | Alarm.VOLTAGE_LOW)
    out.allowed_a[:] = [32.0, 10.0, 12.0, 0.0, 0.0, 32.0]
    out.reason[:] = [Reason.WISH, Reason.ORDER, Reason.VOLTAGE, Reason.LINK_LOST, Reason.WINDOW, Reason.CAR]
    out.reason_a[:] = [np.nan, 10.0, 12.2, 0.0, 6.0, 32.0]
    out.reason_node[:] = [-1, 1, -1, -1, 0, -1]
    out.chain[:] = 32.0
    out.chain[2, 2:] = 12.2
    out.charger_trust[:] = [0, 0, 0, Trust.HELD, 0, 0]
    out.reserved_a[:] = [32.0, 14.0, 12.2, 14.0, 0.0, 32.0]
    out.volt_pu[:] = [0.991, 0.976, 0.891, np.nan, 1.004, 0.999]
    out.node_trust[:2] = [Trust.BELIEVED, Trust.HELD]
    out.node_cap_w[1] = 40_000.0
    out.node_other_a[:2] = [[40.0, 31.1, 22.2], [38.0, 30.0, 21.0]]
    out.node_reserved_a[:2] = [[46.0, 14.0, 44.2], [46.0, 14.0, 44.2]]
    out.node_headroom_a[:2] = [[1070.0, 1078.9, 1087.8], [58.0, 58.0, 58.0]]


def write_site(folder: Path) -> Site:
    """Write a site with its images as a run would leave them in the middle."""
    names = ["cp01", "cp02", "cp03", "cp04", "cp05", HOSTILE]
    site = Site(
        name="street",
        stage="bench",
        period_s=0.1,
        utc_minus_mono_ns=UTC_NS - NOW_NS,
        utc_offset_s=3600.0,
        store_dir=str(folder / "store"),
        run_dir=str(folder),
        seed=7,
        dims=(6, 8, 1, 4),
        charger_names=names,
        node_names=["transformer", "head", *(f"house{k}" for k in range(1, 7))],
        chargers=[
            ChargerPort(
                name=name, model="keba-p30", address="modbus+tcp://127.0.0.1:1", failsafe_a=0.0, failsafe_s=10.0
            )
            for name in names
        ],
        substation=SubstationPort(name="sub", model="substation-iec61850", address="opc.tcp://127.0.0.1:1", points={}),
    )
    stores.prepare(site)
    dims = site.image_dims()
    buffers = {table: image.allocate(table, dims) for table in ("plan", "input", "output")}
    fill(*(buffers[table][1] for table in ("plan", "input", "output")))
    buffers["plan"][0].tofile(site.store("plan.bin"))
    stores.attach(site, "output.img").write(buffers["output"][0], NOW_NS)
    stores.attach(site, "latched.img").write(buffers["input"][0], NOW_NS)
    (folder / "site.json").write_text(site.model_dump_json())
    return site


def write_figures(site: Site) -> None:
    """Publish timing figures and ports as scan and wires do."""
    timing = Timing.attach(site.store("timing.img"), 100_000_000)
    for k in range(460):
        timing.count(60_000 + 900 * (k % 97), 310_000 + 1_100 * (k % 31), 200_000, 240_000, 0)
    timing.count(12_000_000, 900_000, 800_000, 700_000, 0)
    timing.publish(NOW_NS)
    layout = wires_status.dtype(wires_status.ports(site))
    status = np.zeros(1, dtype=layout)
    status["ready"] = 1
    ports = status[0]["ports"]
    ports["name"] = [name.encode() for name in wires_status.ports(site)]
    ports["link"] = [1, 1, 1, 0, 1, 1, 1]
    ports["errors"][3] = 4
    ports["fault"][3] = b"cp04:0x3e8: timeout: no answer in 1 s; check the link"
    for port in ports:
        Histogram(port["round_trip"]).add_ns(1_300_000)
        Histogram(port["age"]).add_ns(820_000_000)
    Store.attach(site.store(wires_status.NAME), layout.itemsize).write(status.view(np.uint8), NOW_NS)
