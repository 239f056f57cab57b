"""Tell InstrumentKit's package from ours before anything of it is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hil.runs.packages import foreign_instruments

ROOT = Path(__file__).parents[1]


def test_our_own_package_is_taken_for_ours() -> None:
    assert foreign_instruments() == ""


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `voltbench check` where the folder's packages are found first."""
    code = f"import sys; sys.path[:0] = {[str(folder), str(ROOT)]}; from hil.cli import main; sys.exit(main(['check']))"
    environment = {**os.environ, "PYTHONPATH": ""}
    return subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )


def test_check_names_the_package_that_hides_ours(tmp_path: Path) -> None:
    (tmp_path / "instruments").mkdir()
    (tmp_path / "instruments" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    done = check(tmp_path)
    assert done.returncode == 2
    assert str(tmp_path / "instruments") in done.stderr and "InstrumentKit" in done.stderr
    assert "Traceback" not in done.stderr


def test_instrumentkit_beside_ours_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "instrumentkit-0.6.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: instrumentkit\nVersion: 0.6.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "instrumentkit 0.6.0" in foreign_instruments()
    assert check(tmp_path).returncode == 2
