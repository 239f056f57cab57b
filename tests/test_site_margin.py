"""The droop's margin of a site in the field, from what commissioning measured."""

import pytest
from commandline import toml_text
from field_site import field_rig, site_of

from hil.rig.rigfile import RigError
from hil.rig.site_file import load_site
from hil.rig.site_margin import site_margin


def test_the_margin_needs_every_sensitivity_and_refuses_a_site_under_it(street, tmp_path):
    rig = field_rig(street)
    names = [part["name"] for part in rig["charger"]]
    devices = {name: {"address": f"modbus+tcp://127.0.0.1:{502 + k}"} for k, name in enumerate(names)}
    devices["substation"] = {"address": "opc.tcp://127.0.0.1:4840"}
    good = site_of(rig, devices, {name: ["a"] for name in names})
    path = tmp_path / "corner.toml"

    def load(site):
        path.write_text(toml_text(site))
        return load_site(str(path))

    assert "margin unknown without voltage_v_per_a of cp01, cp02, cp08" in site_margin(load(good))
    for part in good["charger"]:
        part["voltage_v_per_a"] = 0.2
    # three on one spot: gain 3 * 0.2 V/A * 32 A * (0.8125 / 0.04 pu) / 230 V
    assert f"loop gain at most {3 * 0.2 * 32 * 0.8125 / 0.04 / 230:.2f}" in site_margin(load(good))
    good["law"]["droop"] |= {"filter_s": 0.5}
    with pytest.raises(RigError, match=r"law\.droop.*dB"):
        site_margin(load(good))
