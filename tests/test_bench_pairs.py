"""Put every AC source and every AC load of the catalog on the bench, by the model's name in the rig file alone."""

import re
from pathlib import Path

import pytest
from bench_lab import ac_lab

from hil.rig.assembler import assemble
from hil.rig.rigfile import RigError, load_rig
from instruments.catalog import all_models, load_model

RIG = Path(__file__).parents[1] / "profiles" / "rigs" / "bench_3p.toml"
SOURCE, LOAD = "chroma-61500", "itech-it8600"
CAR_A = 6.0  # the least that a car charges at: small sources can give it


def with_role(role: str) -> list[str]:
    """Return the names of the families that can play a role on a single-phase bench."""
    parts = [(model.model.name, model.scpi.roles) for model in all_models() if model.scpi is not None]
    return [name for name, roles in parts if role in roles and "one" in roles[role].cycle]  # type: ignore[index]


def rig_text(source: str, load: str, analyzer: str = "") -> str:
    """Return a single-phase rig with these models: the three-phase one without its further loads."""
    text = re.sub(r"\[bench\.(load_l\d|analyzer)\].*?(?=\n\[)", "", RIG.read_text(), flags=re.S)
    text = text.replace("phases = 3\n", "").replace("hard_max_a = 16.0", f"hard_max_a = {CAR_A}")
    for model, role in ((source, "ac_source"), (load, "ac_load")):
        part = load_model(model).scpi
        assert part is not None
        top_a = min(20.0, part.roles[role].rating.of("one").max_a)  # type: ignore[index]
        default = SOURCE if role == "ac_source" else LOAD
        old = f'model = "{default}"\ntwin = true\nhard_max_v = (2..)\\.0\nhard_max_a = 20.0'
        text, count = re.subn(old, rf'model = "{model}"\ntwin = true\nhard_max_v = \1.0\nhard_max_a = {top_a}', text)
        assert count == 1
    if analyzer:
        text = text.replace(
            "[bench.adapter]", f'[bench.analyzer]\nname = "wt"\nmodel = "{analyzer}"\ntwin = true\n\n[bench.adapter]'
        )
    return text


PAIRS = [(source, LOAD) for source in with_role("ac_source")] + [(SOURCE, load) for load in with_role("ac_load")]


@pytest.mark.parametrize(("source", "load"), sorted(set(PAIRS)))
def test_a_pair_charges_agrees_and_goes_off(tmp_path: Path, source: str, load: str) -> None:
    path = tmp_path / "rig.toml"
    path.write_text(rig_text(source, load))
    rating = load_model(source).scpi.roles["ac_source"].rating.of("one")  # type: ignore[union-attr]
    if rating.max_a < CAR_A:
        with pytest.raises(RigError, match=r"bench\.source\.hard_max_a.*draw up to 6 A"):
            load_rig(str(path))
        return
    with ac_lab(assemble(load_rig(str(path))), tmp_path, CAR_A) as lab:
        assert lab.run(4.0) == 0, lab.told[-1]
        node_v = float(lab.world.bench_node_v()[0])
        assert lab.last("volt_v")[0] == pytest.approx(node_v, abs=1.0)
        assert lab.last("load_v")[0] == pytest.approx(node_v, abs=1.0)
        assert lab.last("amp_a")[0] == pytest.approx(CAR_A, abs=0.1)
        assert lab.last("load_a")[0] == pytest.approx(CAR_A, abs=0.1)
        assert lab.kinds()[-1] == "bench_off" and lab.off()


def test_an_analyzer_beside_the_source_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    path.write_text(rig_text(SOURCE, LOAD, "zes-lmg"))
    with ac_lab(assemble(load_rig(str(path))), tmp_path, CAR_A) as lab:
        assert lab.run(4.0) == 0, lab.told[-1]
        assert lab.last("analyzer_a")[0] == pytest.approx(CAR_A, abs=0.1)
        assert lab.last("analyzer_w")[0] == pytest.approx(lab.last("volt_v")[0] * CAR_A, rel=0.01)


def test_an_analyzer_that_is_lost_does_not_stop_the_bench(tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    path.write_text(rig_text(SOURCE, LOAD, "zes-lmg"))
    with ac_lab(assemble(load_rig(str(path))), tmp_path, CAR_A) as lab:

        def lose() -> None:
            if lab.clock.now_s > 1003.0:
                lab.each = lambda: None
                lab.loop.do(lab.twins.servers["analyzer"].stop())

        lab.each = lose
        assert lab.run(5.0) == 0 and "bench_analyzer_lost" in lab.kinds()
        assert lab.last("amp_a")[0] == pytest.approx(CAR_A, abs=0.1) and lab.off()
