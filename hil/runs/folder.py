"""Make and find run folders, and write what identifies a run: manifest.json."""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import read_events
from hil.rig.references import Problem
from hil.rig.rigfile import LoadedRig, RigError
from hil.rig.sessions import NAME as SESSIONS
from hil.rig.sessions import stays, write_stays
from profiles.contract import contract_path, kept_name

if TYPE_CHECKING:  # the field stage makes run folders too, and imports no plant
    from hil.rig.assembler import Assembly

CONTRACTS = "contracts"  # of a run folder: the contract files as they were
RUNS = Path("runs")
PACKAGES = ("numpy", "scipy", "numba", "pyvisa", "pyvisa-py", "pymodbus", "asyncua", "power-grid-model", "textual")


def make_run_dir(out: str | None, name: str) -> Path:
    """Make the run folder; `out` is the folder itself and must be new or empty. RigError where it cannot be made."""
    if out is not None:
        path = Path(out)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            text = "is not empty; a run folder is written once, give another"
            raise RigError([Problem("--out", out, text)])
    else:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        path = RUNS / f"{stamp}-{name}"
        while path.exists():
            path = path.with_name(path.name + "x")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"cannot be made ({error.strerror}); give a folder that can be written to"
        raise RigError([Problem("--out", str(path), text)]) from error
    return path


def find_run_dir(given: str | None) -> Path:
    """Return a run folder: the given one, or the newest below runs/; RigError where there is none."""
    if given is not None:
        path = Path(given)
        if (path / "manifest.json").is_file():
            return path
        raise RigError([Problem("RUN", given, "no run folder (it has no manifest.json)")])
    found = sorted(RUNS.glob("*/manifest.json"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise RigError([Problem("RUN", "", f"no run below {RUNS}/; `voltbench run street` makes one")])
    return found[-1].parent


def is_field(run_dir: Path) -> bool:
    """Tell whether a run folder is of a site in the field."""
    facts = json.loads((run_dir / "manifest.json").read_text())
    return bool(facts.get("stage") == "field")


def software() -> dict[str, Any]:
    """Return the versions, the machine and the time that a manifest names."""
    from controller.law.kernel import law_hash  # imports the compiler, which sending an order does not need

    return {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "voltbench": version("voltbench"),
        "python": sys.version.split()[0],
        "packages": {name: version(name) for name in PACKAGES},
        "law": law_hash(),
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count()},
    }


def keep_contracts(run_dir: Path, names: Iterable[str | None]) -> dict[str, str]:
    """Copy the contract files that a run is held to into its folder; return their SHA-256 by file."""
    hashes = {}
    for name in sorted({name for name in names if name}):
        kept = run_dir / CONTRACTS / kept_name(name)
        kept.parent.mkdir(exist_ok=True)
        data = contract_path(name).read_bytes()
        kept.write_bytes(data)
        hashes[f"{CONTRACTS}/{kept.name}"] = hashlib.sha256(data).hexdigest()
    return hashes


def write_manifest(run_dir: Path, loaded: LoadedRig, assembly: "Assembly", facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write manifest.json (file hashes, versions, seed, machine, facts of the run), rig file, contracts, sessions."""
    rig = loaded.rig
    names = [*(part.file for part in rig.contract), *(part.reference for part in rig.contract)]
    contracts = keep_contracts(run_dir, [*names, None if rig.guard is None else rig.guard.contract])
    manifest = {
        "rig": assembly.rig.rig.name,
        "rig_file": loaded.path.name,
        "sha256": {loaded.path.name: hashlib.sha256(loaded.path.read_bytes()).hexdigest()} | contracts,
        **software(),
        "seed": assembly.rig.rig.seed,
        "feeder_agreement_pu": assembly.network.agreement_pu,
        **facts,
    }
    (run_dir / "manifest.json").write_text(json.dumps(manifest, indent=1, default=str) + "\n")
    (run_dir / loaded.path.name).write_bytes(loaded.path.read_bytes())
    vehicles = [charger.vehicle for charger in assembly.rig.charger]
    found = stays(assembly.sessions, assembly.charger_names, vehicles)
    write_stays(run_dir / SESSIONS, found, assembly.start_utc_s)
    return manifest


def add_identities(run_dir: Path) -> None:
    """Add to manifest.json what every device answered when it was identified, as the run's events tell it."""
    found = {e["device"]: e["identity"] for e in read_events(run_dir / EVENTS) if e.get("kind") == "identified"}
    path = run_dir / "manifest.json"
    manifest = json.loads(path.read_text()) | {"identities": found}
    path.write_text(json.dumps(manifest, indent=1) + "\n")
