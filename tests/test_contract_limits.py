"""Contracts whose limits are handed in or shared: files, what the law is given, and what is refused."""

import tomllib
from dataclasses import replace

import pytest
from pydantic import ValidationError

from controller.law import lpc
from controller.runtime.contract_limits import GUARD_MAX_AGE_S, dimmed_w, with_limits
from controller.runtime.contract_plan import Binding
from controller.runtime.contract_recovery import with_recovery
from controller.runtime.lpc_system import machine_settings
from controller.runtime.plan import ChargerSpec, NodeSpec, PlanError, SiteSpec
from hil.runs.folder import keep_contracts
from profiles.contract import HERE, READER, contract_path, kept_contracts, load_contract

INF = float("inf")
NODES = [NodeSpec("head", -1), *(NodeSpec(f"poc{k}", 0) for k in range(3))]
CHARGERS = [ChargerSpec(f"cp0{k + 1}", k + 1, (0, 1, 2), 16.0, 15.0, 5.0, 0.0, 60.0, 0.1) for k in range(3)]
ALL = (0, 1, 2)
MINE = ["anm_lifo", "anm_prorata", "group_cluster", "operating_envelope", "lpc_guard", "lpp_guard", "par14a"]


def changed(name, **keys):
    """Return a bundled contract with other values; a dotted key goes a table down."""
    data = tomllib.loads((HERE / f"{name}.toml").read_text())
    for key, value in keys.items():
        *above, last = key.split("__")
        place = data
        for part in above:
            place = place[part]
        place[last] = value
    return READER.validate_python(data)


@pytest.mark.parametrize("name", MINE)
def test_bundled_contracts_name_themselves_their_source_and_how_well_it_is_verified(name):
    contract = load_contract(name)
    assert contract.name == name
    assert contract.source
    assert contract.verified in {"V", "R+", "example"}


@pytest.mark.parametrize(
    ("name", "keys", "says"),
    [
        ("par14a", {"limit__point": "connection"}, "the household is not dimmed"),
        ("par14a", {"limit__direction": "export"}, "of import"),
        ("par14a", {"device": [{"kind": "toaster", "power_w": 900.0}]}, "charge_point"),
        ("lpc_guard", {"failsafe_min_s": 3600.0}, "7200"),
        ("lpc_guard", {"failsafe_w": -1.0}, "greater than or equal to 0"),
        ("lpc_guard", {"failsafe_w": 9e9}, "allowed up to max_w"),
        ("lpc_guard", {"heartbeat_s": 61.0}, "60"),
        ("lpc_guard", {"on_failsafe_expiry": "maybe"}, "'stay' or 'release'"),
        ("anm_lifo", {"member": []}, "with its date"),
        ("operating_envelope", {"max_age_s": 60.0}, "allowed from interval_s, 300 s"),
        ("operating_envelope", {"limit__point": "station"}, 'at a "connection"'),
        ("group_cluster", {"limit_w": -5.0}, "greater than or equal to 0"),
    ],
)
def test_a_contract_that_says_something_impossible_is_refused(name, keys, says):
    with pytest.raises(ValidationError, match=says):
        changed(name, **keys)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("08:30", ""),
        ("08:30:00", ""),
        ("8:30", "write 08:30:00"),
        ("25:00", "write 08:30:00"),
        ("08:30+01:00", "timezone"),
    ],
)
def test_a_time_of_day_may_be_written_as_text_too(written, says):
    if says:
        with pytest.raises(ValidationError, match=says):
            changed("tdtr", notice__announce_by=written)
        return
    contract = changed("tdtr", notice__announce_by=written, moment=[{"from": "16:00", "until": "20:00"}])
    assert contract.notice == load_contract("tdtr").notice
    assert (contract.moment[0].from_s, contract.moment[0].to_s) == (16 * 3600.0, 20 * 3600.0)


def test_a_run_is_held_to_the_contract_as_it_was_whatever_its_file_says_today(tmp_path, monkeypatch):
    for folder in ("here", "there", "run"):
        (tmp_path / folder).mkdir()
    text = contract_path("tdtr").read_text()
    monkeypatch.chdir(tmp_path)
    for k, folder in enumerate(("here", "there")):
        (tmp_path / folder / "mine.toml").write_text(text.replace("200000.0", f"{k + 1}000.0"))
    names = ("here/mine.toml", "there/mine.toml", "tbtr", None)
    hashes = keep_contracts(tmp_path / "run", names)
    assert set(hashes) == {"contracts/here_mine.toml", "contracts/there_mine.toml", "contracts/tbtr.toml"}
    (tmp_path / "here" / "mine.toml").write_text(text)
    (tmp_path / "there" / "mine.toml").unlink()
    with kept_contracts(tmp_path / "run" / "contracts"):
        assert [load_contract(name).capacity_w for name in names[:2]] == [1000.0, 2000.0]
        assert load_contract("tdtr").capacity_w == 200_000.0  # one that the run did not keep
    assert load_contract("here/mine.toml").capacity_w == 200_000.0


