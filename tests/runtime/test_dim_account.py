"""Accounts of section 14a: times and hours dimmed against the allowance, on a clock that the test moves."""

from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from controller.law.names import Cp, Reason, Step
from controller.runtime.dim_account import DimAccounts
from controller.runtime.handed_dim import Dimming
from controller.runtime.handed_keys import DimmedContract, DimPort
from controller.runtime.journal import Journal, read_entries
from profiles.contract import READER, load_contract

BERLIN = ZoneInfo("Europe/Berlin")
ON, OFF = {"type": "dim", "active": True}, {"type": "dim", "active": False}


class Contact:
    """Hold a journal on the disk, a clock that the test moves, and the dimming that both serve."""

    def __init__(self, folder, *limits, begin="2026-03-02T08:00"):
        self.now_s = datetime.fromisoformat(begin).replace(tzinfo=BERLIN).timestamp()
        self.path, self.full, self.published = folder / "j.sqlite", False, 0
        self.journal = Journal(self.path, utc_ns=lambda: round(self.now_s * 1e9))
        self.port = DimPort(socket="d", groups={0: 4200.0}, contracts=[contract(**limit) for limit in limits])
        self.view = SimpleNamespace(scanned=False)
        self.view.fresh = lambda: self.view
        self.start()

    def start(self):
        """Begin, or begin again, with what the journal knows."""
        self.dim = Dimming(self.port, self.keep, self.publish, lambda: self.now_s, shadow=False)
        for entry in read_entries(self.path):
            self.dim.recall(entry)

    def keep(self, kind, *, waits=True, **body):
        if not self.full:
            self.journal.append(kind, **body)
        return not self.full

    def publish(self):
        self.published += 1

    def say(self, message, then_h=0.0):
        """Return the answer, after the time that follows it has passed in steps of ten seconds."""
        answer = self.dim.take(message)
        return answer, self.wait(then_h)

    def wait(self, hours):
        """Let the time pass, and return what was found used up meanwhile."""
        found, end_s = [], self.now_s + hours * 3600.0
        while self.now_s < end_s:
            self.now_s = min(self.now_s + 10.0, end_s)
            found += self.dim.look(self.view).items()
        return found

    @property
    def dimmed(self):
        return self.now_s < self.dim.until_s

    def account(self, name="par14a"):
        """Return the last entry of an account in the journal."""
        return [e.body for e in read_entries(self.path) if e.kind == "account" and e.subject == name][-1]


def contract(name="par14a", **limits):
    fields = load_contract("par14a").model_dump(mode="json", by_alias=True)
    fields |= {"name": name, "allowance": {"max_hours_per_day": 2.0} | limits}
    return DimmedContract(contract=READER.validate_python(fields, strict=False), zone="Europe/Berlin", chargers=[0, 1])


@pytest.fixture
def contact(tmp_path):
    made = []

    def make(*limits, **more):
        made.append(Contact(tmp_path, *(limits or ({},)), **more))
        return made[-1]

    yield make
    for each in made:
        each.journal.close()


def test_hours_and_times_are_journaled_and_what_is_beyond_is_obeyed_and_flagged(contact):
    site = contact({})
    answer, _ = site.say(ON | {"for_s": 5400.0}, then_h=2.0)
    assert answer == {"type": "result", "ack": True, "why": ""}
    first = site.account()
    assert (first["calls"], first["calls_beyond"], first["day"]) == (1, 0, "2026-03-02")
    assert first["hours"] == first["hours_of_day"] == pytest.approx(1.5)
    answer, _ = site.say(ON | {"for_s": 3600.0})
    assert answer["ack"] and answer["why"] == "beyond the allowance of par14a: 2.50 h of a day, allowed 2 h"
    assert site.dimmed and site.published == 2
    (decided,) = [e.body for e in read_entries(site.path) if e.kind == "decided" and "beyond" in e.body]
    assert decided["beyond"] == {"par14a": "2.50 h of a day, allowed 2 h"}
    site.say(OFF)
    assert not site.dimmed
    assert (site.account()["calls"], site.account()["calls_beyond"]) == (2, 1)


def test_one_that_refuses_refuses_more_but_lifts_nothing_that_is_in_force(contact):
    site = contact({"beyond": "refuse"})
    site.say(ON | {"for_s": 3600.0}, then_h=0.5)
    answer, _ = site.say(ON | {"for_s": 3 * 3600.0})
    assert not answer["ack"] and "3.50 h of a day" in answer["why"]
    assert [e.kind for e in read_entries(site.path)].count("refused") == 1
    assert site.dim.until_s - site.now_s == pytest.approx(1800.0)  # as it was
    answer, used_up = site.say(ON, then_h=2.0)  # until it is lifted: its first minute is within the allowance
    assert answer["ack"] and site.dimmed
    assert used_up == [("par14a", "2.00 h of a day, allowed 2 h")]  # once, at 2 h and ten seconds
    assert site.account()["calls_beyond"] == 1 and site.account()["calls"] == 1
    assert site.say(OFF)[0]["ack"] and not site.dimmed
    answer, _ = site.say(ON)
    assert not answer["ack"] and not site.dimmed
    site.wait(24.0)
    assert site.say(ON)[0]["ack"]  # another day


