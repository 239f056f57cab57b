"""The run without control gives the same bits in a process of its own, and ends with whoever waits for it."""

import multiprocessing

import pytest

from hil.rig.assembler import Assembly, assemble
from hil.rig.rigfile import load_rig
from hil.runs import fast
from hil.runs.fast import UncontrolledTwin
from hil.runs.trace import COLUMNS, UNCONTROLLED

FOR_S, STEP_S = 5.0, 0.5


@pytest.fixture(scope="module")
def assembly() -> Assembly:
    return assemble(load_rig("street"))


def test_a_process_of_its_own_gives_the_same_bits(assembly: Assembly, monkeypatch: pytest.MonkeyPatch) -> None:
    with UncontrolledTwin(assembly, FOR_S, STEP_S) as twin:
        assert not multiprocessing.active_children()  # a short run is not worth one
        here = twin.trace()
    monkeypatch.setattr(fast, "BESIDE_STEPS", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with UncontrolledTwin(assembly, FOR_S, STEP_S) as twin:
        assert len(multiprocessing.active_children()) == 1
        beside = twin.trace()
    assert beside.name == UNCONTROLLED
    assert not multiprocessing.active_children()
    for column in COLUMNS:
        assert getattr(here, column.name).tobytes() == getattr(beside, column.name).tobytes(), column.name


def test_leaving_early_ends_the_process(assembly: Assembly, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "BESIDE_STEPS", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.raises(KeyboardInterrupt), UncontrolledTwin(assembly, 1e6, STEP_S):
        raise KeyboardInterrupt
    assert not multiprocessing.active_children()
