"""Lay a real-time run out: its folders, its site file and the processes that make it up, in their stop order."""

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from controller.runtime import stores
from controller.runtime.bench_images import SET_NAME
from controller.runtime.handed_keys import HandedPort
from controller.runtime.opcua_keys import OpcuaKeys, OpcuaServerPort
from controller.runtime.processes import STOP_BENCH, STOP_PLANT
from controller.runtime.site import (
    HAND,
    BatteryPort,
    BenchPort,
    ChargerPort,
    EstopPort,
    InstrumentPort,
    Site,
    SubstationPort,
)
from controller.runtime.supervisor import ProcessSpec
from hil.rig.assembler import Assembly, guarded
from hil.rig.charger_keys import ChargerPart, Twin
from hil.rig.contracts import bind_contracts
from hil.rig.csms_part import csms_port
from hil.rig.envelope_sender import FILE, played_contract
from hil.rig.handed_part import handed_port
from hil.rig.opcua_part import link_keys
from hil.rig.rigfile import devices
from hil.rig.schema import (
    BENCH_ROLES,
    AdapterPart,
    BenchPart,
    EstopPart,
    InstrumentPart,
    SubstationPart,
)
from hil.rig.store_dir import PLAN, SITE, TMPFS, make_store_dir
from profiles.contract import load_contract

__all__ = ["PLAN", "SITE", "TMPFS", "make_store_dir"]

ADDRESSES = "addresses.json"
TRUTH = "plant.img"
SEED = "plant.pickle"


@dataclass(frozen=True)
class PlantSeed:
    """Hand the plant process what it starts from."""

    assembly: Assembly
    snapshot: dict[str, np.ndarray]  # of the fleet, settled in virtual time
    snapshot_s: float  # scenario time of the snapshot
    store_dir: str
    run_dir: str


def write_seed(seed: PlantSeed) -> Path:
    """Write the plant's start into the store folder and return its path."""
    path = Path(seed.store_dir) / SEED
    path.write_bytes(pickle.dumps(seed))
    return path


def plant_spec(seed_path: Path) -> ProcessSpec:
    """Return the process that serves all twins; it is ready once their addresses are written."""
    folder = seed_path.parent
    return ProcessSpec(
        name="plant",
        argv=[sys.executable, "-m", "hil.rig.plant_process", str(seed_path)],
        stop_order=STOP_PLANT,
        ready=(folder / ADDRESSES).exists,
        heartbeat=folder / TRUTH,
        heartbeat_s=5.0,
    )


def read_addresses(store_dir: Path) -> dict[str, dict[str, Any]]:
    """Return {device: {model, role, address, unit}} of the twins that listen."""
    found: dict[str, dict[str, Any]] = json.loads((store_dir / ADDRESSES).read_text())
    return found


def write_site(
    assembly: Assembly, addresses: dict[str, dict[str, Any]], store_dir: Path, run_dir: Path, utc_minus_mono_ns: int
) -> Site:
    """Write site file and plan, make every shared image, and return the site."""
    rig = assembly.rig

    def address(part: Twin, name: str) -> str:
        if isinstance(part, AdapterPart) and part.by == "hand":
            return HAND
        return part.real if part.real is not None else str(addresses[name]["address"])

    site = Site(
        name=rig.rig.name,
        stage="bench",
        period_s=rig.rig.scan_period_s,
        utc_minus_mono_ns=utc_minus_mono_ns,
        utc_offset_s=assembly.utc_offset_s,
        timezone=rig.rig.timezone,
        store_dir=str(store_dir),
        run_dir=str(run_dir),
        seed=rig.rig.seed,
        dims=(*assembly.dims,),
        charger_names=assembly.charger_names,
        node_names=assembly.nodes,
        chargers=[_charger_port(part, address(part, part.name)) for part in rig.charger],
        csms=csms_port(rig.csms, [a["address"] for a in addresses.values() if a["address"].startswith("ws")]),
        substation=SubstationPort(
            name=rig.substation.name,
            model=rig.substation.model,
            address=address(rig.substation, rig.substation.name),
            points=assembly.tree.groups,
            **_station_keys(rig.substation, store_dir).login(),
        ),
        meters=[part.wired(address(part, part.name), assembly.nodes) for part in rig.meter],
        opcua=None if rig.opcua is None else OpcuaServerPort(**rig.opcua.model_dump()),
        bench=_bench_port(assembly, address),
        order_sources=rig.orders.source,
        contracts=assembly.contracts,
        openadr=rig.openadr,
        s2=rig.s2,
        handed=_handed(assembly, run_dir),
    )
    stores.prepare(site)
    assembly.plan_bytes.tofile(site.store(PLAN))
    for folder in (store_dir, run_dir):
        (folder / SITE).write_text(site.model_dump_json(indent=1))
    shutil.copy(site.store(PLAN), run_dir / PLAN)
    return site


