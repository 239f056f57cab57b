"""Refuse benches that cannot work before anything is opened: file, key, value, and what is allowed."""

from pathlib import Path

import pytest

from hil.rig.assembler import assemble
from hil.rig.rigfile import RigError, load_rig

RIGS = Path(__file__).parents[2] / "profiles" / "rigs"
MORE = "[bench.load_l3]"


def refused(folder: Path, rig: str, *changes: tuple[str, str]) -> dict[str, str]:
    """Return {key: value and what is allowed} of a bundled rig with parts of its text replaced."""
    text = (RIGS / f"{rig}.toml").read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "bad.toml"
    path.write_text(text)
    with pytest.raises(RigError) as caught:
        load_rig(str(path))
    return {p.where.removeprefix("bad.toml:"): f"{p.value}: {p.allowed}" for p in caught.value.problems}


CASES = {
    "a load as source": (
        "bench_3p",
        ('"chroma-61500"', '"itech-it8600"'),
        "bench.source.model",
        "a ac_source is needed",
    ),
    "an unknown variant": ("bench_3p", ('"chroma-61500"', '"chroma-61500/x"'), "bench.source.model", "no such variant"),
    "a source of one phase": (
        "bench_3p",
        ('"chroma-61500"', '"keysight-ac6800"'),
        "bench.source.model",
        "3 are needed",
    ),
    "one phase on the bench": ("bench_3p", ("phases = 3\nphase_map", "phases = 1\nphase_map"), "bench.phases", "= 3"),
    "phases backwards": ("bench_3p", ('["a", "b", "c"]', '["a", "c", "b"]'), "bench.phase_map", "backwards"),
    "an output twice": ("bench_3p", ('["a", "b", "c"]', '["a", "a", "c"]'), "bench.phase_map", "a, b and c once"),
    "two loads": ("bench_3p", (MORE, "[other]"), "bench.load_l2", "need a load at each"),
    "volts over the rating": (
        "bench_3p",
        ("hard_max_v = 255.0", "hard_max_v = 350.0"),
        "bench.source.hard_max_v",
        "reaches 300 V",
    ),
    "amps below the car's": (
        "bench_3p",
        ("hard_max_a = 20.0", "hard_max_a = 10.0"),
        "bench.source.hard_max_a",
        "draw up to 16 A",
    ),
    "a charger of one phase": ("bench_dc", ("phases = 3\n", "phases = 1\n"), "charger[0].phases", "has 3"),
    "a car without a battery": (
        "bench_dc",
        ('"bev_400v_60kwh"', '"bev_3p_16a"'),
        "charger[0].vehicle",
        "no battery data",
    ),
    "a fail-safe that is none": (
        "bench_dc",
        ("failsafe_a = 16.0", "failsafe_a = 6.0"),
        "charger[0].failsafe_a",
        "no fail-safe of its own",
    ),
    "a sink too small": (
        "bench_dc",
        ("hard_sink_a = 32.0", "hard_sink_a = 20.0"),
        "bench.supply.hard_sink_a",
        "go up to 31.5 A",
    ),
    "a sink over the rating": (
        "bench_dc",
        ("hard_sink_a = 32.0", "hard_sink_a = 90.0"),
        "bench.supply.hard_sink_a",
        "reaches 80 A",
    ),
    "volts below the battery's": (
        "bench_dc",
        ("hard_max_v = 420.0", "hard_max_v = 390.0"),
        "bench.supply.hard_max_v",
        "up to 403 V",
    ),
    "more watts than the supply takes": (
        "bench_dc",
        ('"ea-psb"', '"itech-it-m3900"'),
        "bench.supply.model",
        "takes in",
    ),
    "a supply that only delivers": (
        "bench_dc",
        ('"ea-psb"', '"keysight-n5700"'),
        "bench.supply.model",
        "bidirectional_supply is needed",
    ),
    "an AC charger before a supply": (
        "bench_dc",
        ('"evtec-dc"', '"alfen-ng9xx"'),
        "bench.supply",
        "gives alternating current",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_work_is_told_with_key_value_and_what_is_allowed(tmp_path: Path, case: str) -> None:
    rig, change, key, allowed = CASES[case]
    found = refused(tmp_path, rig, change)
    assert key in found, found
    assert allowed in found[key]


def test_a_bench_is_of_one_kind(tmp_path: Path) -> None:
    both = '[bench.load]\nname = "x"\nmodel = "itech-it8600"\ntwin = true\nhard_max_v = 250.0\nhard_max_a = 20.0\n\n'
    found = refused(tmp_path, "bench_dc", ("[bench.supply]\nname", f"{both}[bench.supply]\nname"))
    assert "a DC bench has a supply, an AC bench source and load" in found["bench"]
    found = refused(tmp_path, "bench_3p", ("[bench.adapter]", "[other]"))
    assert "adapter missing" in found["bench"]


@pytest.mark.parametrize("rig", ["street", "bench_3p", "bench_dc"])
def test_the_bundled_benches_pass(rig: str) -> None:
    assert load_rig(rig).rig.bench is not None


def test_a_source_that_cannot_sink_is_refused_with_a_car_that_feeds_back(tmp_path: Path) -> None:
    car = ('vehicle = "bev_3p_16a"', 'vehicle = "v2g_3p_16a"')
    found = refused(tmp_path, "bench_3p", car)
    assert found == {
        "bench.source.model": '"chroma-61500": cannot sink, and v2g_3p_16a feeds back up to 16 A: take a source that '
        "sinks, or another car"
    }
    text = (RIGS / "bench_3p.toml").read_text().replace(*car).replace('"chroma-61500"', '"chroma-61800"')
    (tmp_path / "good.toml").write_text(text)
    assert load_rig(str(tmp_path / "good.toml")).vehicles["v2g_3p_16a"].discharge_max_a == 16.0


@pytest.mark.parametrize(
    ("table", "key", "told"),
    [
        ('name = "pilot"\ntwin = true', "model", 'is missing and required; an operator is by = "hand"'),
        ('name = "pilot"\nby = "hand"\ntwin = true', "twin", "an operator is no device"),
        ('name = "pilot"\nby = "hand"\nmodel = "cp-adapter"', "model", "an operator is no device"),
        ('name = "pilot"\nmodel = "relay-card"\ntwin = true', "model", "a ev_adapter is needed"),
        ('name = "pilot"\nmodel = "cp-adapter"\ntwin = true\ncable_a = 16', "cable_a", "13, 20, 32 or 63"),
        (
            'name = "pilot"\nmodel = "pilot-relays"\ntwin = true\ncoils = { pilot_b = 1 }',
            "coils",
            "carries more than one coil",
        ),
    ],
)
def test_a_pilot_is_a_device_or_an_operator(tmp_path: Path, table: str, key: str, told: str) -> None:
    found = refused(tmp_path, "bench_3p", ('name = "pilot"\nmodel = "cp-adapter"\ntwin = true', table))
    assert told in found[f"bench.adapter.{key}"], found


def test_a_cable_holds_law_charger_and_car(tmp_path: Path) -> None:
    text = (RIGS / "bench_3p.toml").read_text().replace('model = "cp-adapter"', 'model = "cp-adapter"\ncable_a = 13')
    (tmp_path / "cable.toml").write_text(text)
    assembly = assemble(load_rig(str(tmp_path / "cable.toml")))
    assert assembly.evse[0].hard_max_a == assembly.plan().hard_max_a[0] == 13.0


@pytest.mark.parametrize(
    ("asked", "model", "key", "told"),
    [
        ("frequency_hz = 5.0", "chroma-61500", "frequency_hz", "5.0 Hz: chroma-61500 reaches 15..1000 Hz"),
        ("angles_deg = [120.0, 240.0]", "ametek-mx", "angles_deg", "not settable on this family"),
        ("angles_deg = [120.0, 400.0]", "chroma-61500", "angles_deg[1]", "less than or equal to 360"),
    ],
)
def test_what_is_asked_of_the_source_is_what_its_family_can_do(
    tmp_path: Path, asked: str, model: str, key: str, told: str
) -> None:
    change = ('"chroma-61500"', f'"{model}"'), ("hard_max_v = 255.0", f"{asked}\nhard_max_v = 255.0")
    found = refused(tmp_path, "bench_3p", *change)
    assert told in found[f"bench.source.{key}"], found
