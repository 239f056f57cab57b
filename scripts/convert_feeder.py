"""Convert the IEEE European LV test feeder of pandapower into profiles/feeders/ieee_eu_lv.

Run once, in an environment of its own: ``pip install pandapower==3.5.6``, then ``python scripts/convert_feeder.py``.
pandapower is not a dependency of the project.

What is left out, and why (seen in pandapower 3.5.6):

- loads in watts: their Q on phases b and c is a thousand times too small; only the bus and the phase are taken;
- ``max_i_ka``: a placeholder, the same for a service cable and a main; the rig file says what a cable carries;
- the short-circuit power of the source (10 GVA): the original has 3 kA at 11 kV.
"""

import csv
import json
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandapower.networks

TARGET = Path(__file__).parents[1] / "profiles" / "feeders" / "ieee_eu_lv"
SCENARIOS = ("on_peak_566", "off_peak_1", "off_peak_1440")

FEEDER_TOML = """\
# The IEEE European low-voltage test feeder: 906 buses, 55 single-phase customers, radial, unbalanced.
# Written by scripts/convert_feeder.py; change the script, not this file.

name = "ieee_eu_lv"
title = "IEEE European Low Voltage Test Feeder"
source = "PyPI pandapower {version}, networks.ieee_european_lv_asymmetric"
original = "IEEE PES Test Feeder Working Group, https://cmte.ieee.org/pes-testfeeders/resources/"
licence = "BSD-3-Clause (pandapower), see NOTICE"
verified = "buses, line lengths, line codes, customers and phases compared with the original OpenDSS files"
notes = [
    "the feeder has no cable rating: what the head may carry is a parameter of the rig",
    "with the original source of 1.05 pu it idles at 252 V; use 1.0 pu of 416 V (1.044 of 230 V) for product scenarios",
    "line capacitance is zero in the original",
    "pandapower keeps 32-bit floats; the numbers are rounded to the six digits that these hold",
]

[customers]
power_factor = 0.95         # of the original (PF of every load); pandapower's Q of phases b and c is not used

[transformer]
u_hv_v = {u_hv_v}            # line to line
u_lv_v = {u_lv_v}              # line to line; base of the feeder's pu: 240.2 V line to neutral
s_rated_va = {s_rated_va}
r_pu = {r_pu}
x_pu = {x_pu}
clock = 1                   # Dyn1: the low-voltage side lags by 30 degrees
lv_bus = {lv_bus}

[grid]
short_circuit_a = 3000.0    # three-phase, at u_hv_v; source of the original (Vsource ISC3), pandapower has 10 GVA
x_over_r = 4.0              # the original does not set it: default of OpenDSS (X1R1)
"""

NOTICE_HEAD = """\
The network data in this folder (lines.csv, line_codes.csv, loads.csv, coords.csv and the transformer in feeder.toml)
is taken from pandapower {version}, network "ieee_european_lv_asymmetric", converted by scripts/convert_feeder.py.
The original is the European Low Voltage Test Feeder of the IEEE PES Test Feeder Working Group
(https://cmte.ieee.org/pes-testfeeders/resources/).

The licence of pandapower:

"""


def digits(value: float) -> str:
    """Write a number with the six significant digits that pandapower's 32-bit floats hold."""
    return f"{value:.6g}"


def write_rows(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write one table with line feeds only, so that the file is the same on every platform."""
    with (TARGET / name).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def customers(nets: Sequence[Any]) -> Iterable[tuple[str, int, str]]:
    """Yield name, bus and phase of each customer: the phase whose P is not zero in any of the scenarios."""
    first = nets[0].asymmetric_load
    peak = [np.max([np.abs(net.asymmetric_load[f"p_{ph}_mw"].to_numpy()) for net in nets], axis=0) for ph in "abc"]
    for k, (name, bus) in enumerate(zip(first.name, first.bus, strict=True)):
        phases = [ph for ph, p_mw in zip("abc", peak, strict=True) if p_mw[k] > 0]
        if len(phases) != 1:
            raise SystemExit(f"{name}: expected one phase, found {phases}")
        yield name, int(bus), phases[0]


def main() -> None:
    """Convert and write the folder."""
    nets = [pandapower.networks.ieee_european_lv_asymmetric(scenario) for scenario in SCENARIOS]
    net = nets[0]
    TARGET.mkdir(parents=True, exist_ok=True)
    line = net.line
    write_rows(
        "lines.csv",
        ("name", "from_bus", "to_bus", "length_m", "code"),
        zip(line.name, line.from_bus, line.to_bus, map(digits, line.length_km * 1e3), line.std_type, strict=True),
    )
    columns = ("r_ohm_per_km", "x_ohm_per_km", "r0_ohm_per_km", "x0_ohm_per_km")
    codes = line[["std_type", *columns]].astype(dict.fromkeys(columns, float)).drop_duplicates().sort_values("std_type")
    write_rows(
        "line_codes.csv",
        ("code", "r1_ohm_per_km", "x1_ohm_per_km", "r0_ohm_per_km", "x0_ohm_per_km"),
        ((code, *map(digits, ohms)) for code, *ohms in codes.itertuples(index=False)),
    )
    write_rows("loads.csv", ("name", "bus", "phase"), customers(nets))
    lv = net.bus.index[net.bus.vn_kv < 1]
    points = (json.loads(net.bus.geo[bus])["coordinates"] for bus in lv)
    write_rows(
        "coords.csv",
        ("bus", "x_m", "y_m"),
        ((b, round(x, 3), round(y, 3)) for b, (x, y) in zip(lv, points, strict=True)),
    )
    trafo = net.trafo.iloc[0]
    r_pu = trafo.vkr_percent / 100
    x_pu = float(np.sqrt((trafo.vk_percent / 100) ** 2 - r_pu**2))
    text = FEEDER_TOML.format(
        version=version("pandapower"),
        u_hv_v=f"{trafo.vn_hv_kv * 1e3:.1f}",
        u_lv_v=f"{trafo.vn_lv_kv * 1e3:.1f}",
        s_rated_va=f"{trafo.sn_mva * 1e6:.1f}",
        r_pu=digits(r_pu),
        x_pu=digits(x_pu),
        lv_bus=int(trafo.lv_bus),
    )
    (TARGET / "feeder.toml").write_text(text)
    package = Path(pandapower.__file__).parents[1] / f"pandapower-{version('pandapower')}.dist-info"
    licence = (package / "licenses" / "LICENSE").read_text()
    (TARGET / "NOTICE").write_text(NOTICE_HEAD.format(version=version("pandapower")) + licence)


if __name__ == "__main__":
    main()
