"""The site file: what is wrong is told at once by file and key, what is right becomes the plan that the law sees."""

import copy
import json
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from commandline import ENVIRONMENT, ROOT, VOLTBENCH, toml_text
from field_site import field_rig, site_of

from controller.law.names import VoltSource
from controller.runtime.commission_measure import Finding
from hil.rig.rigfile import RigError
from hil.rig.site_file import load_site
from hil.runs.commissioning import proposal
from instruments.ocpp_security import hash_password

PHASES = {"cp01": ["b"], "cp02": ["c", "a", "b"], "cp08": ["a"]}


@pytest.fixture
def good(street):
    rig = field_rig(street)
    names = [part["name"] for part in rig["charger"]]
    devices = {name: {"address": f"modbus+tcp://127.0.0.1:{502 + k}"} for k, name in enumerate(names)}
    return site_of(rig, devices | {"substation": {"address": "opc.tcp://127.0.0.1:4840"}}, PHASES)


@pytest.fixture
def load(tmp_path):
    def act(site):
        path = tmp_path / "corner.toml"
        path.write_text(toml_text(site))
        return load_site(str(path))

    return act


def test_a_site_file_becomes_the_plan_it_says(good, load):
    good["charger"][0] |= {"obey_s": 21.0, "hard_max_a": 20.0}
    loaded = load(good)
    _, plan = loaded.dims, loaded.spec
    assert loaded.points == {"transformer": [0], "head": [1], "poc": [2, 3, 4]}
    assert loaded.measured == [2, 3, 4]
    assert [charger.phase_map for charger in plan.chargers] == [(1, -1, -1), (2, 0, 1), (0, -1, -1)]
    assert (plan.chargers[0].obey_s, plan.chargers[0].hard_max_a) == (21.0, 20.0)
    assert [node.limit_a for node in plan.nodes] == [1110.0, 315.0, 40.0, 40.0, 40.0]
    assert np.fromiter((node.parent for node in plan.nodes), dtype=int).tolist() == [-1, 0, 1, 1, 1]


def change(site, table, key, value):
    rows = site[table] if isinstance(site[table], list) else [site[table]]
    rows[0][key] = value


@pytest.mark.parametrize(
    ("table", "key", "value", "told"),
    [
        ("charger", "nodde", "x", "corner.toml:charger[0].nodde = \"x\": unknown key; did you mean node?"),
        ("charger", "node", "poc_cp1", "corner.toml:charger[0].node = \"poc_cp1\": no node of this name; did you mean"),
        ("charger", "model", "keba-p3", "corner.toml:charger[0].model"),
        ("charger", "address", "10.0.0.1:502", "charger[0].address = \"10.0.0.1:502\": allowed: modbus+tcp://host:port"),
        ("charger", "phase_map", ["a", "a"], "charger[0].phase_map = [\"a\", \"a\"]: a, b and c once each"),
        ("charger", "failsafe_a", 3.0, "charger[0].failsafe_a = 3 A: 0, or 6 to 32 A"),
        ("charger", "hard_max_a", 63.0, "charger[0].hard_max_a = 63 A: keba-p30 takes at most 32 A"),
        ("charger", "unit", 3, "charger[0].unit = 3: allowed none, the family fixes it"),
        ("charger", "connector", 2, "charger[0].connector = 2: allowed 1..1"),
        ("charger", "model", "eprowallbox", "charger[0].model = \"eprowallbox\": cannot be driven: public"),
        ("charger", "name", "cp02", "charger[1].name = \"cp02\": stands twice"),
        ("node", "parent", "moon", "node[0].parent = \"moon\": no node before this one"),
        ("node", "meter", "head", "node[1].meter = \"head\": measures node transformer already"),
        ("node", "limit_a", "1110 A", "node[0].limit_a = \"1110 A\": a number in A is needed"),
        ("site", "timezone", "Mars", "site.timezone = \"Mars\": no IANA time zone"),
        ("substation", "address", "x", "substation.address = \"x\": allowed: opc.tcp://host:port"),
    ],
)  # fmt: skip
def test_each_error_names_its_key_its_value_and_what_is_allowed(good, load, table, key, value, told):
    change(good, table, key, value)
    with pytest.raises(RigError) as caught:
        load(good)
    assert any(told in str(problem) for problem in caught.value.problems), caught.value


def test_all_errors_are_told_at_once(good, load):
    change(good, "charger", "node", "nowhere")
    change(good, "site", "timezone", "Mars")
    with pytest.raises(RigError) as caught:
        load(good)
    assert len(caught.value.problems) == 2


def test_a_group_that_is_not_named_whole_is_refused(good, load):
    good["node"][3]["meter"] = "poc[5]"
    with pytest.raises(RigError, match=r"no node has poc\[1\], poc\[3\], poc\[4\]"):
        load(good)


def test_volts_in_whole_steps_bar_the_droop_where_no_meter_stands(good, load):
    meters = good["node"]
    for node in meters[2:]:
        del node["meter"]
    with pytest.raises(RigError, match="keba-p30 reads volts in steps of 1 V, too coarse for a droop"):
        load(good)


