"""A played sender of operating envelopes: what goes out when, and a connection that is held to it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from controller.runtime.envelope_file import parse_schedule
from hil.rig.assembler import assemble
from hil.rig.envelope_keys import EnvelopePart
from hil.rig.envelope_sender import EnvelopeSender
from hil.rig.rigfile import RIGS, RigError, load_rig
from hil.runs.fast import run_fast
from hil.runs.judging import verdict_plan
from hil.runs.promises import EnvelopeRule
from hil.runs.rules_limits import envelope_kept

START_S = 1_768_320_000.0


def test_schedules_go_out_at_their_times_and_none_in_the_silence():
    part = EnvelopePart(every_s=20.0, ahead=2, import_w=[30e3, 20e3], silent=[{"from_s": 30.0, "until_s": 50.0}])
    log: list[dict] = []
    sender = EnvelopeSender(part, "poc_1", START_S, log)
    sent = {t_s: sender.due(t_s) for t_s in (-35.0, -25.0, 0.0, 10.0, 20.0, 40.0, 59.9, 60.0)}
    assert [t_s for t_s, data in sent.items() if data] == [-35.0, 0.0, 20.0, 60.0]
    found = parse_schedule(sent[0.0], "x", as_csv=False)
    assert found.issued_s == START_S
    assert [(each.from_s - START_S, each.import_w) for each in found.intervals] == [(0.0, 30e3), (20.0, 20e3)]
    assert [watts for _, _, watts in log[0]["intervals"]] == [30e3, 30e3]
    assert json.loads(sent[60.0])["intervals"][1]["import_w"] == 20e3  # the last one holds on


def test_the_limit_is_that_of_the_newest_schedule_of_the_lower_once_it_is_old_and_subscribed_after_it():
    sent = ((0.0, ((0.0, 20.0, 30e3), (20.0, 60.0, 25e3), (60.0, 80.0, 8e3))), (10.0, ((10.0, 60.0, 20e3),)))
    rule = EnvelopeRule("poc_1", (0,), sent, subscribed_w=11e3, max_age_s=30.0)
    at_s = np.array([-1.0, 5.0, 10.0, 40.0, 41.0, 59.0, 60.0])
    assert rule.limit_w(at_s).tolist() == [11e3, 30e3, 20e3, 20e3, 11e3, 11e3, 11e3]
    old = replace(rule, sent=sent[:1])
    assert old.limit_w(np.array([29.0, 31.0, 70.0, 80.0])).tolist() == [25e3, 11e3, 8e3, 11e3]


@pytest.fixture(scope="module")
def played():
    assembly = assemble(load_rig("envelope"), horizon_s=120.0)
    return assembly, run_fast(assembly, 120.0, 1.0)


def test_a_connection_is_held_to_its_envelopes_and_to_the_subscribed_capacity_when_they_fall_silent(played):
    assembly, found = played
    plan = verdict_plan(assembly, found.log, 120.0)
    verdict = envelope_kept(plan, found.trace, found.trace)
    assert verdict.state == "passed"
    watts = found.trace.drawn_w.sum(axis=1)
    at = lambda t_s: float(watts[np.searchsorted(found.trace.t_s, t_s)])  # noqa: E731
    assert 30e3 < at(20.0) < 38e3
    assert at(39.0) < 26.3e3  # known long enough before
    assert 11e3 < at(75.0) < 26e3
    assert at(119.0) < 11e3


def test_a_connection_that_follows_no_envelope_fails_and_one_that_none_was_sent_to_shows_nothing(played):
    assembly, found = played
    plan = verdict_plan(assembly, found.log, 120.0)
    assert plan.envelope is not None
    deaf = replace(plan, envelope=replace(plan.envelope, max_age_s=20.0, subscribed_w=4e3))
    assert envelope_kept(deaf, found.trace, found.trace).state == "failed"
    silent = replace(plan, envelope=replace(plan.envelope, sent=()))
    assert envelope_kept(silent, found.trace, found.trace).state == "not_exercised"


def test_a_sender_without_its_contract_is_refused(tmp_path):
    text = (RIGS / "envelope.toml").read_text()
    (tmp_path / "a.toml").write_text(text.replace('"operating_envelope_20s"', '"tbtr"'))
    with pytest.raises(RigError, match=r"envelope = 0 such contracts: it is for one \[\[contract\]\]"):
        load_rig(str(tmp_path / "a.toml"))
    (tmp_path / "b.toml").write_text(text.replace("until_s = 155.0", "until_s = 60.0"))
    with pytest.raises(RigError, match="allowed is more than from_s, 70"):
        load_rig(str(tmp_path / "b.toml"))
