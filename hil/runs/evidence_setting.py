"""Say what stood where in a run: a rig of the bench, or a site of the field. The rest of the evidence asks here."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from controller.law import image
from controller.runtime.plan_spec import SiteSpec
from hil.rig.assembler import Assembly, assemble
from hil.rig.references import Problem
from hil.rig.rigfile import LoadedRig, RigError, load_rig
from hil.rig.schema import Rig
from hil.rig.site_file import LoadedSite, load_site
from hil.runs.evidence_limits import Held, Point, contracts_of, held_of
from hil.runs.folder import CONTRACTS
from profiles.contract import kept_contracts, load_contract
from profiles.vehicle import Vehicle, load_vehicles

FIELD_TOLERANCE = (0.5, 250.0)  # A per phase, W: a site file states none; the contract's own tolerance comes on top
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Field:
    """Hold the declared site of a field run; see `Place`."""

    site: SiteSpec
    charger_names: list[str]
    nodes: list[str]
    dims: image.Dims
    plan_bytes: np.ndarray

    def plan(self) -> Any:
        """Return the PLAN views."""
        return image.views("plan", self.dims, self.plan_bytes)


@dataclass(frozen=True, slots=True)
class Setting:
    """Hold what a contract's report needs of a run besides its figures.

    `connections` (N) names the connection of each charger, `connection_of` (N,) numbers it; `free_a` (N,) is what a
    charger may draw without any contract. `start_utc_s` is scenario time 0; NaN in the field, where the first reading
    is. `rig` and `assembly` are None there.
    """

    title: str
    place: Assembly | Field
    held: list[Held]
    start_utc_s: float
    tolerance: tuple[float, float]
    free_a: np.ndarray
    connections: list[str]
    connection_of: np.ndarray
    vehicles: dict[str, Vehicle]
    rig: Rig | None = None
    assembly: Assembly | None = None


def setting_of(run_dir: Path, site_file: Path | None = None) -> Setting:
    """Return the setting of a run folder; RigError where it keeps neither rig nor site.

    Contracts are those that the folder keeps. `site_file` gives a site file at its own place, where the copy in the
    folder names others by relative paths.
    """
    with kept_contracts(run_dir / CONTRACTS):
        return _setting(run_dir, site_file)


def _setting(run_dir: Path, site_file: Path | None) -> Setting:
    facts = _manifest(run_dir)
    if facts.get("stage") == "field":
        return _of_site(load_site(str(site_file or run_dir / facts["site_file"])))
    try:
        path, seed, for_s = run_dir / facts["rig_file"], int(facts["seed"]), float(facts["for_s"])
    except (KeyError, ValueError) as error:
        raise RigError([Problem(str(run_dir / MANIFEST), "", f"names no rig of a run ({error})")]) from error
    loaded = load_rig(str(path))
    quiet = replace(loaded, rig=loaded.rig.model_copy(update={"sessions": None}))  # who came stands in sessions.csv
    return _of_rig(loaded, assemble(quiet, seed, for_s))


def _manifest(run_dir: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((run_dir / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise RigError([Problem(str(run_dir / MANIFEST), "", f"names no rig of a run ({error})")]) from error
    return facts


def _of_rig(loaded: LoadedRig, assembly: Assembly) -> Setting:
    bounds, rig = loaded.rig.verdict, loaded.rig
    held = contracts_of(loaded, assembly)
    if rig.guard is not None:  # a guard brings its contract along
        contract = load_contract(rig.guard.contract)
        node = assembly.nodes.index(rig.guard.node)
        everybody = Point(rig.guard.node, tuple(range(len(assembly.charger_names))), node)
        held.append(Held(contract, 0.0, ZoneInfo(contract.timezone or rig.rig.timezone), (everybody,)))
    return Setting(
        title=rig.rig.title or rig.rig.name,
        place=assembly,
        held=held,
        start_utc_s=assembly.start_utc_s,
        tolerance=(bounds.tolerance_a, bounds.tolerance_w),
        free_a=np.array([float(evse.hard_max_a) for evse in assembly.evse]),
        connections=assembly.customer_names,
        connection_of=np.asarray(assembly.customer_of),
        vehicles=loaded.vehicles,
        rig=rig,
        assembly=assembly,
    )


def _of_site(loaded: LoadedSite) -> Setting:
    file, spec = loaded.file, loaded.spec
    names, nodes = [part.name for part in file.charger], [part.name for part in file.node]
    place = Field(spec, names, nodes, loaded.dims, loaded.plan_bytes)
    contracts = [load_contract(part.file) for part in file.contract]
    return Setting(
        title=f"site {file.site.name}",
        place=place,
        held=held_of(place, file.contract, contracts, file.site.timezone),
        start_utc_s=float("nan"),
        tolerance=FIELD_TOLERANCE,
        free_a=np.array([charger.hard_max_a for charger in spec.chargers]),
        connections=nodes,
        connection_of=np.array([charger.node for charger in spec.chargers], dtype=int),
        vehicles=load_vehicles(),
    )