def test_failsafes_that_exceed_a_node_together_are_refused_with_the_sum(good, load):
    for part in good["charger"]:
        part["failsafe_a"] = 16.0
    load(good)
    good["node"][1]["limit_a"] = 31.0
    with pytest.raises(
        RigError, match=r"node head: fail-safes of cp01, cp02, cp08 together = 32 A on phase a; allowed"
    ):
        load(good)
    good["node"][1] |= {"limit_a": 315.0, "limit_w": 18000.0}
    with pytest.raises(RigError, match=r"together = 18400 W; allowed is 18000 W"):
        load(good)


def test_a_charger_without_a_failsafe_counts_with_all_it_may_take(good, load):
    good["charger"] = [good["charger"][0] | {"model": "evtec-dc", "phase_map": ["a", "b", "c"], "hard_max_a": 40.0}]
    good["node"][2]["limit_a"] = 39.0
    good["charger"][0]["failsafe_a"] = 0.0
    with pytest.raises(
        RigError, match=r"node poc_cp01: fail-safes of cp01 together = 40 A on phase a; allowed is 39 A"
    ):
        load(good)


def test_equalised_droop_needs_the_drop_of_every_charger(good, load):
    good["law"]["droop"] = copy.deepcopy(good["law"]["droop"]) | {"fairness": "equalised"}
    with pytest.raises(RigError) as caught:
        load(good)
    assert len(caught.value.problems) == 3
    for part in good["charger"]:
        part["nominal_drop_pu"] = 0.01
    assert load(good).spec.chargers[0].nominal_drop_pu == 0.01


def test_the_schema_of_the_site_file_is_printed():
    ended = subprocess.run(
        [*VOLTBENCH, "schema", "--site"], env=ENVIRONMENT, capture_output=True, text=True, timeout=240
    )
    assert ended.returncode == 0, ended.stderr
    tables = {
        "site",
        "law",
        "node",
        "charger",
        "substation",
        "opcua",
        "contract",
        "orders",
        "openadr",
        "s2",
        "csms",
        "meter",
    }
    assert set(json.loads(ended.stdout)["properties"]) == tables


def test_the_field_needs_no_plant_and_no_twin():
    names = "hil.cli, hil.runs.commands, hil.runs.field, hil.runs.commissioning, hil.rig.site_file"
    code = f"import {names}, sys; print([m for m in sys.modules if m.startswith(('hil.plant', 'hil.twins'))])"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert ended.stdout.strip() == "[]", ended.stdout + ended.stderr


def test_chargers_behind_one_address_keep_unit_and_connector(good, load):
    good["charger"][0] |= {"model": "heidelberg-ec", "unit": 7, "hard_max_a": 16.0}
    good["charger"][1] |= {"model": "phoenix-charx", "connector": 3, "failsafe_a": 32.0, "hard_max_a": 32.0}
    ports = load(good).charger_ports()
    assert [(port.unit, port.connector) for port in ports[:2]] == [(7, 1), (None, 3)]
    assert ports[2].unit is None


def test_a_secured_substation_names_the_files_that_it_lacks(good, load):
    good["substation"]["security"] = "sign_and_encrypt"
    with pytest.raises(RigError, match=r"substation\.security: certificate and key are needed: `voltbench"):
        load(good)


def test_a_site_shares_a_capacity_among_connections_and_refuses_a_stack_that_does_not_fit(good, load):
    good["contract"] = [{"file": "group_cluster", "chargers": ["cp01", "cp02"]}]
    site = load(good)
    (group,) = site.spec.groups
    assert (group.limit_w, [site.spec.nodes[m].name for m in group.members]) == (60_000.0, ["poc_cp01", "poc_cp02"])
    good["contract"] = [{"file": "anm_lifo", "chargers": ["cp01", "cp02"]}]
    with pytest.raises(RigError, match="contract anm_lifo: member = cp03; allowed is a"):
        load(good)


@pytest.fixture
def dialling(good):
    """Return the good site with two OCPP points and the server that they dial."""
    for part, model in zip(good["charger"][:2], ("ocpp16-generic", "ocpp201-generic"), strict=True):
        part |= {"model": model, "address": f"ws://10.0.0.2:9000/street/{part['name']}", "failsafe_s": 20.0}
    good["csms"] = {"host": "0.0.0.0", "port": 9000}
    return good


def test_ocpp_points_stand_in_a_site_file_beside_others(dialling, load):
    loaded = load(dialling)
    assert [port.phases for port in loaded.charger_ports()] == [1, 3, 1]
    assert (loaded.csms_port().host, loaded.csms_port().port, loaded.csms_port().security) == ("0.0.0.0", 9000, 0)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("address", "ws://10.0.0.2:9000/", "allowed: ws://host:port/identity"),
        ("address", "modbus+tcp://10.0.0.2:502", "allowed: ws://host:port/identity"),
        ("address", "ws://10.0.0.2:9001/cp01", "csms.port = 9000: charger[0] dials port 9001; write port = 9001"),
        ("address", "wss://10.0.0.2:9000/cp01", "csms.security = 0 is ws://"),
        ("address", "ws://10.0.0.2:9000/street/cp02", "identity cp02 is that of charger[0]"),
        ("failsafe_s", 2.0, "charger[0].failsafe_s = 2 s: an order's duration: 3 to 86400 s"),
        ("unit", 1, "charger[0].unit = 1: an OCPP point has none"),
        ("connector", 2, "charger[0].connector = 2: ocpp16-generic commands connector 1"),
    ],
)
def test_what_is_wrong_with_an_ocpp_point_is_told(dialling, load, key, value, told):
    dialling["charger"][0][key] = value
    with pytest.raises(RigError) as caught:
        load(dialling)
    assert told in str(caught.value)