def _handed(assembly: Assembly, run_dir: Path) -> HandedPort | None:
    """Return what hands limits in: the rig's guard and contracts."""
    rig, spec = assembly.rig, assembly.site
    contracts = [load_contract(part.file) for part in rig.contract]
    bindings = bind_contracts(rig.contract, contracts, spec.chargers, spec.nodes)
    sent, file = played_contract(rig), str(run_dir / FILE)
    parts = [
        part.model_copy(update={"envelope": file}) if sent is not None and part is sent[0] else part
        for part in rig.contract
    ]
    own = [(f"contract[{k}]", parts[k], each) for k, each in enumerate(bindings)]
    played = [("guard.contract", None, each) for each in guarded(rig)]
    return handed_port(rig.rig.name, [*played, *own], spec, rig.rig.timezone, run_dir)


def _station_keys(part: SubstationPart, store_dir: Path) -> OpcuaKeys:
    """Return how the link to the substation is secured: as the rig says, or as the plant made it for its twin."""
    return link_keys(store_dir) if part.twin and part.security != "none" else part


def _charger_port(part: ChargerPart, address: str) -> ChargerPort:
    return ChargerPort(
        name=part.name,
        model=part.model,
        address=address,
        failsafe_a=part.failsafe_a,
        failsafe_s=part.failsafe_s,
        phases=part.phases,
    )


def _bench_port(assembly: Assembly, address: Callable[[Twin, str], str]) -> BenchPort | None:
    bench = assembly.rig.bench
    if bench is None:
        return None

    def port(part: InstrumentPart, role: str) -> InstrumentPort:
        limits = ("hard_max_v", "hard_max_a", "hard_sink_a", "slew_v_per_s", "frequency_hz", "angles_deg")
        told = {key: getattr(part, key) for key in (*limits, "cable_a", "answer_s", "valid_s") if hasattr(part, key)}
        where = address(part, part.name)
        return InstrumentPort(
            name=part.name, model=part.model, role=role, address=where, places=getattr(part, "coils", {}), **told
        )

    dut = assembly.dut
    car, charger = assembly.ev[dut], assembly.evse[dut]
    first, second, third = ("abc".index(letter) for letter in bench.phase_map)
    ports = {key: port(part, BENCH_ROLES[key]) for key, part in bench.parts().items()}
    dc = assembly.dc.get(dut)
    return BenchPort(
        charger=dut,
        estop=_estop_port(assembly.rig.safety.estop, address),
        **ports,
        phases=bench.phases,
        phase_map=(first, second, third) if bench.phases == 3 else (0, 1, 2),
        car_phases=min(car.phases, charger.phases),
        period_s=bench.bench_period_s,
        car_max_a=min(car.max_a, charger.hard_max_a),
        battery=BatteryPort(**asdict(dc.battery)) if dc is not None else None,
    )


def _estop_port(part: EstopPart | None, address: Callable[[Twin, str], str]) -> EstopPort | None:
    if part is None:
        return None
    where = address(part, part.name)
    return EstopPort(
        name=part.name, model=part.model, address=where, coil=part.coil, places=part.coils, boot_s=part.boot_s
    )


def emulates(assembly: Assembly) -> bool:
    """Say whether anything of the rig is emulated, so that a plant has to run."""
    return any(part.twin for _, _, _, part in devices(assembly.rig))


def volts_spec(site: Site, bench: BenchPart) -> ProcessSpec:
    """Return the process that tells the bench its volts where no plant runs."""
    path = site.store(SET_NAME)
    return ProcessSpec(
        name="volts",
        argv=[sys.executable, "-m", "hil.rig.volts_process", str(site.store(SITE)), str(bench.node_v)],
        stop_order=STOP_PLANT,
        ready=path.exists,
        heartbeat=path,
    )


def desk_spec(site: Site) -> ProcessSpec:
    """Return the operator's desk on this terminal; it may die freely."""
    argv = [sys.executable, "-m", "controller.desk", str(site.store(SITE))]
    return ProcessSpec("desk", argv, stop_order=STOP_BENCH, critical=False, new_session=False)