def test_all_have_one_contact_which_is_refused_only_where_every_contract_refuses(contact):
    site = contact({"beyond": "refuse"}, {"name": "second", "max_hours_per_day": 4.0})
    answer, _ = site.say(ON | {"for_s": 3 * 3600.0})
    assert answer["ack"] and answer["why"] == "beyond the allowance of par14a: 3.00 h of a day, allowed 2 h"
    assert (site.account()["calls_beyond"], site.account("second")["calls_beyond"]) == (1, 0)
    answer, _ = site.say(ON | {"for_s": 5 * 3600.0})
    assert answer["ack"] and "second: 5.00 h of a day, allowed 4 h" in answer["why"]


def test_a_restart_knows_what_was_taken_and_who_repeats_his_word_dims_once(contact):
    site = contact({})
    for _ in range(60):
        site.say(ON | {"for_s": 120.0}, then_h=1 / 60)
    before = site.account()
    assert before["calls"] == 1
    site.start()
    assert site.dimmed
    site.say(ON | {"for_s": 60.0})
    assert site.account()["hours"] == pytest.approx(1.0) and site.account()["calls"] == 1
    site.wait(1.0)
    assert site.account()["hours"] == pytest.approx(1.0 + 60 / 3600, abs=1e-6)


@pytest.mark.parametrize(("begin", "hours"), [("2026-03-28T23:30", 22.5), ("2026-10-24T23:30", 24.5)])
def test_each_local_day_has_its_own_hours_when_the_clocks_change_too(contact, begin, hours):
    site = contact({"max_hours_per_day": 25.0}, begin=begin)
    site.say(ON, then_h=0.5)
    assert site.account()["hours_of_day"] <= 0.5
    site.wait(hours)
    site.say(OFF | {"for_s": None})
    assert site.account()["hours_of_day"] == pytest.approx(hours)
    assert site.account()["hours"] == pytest.approx(hours + 0.5)


def test_a_full_disk_lifts_nothing_and_the_account_is_written_when_there_is_room(contact):
    site = contact({})
    site.full = True
    answer, _ = site.say(ON | {"for_s": 3600.0}, then_h=0.25)
    assert not answer["ack"] and site.dimmed
    assert list(read_entries(site.path)) == []
    site.full = False
    site.wait(1.0)
    assert not site.dimmed
    assert site.account()["hours"] == pytest.approx(1.0)


def test_energy_is_counted_while_it_is_dimmed_and_goes_on_after_a_restart(contact):
    site = contact({"max_kwh_per_year": 1.0})
    chain = np.zeros((2, len(Step)))
    chain[:, Step.VOLTAGE] = 16.0
    site.view.inp = SimpleNamespace(
        charger_state=np.array([Cp.C, Cp.A]), charger_v=np.full((2, 3), [230.0, np.nan, np.nan])
    )
    site.view.out = SimpleNamespace(chain=chain, allowed_a=np.array([6.0, 0.0]), reason=np.array([Reason.GROUP] * 2))
    site.view.scanned = True
    site.dim.look(site.view)  # not dimmed: nothing
    steps = [site.now_s + k for k in range(1, 1801)]
    site.dim.take(ON)
    for site.now_s in steps:
        site.dim.look(site.view)
    site.say(OFF)
    assert site.account()["curtailed_kwh"] == pytest.approx(2.3 * 0.5, rel=2e-3)  # 10 A of 230 V; the other has no car
    site.start()
    answer, _ = site.say(ON)
    assert "1.1 kWh curtailed in 2026, allowed 1 kWh" in answer["why"]


def test_what_was_flagged_while_it_lasted_is_flagged_and_told_once_after_a_restart_too(contact):
    at = contact({})
    at.say(ON, then_h=2.5)
    at.start()
    assert at.wait(0.1) == []
    at.say(OFF)
    at.start()
    at.dim.close()
    assert at.account()["calls_beyond"] == 1


def test_what_a_full_disk_wrote_late_counts_from_when_it_was_said(contact):
    at = contact({})
    at.say(ON | {"for_s": 3600.0})
    (entry,) = [each for each in read_entries(at.path) if each.kind == "decided"]
    late = replace(entry, utc_ns=entry.utc_ns + 7_200_000_000_000)
    accounts = DimAccounts(at.port.contracts)
    accounts.restore(late)
    assert accounts.states(at.now_s + 7200.0)["par14a"]["hours"] == pytest.approx(1.0)


def test_what_only_the_image_knew_is_journaled_when_it_is_carried(contact):
    at = contact({})
    at.full = True
    at.say(ON)
    until_s, at.full = at.dim.until_s, False
    at.start()
    at.dim.carry({"dim_until_s": until_s})
    at.start()
    assert at.dimmed


def test_a_forgotten_account_entry_does_not_keep_the_rest_from_being_restored(contact):
    at = contact({})
    at.say(ON, then_h=1.0)
    at.journal.redact("par14a", round(at.now_s * 1e9) + 1, "retention ended")
    at.start()
    at.dim.close()
    assert at.dimmed and at.account()["hours"] == pytest.approx(1.0)
