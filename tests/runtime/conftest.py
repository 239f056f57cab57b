"""Build a small site with its shared files."""

from pathlib import Path

import pytest
from foreseeable import allow_override

from controller.law import image
from controller.runtime import stores
from controller.runtime.site import ChargerPort, Site

N, M = 3, 2


@pytest.fixture
def decide():
    return allow_override


@pytest.fixture
def site(tmp_path: Path) -> Site:
    run_dir, store_dir = tmp_path / "run", tmp_path / "store"
    run_dir.mkdir()
    names = [f"cp{i}" for i in range(N)]
    made = Site(
        name="test",
        stage="bench",
        period_s=0.1,
        utc_minus_mono_ns=1_700_000_000_000_000_000,
        utc_offset_s=3600.0,
        store_dir=str(store_dir),
        run_dir=str(run_dir),
        seed=7,
        dims=(N, M, 0, 2),
        charger_names=names,
        node_names=["transformer", "head"],
        chargers=[
            ChargerPort(name=name, model="keba-p30", address="modbus+tcp://127.0.0.1:1", failsafe_a=0, failsafe_s=10)
            for name in names
        ],
    )
    stores.prepare(made)
    image.allocate("plan", made.image_dims())[0].tofile(made.store("plan.bin"))
    (tmp_path / "site.json").write_text(made.model_dump_json())
    return made
