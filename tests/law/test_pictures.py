"""The pictures of docs/law.md are what the law decides today, and every one of them stands in the text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from controller.law import image

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"


def test_pictures_are_made_by_the_law_as_it_is(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "draw_law.py"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, env=os.environ | {"PYTHONPATH": path})
    made = {picture.name: picture.read_bytes() for picture in tmp_path.iterdir()}
    kept = {picture.name: picture.read_bytes() for picture in PICTURES.glob("*.svg")}
    assert sorted(made) == sorted(kept)
    different = [name for name, data in made.items() if kept[name] != data]
    assert different == [], "the law draws them differently: look at them, then run scripts/draw_law.py"


def test_every_picture_stands_in_the_text() -> None:
    text = (ROOT / "docs" / "law.md").read_text(encoding="utf-8")
    missing = [picture.name for picture in PICTURES.glob("*.svg") if f"](pictures/{picture.name})" not in text]
    assert missing == []


BUILT = {  # topology and what the builder derives, not parameters to choose
    "period_s", "u_nom_v", "parent", "node_metered", "node_obey_s", "charger_node", "phase_map", "window_charger",
    "window_node",
}  # fmt: skip


def test_every_parameter_stands_in_a_table_with_its_unit_and_default() -> None:
    text = (ROOT / "docs" / "law.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| `")]
    table = {row[0].strip("`"): row for row in rows if len(row) == 5}
    for field in image.PLAN_FIELDS:
        if field.name in BUILT:
            continue
        assert field.name in table, field.name
        _, unit, default, allowed, meaning = table[field.name]
        assert unit in (field.unit, ""), field.name
        assert float(default) == pytest.approx(field.fill, rel=1e-3), field.name
        assert allowed or meaning, field.name
    assert set(table) <= {field.name for field in image.PLAN_FIELDS}
