"""The energy guard of a rig: what it plays, what the verdicts make of it, where it is refused."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from controller.law import lpc
from hil.rig.assembler import assemble
from hil.rig.energy_guard import EnergyGuard
from hil.rig.rigfile import RIGS, RigError, load_rig
from hil.runs.fast import run_fast
from hil.runs.judging_limits import dim_rule, guard_rule
from hil.runs.promises import GuardRule, VerdictPlan
from hil.runs.rules_limits import floors_kept, guard_obeyed, guard_walked

INP = {name: np.zeros(2) for name in ("doe_w", "doe_export_w", "doe_to_s", "doe_ns")}
OBEY = VerdictPlan(obey_s=np.array([10.0]))


@pytest.fixture(scope="module")
def loaded():
    return load_rig("lpc")


def played(part, start_s=-610, end_s=9300):
    """Return what the guard's script does, second by second, without chargers."""
    log = []
    guard = EnergyGuard(part, 0, log)
    inp = SimpleNamespace(**{name: array.copy() for name, array in INP.items()})
    for t_s in range(start_s, end_s):
        guard.play(float(t_s), (t_s - start_s) * 1_000_000_000, inp)
    return log


def judged(loaded, log, name="controlled"):
    rule = guard_rule(SimpleNamespace(rig=loaded.rig), log)
    return guard_walked(replace(OBEY, guard=rule), SimpleNamespace(name=name), SimpleNamespace())


def test_the_script_walks_every_transition_and_every_answer_is_as_asked_for(loaded):
    found = judged(loaded, played(loaded.rig.guard))
    assert (found.state, found.value, found.limit) == ("passed", 17.0, float(len(lpc.TRANSITIONS)))
    assert judged(loaded, [], "uncontrolled").state == "failed"


@pytest.mark.parametrize("dropped", ["restart", "failsafe_limit"])
def test_a_transition_that_is_missing_or_an_answer_that_differs_fails(loaded, dropped):
    part = loaded.rig.guard
    kept = [act.model_copy(update={"ack": False} if act.do == "failsafe_limit" else {}) for act in part.act]
    if dropped == "restart":
        kept = [act for act in part.act if act.do != "restart"]
    found = judged(loaded, played(part.model_copy(update={"act": kept})))
    assert found.state == "failed"
    assert ("905 INIT to CONTROLLED" in found.detail["missing"]) == (dropped == "restart")
    assert ("otherwise than asked for: failsafe_limit" in found.text) == (dropped == "failsafe_limit")


def test_a_head_over_its_limit_after_the_obey_time_fails():
    rule = SimpleNamespace(steps=((0.0, 50e3), (100.0, 40e3), (200.0, float("inf"))))
    trace = SimpleNamespace(t_s=np.arange(300.0), head_w=np.full(300, 39e3))
    plan = replace(OBEY, guard=None)
    assert guard_of(plan, rule, trace).state == "passed"
    trace.head_w[105] = 49e3  # within the obey time the limit before still counts
    trace.head_w[250] = 90e3
    assert guard_of(plan, rule, trace).state == "passed"
    trace.head_w[120] = 41e3
    found = guard_of(plan, rule, trace)
    assert (found.state, found.value) == ("failed", 1000.0)


def guard_of(plan, rule, trace):
    return guard_obeyed(replace(plan, guard=GuardRule(rule.steps, (), (), ())), trace, trace)


def test_a_guard_whose_contract_is_none_of_its_kind_is_refused(tmp_path):
    text = (RIGS / "lpc.toml").read_text()
    (tmp_path / "a.toml").write_text(text.replace('"lpc_guard"', '"flexpower_1"'))
    with pytest.raises(RigError, match=r'its kind is "static_profile"; allowed is "lpc"'):
        load_rig(str(tmp_path / "a.toml"))
    (tmp_path / "b.toml").write_text(text.replace("value_w = 50000.0, ack", "ack", 1))
    with pytest.raises(RigError, match="needs value_w"):
        load_rig(str(tmp_path / "b.toml"))


def test_dimmed_groups_of_one_to_ten_devices_keep_their_floors_in_a_run():
    rig = load_rig("par14a")
    scenario = rig.rig.scenario.model_copy(update={"settle_s": 60.0})
    rig = replace(rig, rig=rig.rig.model_copy(update={"scenario": scenario}))
    assembly = assemble(rig, horizon_s=200.0)
    assert [len(group.members) for group in assembly.site.groups] == [1, 2, 4, 10]
    found = run_fast(assembly, 200.0, 1.0)
    rule = dim_rule(assembly, found.log, 200.0)
    assert (rule.from_s, rule.until_s) == (pytest.approx(60.0), 200.0)
    plan = replace(OBEY, obey_s=np.array([15.0]), tolerance_w=100.0, dim=rule)
    verdict = floors_kept(plan, found.trace, found.trace)
    assert verdict.value <= 100.0
    assert rule.turns_s == 1200.0  # ten devices in three turns, and one that was under way
    assert (verdict.state, "who starves shows after 1200 s" in verdict.text) == ("passed", True)
    hungry = floors_kept(replace(plan, dim=replace(rule, turns_s=120.0)), found.trace, found.trace)
    assert (hungry.state, "; starved: n" in hungry.text) == ("failed", True)
    free = replace(plan, dim=replace(rule, from_s=-10.0, until_s=50.0))
    assert floors_kept(free, found.trace, found.trace).state == "failed"


def test_a_contract_that_does_not_fit_its_rig_is_refused_by_name(tmp_path):
    text = (RIGS / "par14a.toml").read_text()
    (tmp_path / "a.toml").write_text(text.replace('file = "par14a"', 'file = "anm_lifo"', 1))
    with pytest.raises(RigError, match=r"contract anm_lifo: member = cp01, cp02, cp03, n01_1; allowed is a"):
        assemble(load_rig(str(tmp_path / "a.toml")))