def test_an_energy_guard_hands_in_at_its_node_and_the_failsafe_is_the_fall_back():
    contract = load_contract("lpc_guard")
    nodes, groups = with_limits([Binding(contract, nodes=(0,))], NODES, CHARGERS)
    assert (nodes[0].doe_max_age_s, nodes[0].subscribed_w, nodes[0].subscribed_export_w) == (
        GUARD_MAX_AGE_S,
        40_000.0,
        INF,
    )
    assert (groups, list(nodes[1:])) == ((), NODES[1:])
    told = machine_settings(contract)
    assert (told.direction, told.on_failsafe_expiry, told.max_w) == ("import", "release", 200_000.0)
    nodes, _ = with_limits([Binding(load_contract("lpp_guard"), nodes=(0,))], NODES, CHARGERS)
    assert (nodes[0].subscribed_w, nodes[0].subscribed_export_w) == (INF, 0.0)
    assert machine_settings(load_contract("lpp_guard")) == lpc.Settings(0.0, "export")


def test_an_operating_envelope_binds_the_connections_of_its_chargers_and_the_lowest_of_two_holds():
    mine = Binding(load_contract("operating_envelope"), (1,))
    other = Binding(changed("operating_envelope", subscribed_w=7000.0, limit__guard_band=0.1), (1, 2))
    nodes, _ = with_limits([mine, other], NODES, CHARGERS)
    assert [node.subscribed_w for node in nodes] == [INF, INF, 6300.0, 6300.0]


def test_section_14a_shares_the_floor_of_all_its_devices_and_leaves_the_pumps_theirs():
    _, (group,) = with_limits([Binding(load_contract("par14a"), ALL)], NODES, CHARGERS)
    assert (group.members, group.limit_w, group.rule) == ((1, 2, 3), INF, "cluster")
    assert group.dimmed_w == pytest.approx(10_500.0 * 0.99)
    pump = changed("par14a", device=[{"kind": "heat_pump", "power_w": 6000.0}], limit__guard_band=0.0)
    assert dimmed_w(pump, [11_040.0] * 3) == pytest.approx(13_020.0)
    _, (group,) = with_limits([Binding(pump, ALL)], NODES, CHARGERS)
    assert group.dimmed_w == pytest.approx(13_020.0 - 4200.0)
    _, each = with_limits([Binding(changed("par14a", mode="direct"), ALL)], NODES, CHARGERS)
    assert [(one.members, one.dimmed_w) for one in each] == [((k,), 4200.0) for k in (1, 2, 3)]
    _, (group,) = with_limits([Binding(changed("par14a", dimmed=True), ALL)], NODES, CHARGERS)
    assert group.limit_w == group.dimmed_w


def test_a_stack_goes_by_date_and_firm_parts_by_member():
    _, (group,) = with_limits([Binding(load_contract("anm_lifo"), (2, 0, 1))], NODES, CHARGERS)
    assert (group.members, group.stack, group.firm_w) == ((3, 1, 2), (2, 0, 1), (0.0, 0.0, 1400.0))
    back = changed("anm_prorata", limit__direction="export", limit__point="connection", constraint="head")
    _, (group,) = with_limits([Binding(back, ALL)], NODES, CHARGERS)
    assert (group.limit_w, group.export_w, group.rule, group.whole, group.node) == (INF, 60_000.0, "pro_rata", True, 0)


@pytest.mark.parametrize(
    ("contract", "bound", "says"),
    [
        (load_contract("anm_lifo"), (0, 1), r"member = cp03; allowed is a \[\[member\]\] for each charger"),
        (changed("anm_prorata", constraint="substation"), ALL, "constraint = 'substation'; allowed is head, poc0"),
    ],
)
def test_a_contract_that_does_not_fit_its_site_is_refused(contract, bound, says):
    with pytest.raises(PlanError, match=says):
        with_limits([Binding(contract, bound)], NODES, CHARGERS)


def test_load_comes_back_as_slowly_as_the_strictest_of_site_and_contracts_asks():
    """Two chargers of three phases share 690 W/s: 0.5 A/s each; nobody is made faster than the site lets."""
    chargers = tuple(replace(charger, ramp_up_a_per_s=1.0, random_delay_s=20.0) for charger in CHARGERS)
    site = SiteSpec(nodes=tuple(NODES), chargers=chargers, min_off_s=120.0)
    slow = changed("lpc_guard", recovery={"ramp_w_per_s": 690.0, "random_delay_s": 60.0, "min_off_s": 600.0})
    quick = changed("lpp_guard", recovery={"ramp_w_per_s": 69000.0, "random_delay_s": 5.0, "min_off_s": 10.0})
    found = with_recovery([Binding(slow, (0, 1)), Binding(quick, ALL), Binding(changed("par14a"), ALL)], site)
    assert [charger.ramp_up_a_per_s for charger in found.chargers] == pytest.approx([0.5, 0.5, 1.0])
    assert [charger.random_delay_s for charger in found.chargers] == [60.0, 60.0, 20.0]
    assert found.min_off_s == 600.0
    assert with_recovery([Binding(quick, ALL)], site) == site
