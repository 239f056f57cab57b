"""Keys, journal and what no wire carries are looked at before anything starts."""

import sqlite3
from types import SimpleNamespace

import pytest

from controller.runtime.journal import NAME, Journal
from hil.rig.orders_check import check_orders
from hil.rig.precheck import refuse_switching_on_wires
from hil.rig.rigfile import RigError


def test_a_key_file_that_is_none_is_named_by_its_place(tmp_path):
    (tmp_path / "bad").write_text("hmac:00")
    sources = {"operator": "", "dso": str(tmp_path / "bad"), "aggregator": str(tmp_path / "none")}
    with pytest.raises(RigError) as told:
        check_orders("site.toml", sources)
    text = str(told.value)
    assert "site.toml:orders.source.dso" in text
    assert "site.toml:orders.source.aggregator" in text
    assert "operator" not in text


def test_a_journal_that_was_changed_stops_the_start_and_a_whole_one_does_not(tmp_path):
    check_orders("site.toml", {}, tmp_path)  # none yet
    journal = Journal(tmp_path / NAME)
    for _ in range(3):
        journal.append("opened", source="orders")
    journal.close()
    check_orders("site.toml", {}, tmp_path)
    with sqlite3.connect(tmp_path / NAME) as base:
        base.execute("UPDATE entry SET subject = 'x' WHERE no = 2")
    base.close()
    with pytest.raises(RigError, match=r"site.toml:orders.journal.*entry 2") as told:
        check_orders("site.toml", {}, tmp_path)
    assert "keep it aside" in str(told.value)


def test_phase_switching_is_refused_in_real_time_where_the_model_has_no_register_for_it():
    keba = SimpleNamespace(name="a", model="keba-p30", switch_phases=True)
    deaf = SimpleNamespace(name="b", model="abb-terra-ac", switch_phases=True)
    with pytest.raises(RigError, match=r"b \(abb-terra-ac\).*use --fast") as told:
        refuse_switching_on_wires(SimpleNamespace(rig=SimpleNamespace(charger=[keba, deaf])))
    assert "keba" not in str(told.value)
    refuse_switching_on_wires(SimpleNamespace(rig=SimpleNamespace(charger=[keba])))
