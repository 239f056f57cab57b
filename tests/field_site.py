"""Serve a small street of twins in another process, and write the site file of a user who stands before it."""

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from commandline import RigFile, toml_text

LETTERS = "abc"
Devices = dict[str, dict[str, Any]]


def field_rig(street: RigFile, kept: tuple[str, ...] = ("cp01", "cp02", "cp08")) -> RigFile:
    """Return a street of a few chargers without a bench; a car stands at each."""
    rig = copy.deepcopy(street)
    rig["rig"]["name"] = "corner"
    rig["charger"] = [charger for charger in rig["charger"] if charger["name"] in kept]
    rig["scenario"] |= {"settle_s": 60.0, "arrival_soc": 0.2, "events": []}
    rig["contract"] = []
    del rig["bench"]
    return rig


def emulate(serve: Callable[..., subprocess.Popen[str]], folder: Path, rig: RigFile) -> Devices:
    """Start `voltbench emulate` on a rig and return what it says of its devices."""
    path = folder / "corner.toml"
    path.write_text(toml_text(rig))
    process = serve("emulate", path, "--json")
    line = process.stdout.readline()
    assert line, (folder / "stderr.txt").read_text()
    devices: Devices = json.loads(line)["devices"]
    return devices


def site_of(rig: RigFile, devices: Devices, phases: dict[str, list[str]]) -> RigFile:
    """Return the site file of an emulated rig; `phases` are the phase maps that the user believes in."""
    head = {key: rig["rig"][key] for key in ("seed", "timezone", "scan_period_s")} | {"name": "corner"}
    nodes: list[dict[str, Any]] = [
        {"name": "transformer", "limit_a": rig["feeder"]["transformer_a"], "meter": "transformer"},
        {"name": "head", "parent": "transformer", "limit_a": rig["feeder"]["head_a"], "meter": "head"},
    ]
    chargers = []
    for k, part in enumerate(rig["charger"]):
        name = part["name"]
        limit_a = rig["feeder"]["connection_a"]
        nodes.append({"name": f"poc_{name}", "parent": "head", "limit_a": limit_a, "meter": f"poc[{k}]"})
        chargers.append(
            {key: part[key] for key in ("name", "model", "failsafe_a", "failsafe_s")}
            | {"address": devices[name]["address"], "node": f"poc_{name}", "phase_map": phases[name]}
        )
    station = rig["substation"]
    substation = {"name": station["name"], "model": station["model"], "address": devices[station["name"]]["address"]}
    substation["security"] = "none"  # the emulated one lets plain readers in
    law = copy.deepcopy(rig["law"])
    return {"site": head, "law": law, "substation": substation, "node": nodes, "charger": chargers}
