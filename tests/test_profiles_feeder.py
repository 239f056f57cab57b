"""Feeder files: the bundled one is the IEEE feeder, a broken one is refused by file and row."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from profiles.errors import ProfileError
from profiles.feeder import HERE, load_feeder

LOCAL = os.environ.get("VOLTBENCH_LOCAL_DATA", "")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(HERE / "ieee_eu_lv", tmp_path / "feeder"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))


def test_the_ieee_feeder_has_906_buses_905_lines_and_55_customers() -> None:
    feeder = load_feeder("ieee_eu_lv")
    assert (len(feeder.bus), len(feeder.lines), len(feeder.loads), len(feeder.codes.name)) == (906, 905, 55, 10)
    assert np.bincount(feeder.loads.phase).tolist() == [21, 19, 15]
    assert np.isfinite(feeder.coords_m).all()
    assert feeder.transformer.s_rated_va == 800e3
    assert "BSD-3" in feeder.licence


def test_the_notice_with_the_licence_stands_beside_the_data() -> None:
    assert "Redistributions of source code must retain" in (HERE / "ieee_eu_lv" / "NOTICE").read_text()


def test_an_unknown_feeder_is_answered_with_those_there_are() -> None:
    with pytest.raises(ProfileError, match="no feeder 'ieee'; bundled: ieee_eu_lv"):
        load_feeder("ieee")


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "lines.csv",
            "LINE2,2,3,0.11511,4c_70",
            "LINE2,2,3,0.11511,4c_71",
            r"lines.csv:3: code = '4c_71': allowed: 2c_",
        ),
        ("lines.csv", "LINE2,2,3,0.11511", "LINE2,2,3,-1", r"lines.csv:3: length_m = '-1': allowed: 0.001 m or more"),
        ("lines.csv", "LINE2,2,3,0.11511", "LINE2,2,3,nan", r"lines.csv:3: length_m = 'nan'"),
        ("lines.csv", "LINE2,2,3", "LINE2,x,3", r"lines.csv:3: from_bus = 'x'"),
        ("lines.csv", "LINE2,", "LINE1,", r"lines.csv:3: name = 'LINE1': stands twice"),
        (
            "lines.csv",
            "LINE2,2,3,0.11511,4c_70\n",
            "",
            r"lines.csv: buses \[3, 4, 5, 6, 7\] are not connected to bus 1",
        ),
        ("lines.csv", "0.11511,4c_70", "0.11511", r"lines.csv:3: 4 cells; the header has 5"),
        ("lines.csv", "length_m", "length_km", r"lines.csv:1: columns \['length_m'\] are missing"),
        ("line_codes.csv", "2c_007,3.97", "2c_007,inf", r"line_codes.csv:2: r1_ohm_per_km = 'inf': allowed: 0 ohm/km"),
        ("loads.csv", "LOAD1,34,a", "LOAD1,34,d", r"loads.csv:2: phase = 'd': allowed: a, b, c"),
        ("loads.csv", "LOAD1,34,a", "LOAD1,9999,a", r"loads.csv:2: bus = 9999: no line leads there"),
        ("feeder.toml", "lv_bus = 1", "lv_bus = 4711", r"feeder.toml:transformer.lv_bus = 4711"),
        ("feeder.toml", "clock = 1 ", "klock = 1 ", r"feeder.toml:transformer.clock"),
        ("feeder.toml", "u_lv_v = 416.0", "u_lv_v = -416.0", r"feeder.toml:transformer.u_lv_v = -416.0"),
        ("feeder.toml", "u_lv_v = 416.0", 'u_lv_v = "416 V"', r"feeder.toml:transformer.u_lv_v = '416 V'"),
        ("feeder.toml", "[grid]", "[grid", r"feeder.toml: not a TOML file"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(copy: Path, file: str, old: str, new: str, words: str) -> None:
    edit(copy / file, old, new)
    with pytest.raises(ProfileError, match=words):
        load_feeder(str(copy))


def test_a_missing_table_is_named_and_missing_coordinates_are_unknown(copy: Path) -> None:
    (copy / "coords.csv").unlink()
    assert np.isnan(load_feeder(str(copy)).coords_m).all()
    (copy / "loads.csv").unlink()
    with pytest.raises(ProfileError, match=r"loads.csv: cannot be read"):
        load_feeder(str(copy))


@pytest.mark.skipif(not LOCAL, reason="VOLTBENCH_LOCAL_DATA does not name the folder with the original feeder")
def test_it_is_the_feeder_that_ieee_published() -> None:
    folder = Path(LOCAL) / "ieee_eu_lv"
    feeder = load_feeder("ieee_eu_lv")

    def rows(name: str) -> list[dict[str, str]]:
        """Return the key=value pairs (lower case) of every "New" line of an OpenDSS file."""
        lines = [line for line in (folder / name).read_text().splitlines() if line.lower().startswith("new ")]
        return [dict(re.findall(r"(\w+)=(\S+)", line.lower())) | {"name": line.split()[1]} for line in lines]

    codes = {row["name"].split(".", 1)[1].replace(".", ""): row for row in rows("LineCode.txt")}
    for k, name in enumerate(feeder.codes.name):
        for key in ("r1", "x1", "r0", "x0"):
            assert getattr(feeder.codes, f"{key}_ohm_per_km")[k] == pytest.approx(float(codes[name][key]), rel=1e-5)
    originals = rows("Lines.txt")
    assert len(originals) == len(feeder.lines)
    for k, row in enumerate(originals):
        found = (feeder.lines.from_bus[k], feeder.lines.to_bus[k], feeder.codes.name[feeder.lines.code[k]].lower())
        assert found == (int(row["bus1"]), int(row["bus2"]), row["linecode"].replace(".", ""))
        assert feeder.lines.length_m[k] == pytest.approx(float(row["length"]), rel=1e-5)
    loads = [(row["name"].split(".")[1], *map(int, row["bus1"].split("."))) for row in rows("Loads.txt")]
    ours = zip(feeder.loads.name, feeder.loads.bus.tolist(), (feeder.loads.phase + 1).tolist(), strict=True)
    assert list(ours) == loads
