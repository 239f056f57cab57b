"""Read families that are like another, their variants, and what a rig may ask of them."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from instruments import catalog
from instruments.catalog import CatalogError, load_model, read_model
from instruments.faults import FaultKind, PortFault
from instruments.scpi_dialect import SafeOff, Step, Transport, Watchdog
from instruments.scpi_wants import Wants, problems, refuse

EA = catalog.FOLDER / "ea_psb.toml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a catalog folder with one family in it."""
    shutil.copy(EA, tmp_path)
    return tmp_path


def heir(folder: Path, text: str, name: str = "heir") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(f'like = "ea-psb"\n{text}\n[model]\nname = "{name}"\n')
    return path


def test_a_family_that_is_like_another_has_its_tables_and_its_own_words(folder: Path) -> None:
    path = heir(folder, 'drop = ["scpi.roles.dc_supply", "scpi.variants"]')
    path.write_text(path.read_text() + "[scpi.quantities.set_v]\nmax = 60.0\n")
    own, parent = read_model(path).scpi, load_model("ea-psb").scpi
    assert own is not None and parent is not None
    assert list(own.roles) == ["bidirectional_supply"] and not own.variants
    assert own.quantities["set_v"].max == 60.0 and own.quantities["set_v"].header == parent.quantities["set_v"].header
    assert own.safe_off == parent.safe_off and parent.quantities["set_v"].max == 1020.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('drop = ["scpi.roles.ac_source"]', "drop = 'scpi.roles.ac_source': ea-psb has no such key"),
        ('drop = ["scpi.quantities.volt_limit_v"]', "protection names unknown quantity volt_limit_v"),
        ('drop = ["scpi.safe_off"]', "scpi.safe_off: is missing and required"),
        ('drop = ["scpi.roles.bidirectional_supply", "scpi.variants"]', "role bidirectional_supply has no block"),
    ],
)
def test_a_bad_heir_is_refused_by_file_and_key(folder: Path, text: str, said: str) -> None:
    with pytest.raises(CatalogError) as caught:
        read_model(heir(folder, text))
    assert said in str(caught.value) and "heir.toml" in str(caught.value)


def test_a_circle_and_an_unknown_parent_are_refused(folder: Path) -> None:
    (folder / "ea_psb.toml").write_text('like = "heir"\n')
    with pytest.raises(CatalogError, match="goes round in a circle"):
        read_model(heir(folder, ""))
    (folder / "ea_psb.toml").unlink()
    with pytest.raises(CatalogError, match="no such family ea-psb"):
        read_model(heir(folder, ""))


def test_a_variant_is_named_behind_its_family_and_found_by_what_it_answers() -> None:
    model = load_model("ea-psb/psb-10500-180")
    assert model.model.name == "ea-psb/psb-10500-180" and model.scpi is not None
    assert model.scpi.rating.max_v == 500.0 and model.scpi.quantities["set_v"].max == 510.0
    family = load_model("ea-psb").scpi
    assert family is not None
    assert family.variant_for(model.scpi.identity.sample).rating.max_v == 500.0
    assert family.variant_for(family.identity.sample).rating.max_v == 1000.0
    with pytest.raises(CatalogError, match=r"psb-1: no such variant of ea-psb; it has psb-10500-180"):
        load_model("ea-psb/psb-1")
    with pytest.raises(CatalogError, match="it has none"):
        load_model("keba-p30/x")


@pytest.mark.parametrize(
    ("model", "wants", "said"),
    [
        ("ea-psi", Wants("bidirectional_supply", "voltage"), "ea-psi is no bidirectional_supply; it can be dc_supply"),
        ("keba-p30", Wants("ac_source", "one"), "keba-p30 speaks modbus"),
        ("ea-psb", Wants("dc_supply", "current"), "mode: current; it can: voltage"),
        ("chroma-61500", Wants("ac_source", "one", frequency_hz=5.0), "frequency: 5 Hz; it can: 15..1000 Hz"),
        ("ea-psb", Wants("dc_supply", "voltage", slew=True), "slew: not settable"),
        ("chroma-61500", Wants("ac_source", "one", sinks=True), "sink: takes no power in"),
        ("ea-psb", Wants("dc_supply", "voltage", measures=("volt", "thd")), "measures: thd; it can: volt, amp, power"),
        ("keysight-n6700", Wants("dc_supply", "voltage", channel=5), "channel: 5; it can: 1..4"),
        ("chroma-61500", Wants("ac_source", "three", amp_a=32.0), "amps: 32 A; it can: 24 A at most"),
        ("ea-psb/psb-10500-180", Wants("bidirectional_supply", "voltage", volt_v=800.0), "volts: 800 V; it can: 500 V"),
        ("ea-psb", Wants("bidirectional_supply", "voltage", sink_a=math.nan), "sink amps: nan A"),
    ],
)  # fmt: skip
def test_what_a_model_cannot_do_is_told_before_the_run_with_what_it_can(model: str, wants: Wants, said: str) -> None:
    found = problems("psu", load_model(model), wants)
    assert len(found) == 1 and said in found[0] and found[0].startswith("psu:")
    with pytest.raises(PortFault) as caught:
        refuse("psu", load_model(model), wants)
    assert caught.value.kind == FaultKind.INTERLOCK and caught.value.device == "psu"


def test_what_a_model_can_do_is_not_refused() -> None:
    wants = Wants("ac_source", "three", volt_v=253.0, amp_a=16.0, va=12000.0, frequency_hz=50.0, angle=True)
    assert problems("grid", load_model("chroma-61500"), wants) == []
    refuse("grid", load_model("chroma-61500"), wants)


WHERE: dict[str, Any] = {"source": "made up", "verified": "P"}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Transport(kind="socket", **WHERE), "needs its port"),
        (lambda: Transport(kind="serial", **WHERE), "needs its baud"),
        (lambda: Watchdog(kind="any_io", **WHERE), "needs arm, on_expiry"),
        (lambda: Watchdog(kind="none", feed="X", **WHERE), "feed belongs to kind service"),
        (lambda: SafeOff(steps=[Step(send="OUTP OFF,(@{channel})")], **WHERE), "placeholder"),
        (lambda: SafeOff(steps=[Step(send="OUTP OFF", ask="OUTP?", expect="=0")], **WHERE), "regular expression only"),
        (lambda: SafeOff(steps=[Step(send="*RST")], **WHERE), "no way to a safe state"),
        (lambda: Step(send="X", ask="X?"), "belong together"),
    ],
)
def test_a_block_that_cannot_work_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_a_watchdog_is_trusted_only_where_the_vendor_says_that_it_switches_off() -> None:
    trusted = {m.model.name for m in catalog.all_models() if m.scpi is not None and m.scpi.watchdog.trusted}
    assert "keysight-rp7900" in trusted and "ea-psb" not in trusted  # that an EA's output goes off is recalled
    rp = load_model("keysight-rp7900").scpi
    assert rp is not None
    assert not rp.watchdog.model_copy(update={"on_expiry": "flag"}).trusted
    assert not rp.watchdog.model_copy(update={"verified": "D"}).trusted