def test_the_door_of_the_site_is_tried_before_anything_starts(dialling, load, tmp_path):
    dialling["csms"] |= {"security": 1, "passwords": "points.scrypt"}
    path = tmp_path / "points.scrypt"
    with pytest.raises(RigError, match="no such file"):
        load(dialling)
    path.write_text(f"cp01:{hash_password('secret')}\n")
    path.chmod(0o644)
    with pytest.raises(RigError, match="mode 0644"):
        load(dialling)
    path.chmod(0o600)
    with pytest.raises(RigError, match=r"no line for cp02, the identity of charger\[1\]"):
        load(dialling)
    path.write_text(path.read_text() + f"cp02:{hash_password('other')}\n")
    assert load(dialling).csms_port().passwords == str(path)  # beside the site file, from wherever it is started
    dialling["csms"] |= {"security": 2, "certificate": "server.pem"}
    for part in dialling["charger"][:2]:
        part["address"] = part["address"].replace("ws:", "wss:")
    with pytest.raises(RigError, match=r"csms\.certificate"):
        load(dialling)


METER = {"name": "m_head", "model": "sunspec-meter", "address": "modbus+tcp://127.0.0.1:1502", "node": "poc_cp01"}


def without_substation(site):
    """Return the site with nothing but its meters to measure its nodes."""
    del site["substation"]
    for node in site["node"]:
        node.pop("meter", None)
    return site


def test_a_meter_measures_a_node_where_no_substation_does(good, load):
    site = without_substation(good)
    site["charger"] = [part for part in site["charger"] if part["name"] == "cp01"]
    site["node"] = [node for node in site["node"] if node["name"] in ("transformer", "head", "poc_cp01")]
    site["meter"] = [METER | {"unit": 7, "max_age_s": 3.0, "hold_s": 9.0, "phase_map": ["b", "c", "a"]}]
    loaded = load(site)
    node = loaded.spec.nodes[2]
    assert (node.metered, node.max_age_s, node.hold_s) == (True, 3.0, 9.0)
    assert not loaded.spec.nodes[1].metered
    assert loaded.measured == [2]
    (port,) = loaded.meter_ports()
    assert (port.node, port.unit, port.phase_map, port.use) == (2, 7, (1, 2, 0), "law")


def test_a_charger_that_resolves_a_volt_takes_the_volts_of_its_meter(good, load):
    site = without_substation(good)
    site["charger"][0] |= {"model": "keba-p40"}  # 1 V
    with pytest.raises(RigError, match=r"too coarse for a droop; give the node a meter, or a \[\[meter\]\]"):
        load(site)
    site["meter"] = [METER | {"name": f"m_{part['name']}", "node": part["node"]} for part in site["charger"]]
    assert load(site).spec.chargers[0].volt_source is VoltSource.NODE


def test_commissioning_proposes_the_sign_of_a_meter_whose_transformers_are_turned(good, load):
    site = without_substation(good)
    site["meter"] = [METER | {"name": f"m_{part['name']}", "node": part["node"]} for part in site["charger"]]
    site["meter"][1]["ct_sign"] = -1
    signs = {"cp01": -1, "cp02": -1, "cp08": 1}
    found = [Finding(name, drew=True, sign=sign, steps=2) for name, sign in signs.items()]
    proposed = tomllib.loads(proposal(load(site), found))
    assert proposed["meter"] == [{"name": "m_cp01", "ct_sign": -1}, {"name": "m_cp02", "ct_sign": 1}]


def test_a_witness_gives_no_volts_and_measures_nothing_for_the_law(good, load):
    good["meter"] = [METER | {"use": "evidence"}]
    loaded = load(good)
    assert loaded.spec.nodes[2].max_age_s == good["substation"].get("max_age_s", 2.0)
    assert [port.use for port in loaded.meter_ports()] == ["evidence"]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("node", "poc_cp01", "meter[0].node = \"poc_cp01\": the substation measures poc_cp01 for the law"),
        ("model", "sunspec-der", "meter[0].model = \"sunspec-der\": is no meter, it is der"),
        ("address", "opc.tcp://127.0.0.1:4840", "meter[0].address"),
        ("name", "cp01", "meter[0].name = \"cp01\": stands twice"),
    ],
)  # fmt: skip
def test_a_meter_that_does_not_fit_is_refused(good, load, key, value, told):
    good["meter"] = [METER | {key: value}]
    with pytest.raises(RigError) as refused:
        load(good)
    assert told in str(refused.value)
