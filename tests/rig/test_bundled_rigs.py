"""The bundled rigs of several makes hold their promises in virtual time, both runs beside each other."""

import pytest

from hil.rig.assembler import assemble
from hil.rig.rigfile import load_rig
from hil.runs.fast import run_fast
from hil.runs.judging import fault_marks, verdict_plan
from hil.runs.verdict import judge

STEP_S = 0.1


@pytest.mark.parametrize(
    ("rig", "chargers", "models", "promised"),
    [
        ("mixed", 60, 12, {"voltage_held", "window_obeyed", "order_obeyed", "cap_kept", "nothing_rose_on_stale"}),
        ("ocpp", 8, 3, {"order_obeyed", "cap_kept"}),
    ],
)
def test_every_promise_is_kept_and_would_not_be_without_control(rig, chargers, models, promised):
    loaded = load_rig(rig)
    assembly = assemble(loaded)
    assert len(loaded.rig.charger) == chargers
    assert len({part.model for part in loaded.rig.charger}) == models
    for_s = loaded.rig.scenario.for_s
    run = run_fast(assembly, for_s, STEP_S)
    free = run_fast(assembly, for_s, STEP_S, controlled=False)
    found = {v.name: v for v in judge(verdict_plan(assembly, run.log, for_s), run.trace, free.trace, None)}
    assert {name: v.text for name, v in found.items() if v.state != "passed"} == {}
    cuts = [entry["charger"] for entry in run.log if entry["event"] == "cut_link"]
    falls = {f"failsafe_seen {name}" for name in cuts} if len(cuts) > 1 else {"failsafe_seen"}
    assert set(found) == promised | falls
    assert any(assembly.models[assembly.charger_names.index(name)].ocpp is not None for name in cuts)
    assert len(fault_marks(run.log)) == sum(event.kind in LOCAL for event in loaded.rig.scenario.events)


LOCAL = {"ignore_setpoint", "freeze_registers", "rcd_trip", "reboot", "reject_profiles", "black_out"}
