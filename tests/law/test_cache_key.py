"""The compiled law is kept under a hash of all its sources: numba does not see that a callee elsewhere changed."""

import shutil
from pathlib import Path

import pytest
from numba import config

from controller.law import kernel
from controller.law.decide import steps

LAW = Path(kernel.__file__).parent


@pytest.mark.skipif(not kernel.COMPILED, reason="nothing is compiled, so nothing is kept")
def test_the_compiled_law_is_kept_in_the_directory_of_its_hash():
    assert Path(config.CACHE_DIR).name == f"law-{kernel.law_hash()}"
    assert Path(steps.stats.cache_path).is_relative_to(config.CACHE_DIR)


@pytest.mark.parametrize("callee", ["level.py", "pairs.py", "names.py", "tables.py"])
def test_an_edit_of_a_callee_in_another_file_gives_another_directory(callee, tmp_path, monkeypatch):
    before = kernel.law_hash()
    shutil.copytree(LAW, tmp_path / "law", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(kernel, "HERE", tmp_path / "law")
    assert kernel.law_hash() == before, "the hash goes by contents, not by place"
    source = tmp_path / "law" / callee
    source.write_bytes(source.read_bytes() + b"\nEDITED = 1\n")
    assert kernel.law_hash() != before


def test_a_new_name_or_another_numba_gives_another_directory(tmp_path, monkeypatch):
    before = kernel.law_hash()
    shutil.copytree(LAW, tmp_path / "law", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(kernel, "HERE", tmp_path / "law")
    (tmp_path / "law" / "fill.py").rename(tmp_path / "law" / "filling.py")
    assert kernel.law_hash() != before
    monkeypatch.undo()
    monkeypatch.setattr(kernel.numba, "__version__", "0.0.0")
    assert kernel.law_hash() != before
