"""Where contracts bind and how they are listed: connections above stations, ports of calls, calls as evidence."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from commandline import ROOT

from controller.runtime.contract_plan import Binding, connection_of, places, plan_contracts
from controller.runtime.journal import Journal, read_entries
from controller.runtime.journal_orders import lives
from controller.runtime.order import Order
from controller.runtime.order_contracts import binding_of
from controller.runtime.plan_check import PlanError
from controller.runtime.plan_spec import ChargerSpec, NodeSpec, SiteSpec
from controller.runtime.site import ContractPort
from hil import cli
from hil.rig.contracts import ContractPart, check_contract, contract_ports
from hil.runs.contract_table import allowance_text, limit_text
from hil.runs.evidence_account import covered_h
from hil.runs.evidence_limits import Held, Point, limit_of
from hil.runs.evidence_orders import with_told
from profiles.contract import bundled_contracts, load_contract

ZONE = ZoneInfo("Europe/Amsterdam")
NODES = (
    NodeSpec("root", -1), NodeSpec("poc", 0), NodeSpec("st1", 1, station=True), NodeSpec("st2", 1, station=True)
)  # fmt: skip
CHARGERS = tuple(
    ChargerSpec(f"cp{i}", node, (0, -1, -1), 16.0, 2.0, 5.0, 0.0, 10.0, 1.0) for i, node in enumerate((2, 2, 3))
)


def spec(**more: object) -> SiteSpec:
    return SiteSpec(nodes=NODES, chargers=CHARGERS, calendar_day=20_000, **more)


def test_a_connections_limit_is_measured_above_the_stations_of_its_chargers():
    everybody = Binding(load_contract("tdtr"), (0, 1, 2))
    assert connection_of(3, NODES) == 1 and connection_of(0, NODES) == 0
    assert places(everybody, CHARGERS, NODES) == [(-1, 1)]
    windows = plan_contracts([everybody], CHARGERS, date(2026, 1, 1), NODES).windows
    assert [(window.node, window.charger) for window in windows] == [(1, -1)]
    station = load_contract("flexpower_1")
    assert places(Binding(station, (0, 1, 2)), CHARGERS, NODES) == [(-1, 2), (2, -1)]


def test_a_running_controller_is_told_its_contracts_on_call_alone():
    parts = [ContractPart(file="flexpower_1", chargers=["cp0"]), ContractPart(file="tdtr", nodes=["poc"], lead_s=3.0)]
    contracts = [load_contract(part.file) for part in parts]
    (port,) = contract_ports(parts, contracts, spec())
    assert (port.nodes, port.chargers, port.lead_s) == ((1,), (0, 1, 2), 3.0)
    assert port.rows == (len(contracts[0].window),)
    again = binding_of(ContractPort.model_validate_json(port.model_dump_json()))
    assert again.contract == contracts[1]


def test_a_contract_that_is_called_like_a_node_is_refused():
    named = load_contract("tdtr").model_copy(update={"name": "poc"})
    with pytest.raises(PlanError, match="poc"):
        contract_ports([ContractPart(file="tdtr", nodes=["poc"])], [named], spec())


def test_evidence_takes_the_calls_of_the_journal_with_their_ends(tmp_path):
    now = [datetime(2026, 2, 2, 8, tzinfo=ZONE).timestamp()]
    begin = datetime(2026, 2, 3, 16, tzinfo=ZONE).timestamp()
    journal = Journal(tmp_path / "journal.sqlite", utc_ns=lambda: round(now[0] * 1e9))

    def accept(order: Order, subject: str) -> None:
        named = {"source": order.source, "order_id": order.order_id, "subject": subject}
        fields = {name: getattr(order, name) for name in Order.__dataclass_fields__}
        journal.append("accepted", **named, order=fields)

    accept(Order("dso", "a", 1, "cap", "tdtr", "import", 50_000.0, begin, begin + 7200.0), "tdtr")
    accept(Order("dso", "b", 1, "cap", "head", "import", 10_000.0, begin, begin + 7200.0), "head")
    now[0] = begin + 3600.0
    accept(Order("dso", "a", 2, "withdraw"), "")
    journal.close()
    held = Held(load_contract("tdtr"), 0.0, ZONE, (Point("head", (0,), 1),))
    called = with_told(held, lives(read_entries(tmp_path / "journal.sqlite")), [], 0.0)
    limit = limit_of(called, begin + np.array([-1.0, 0.0, 3599.0, 3600.0]), 0.5, 500.0)
    assert limit.watt_w.tolist() == [200_000.0, 50_000.0, 50_000.0, 200_000.0]
    assert covered_h([(told.from_s, told.to_s) for told in called.told]) == pytest.approx(1.0)


def test_the_example_of_the_document_prints_what_it_says(capsys):
    page = (ROOT / "docs" / "contracts.md").read_text()
    example = page.partition("```python\n")[2].partition("```")[0]
    exec(compile(example, "docs/contracts.md", "exec"), {})
    promised = [line.removeprefix("# ") for line in example.splitlines() if line.startswith("# ")]
    assert capsys.readouterr().out.splitlines() == promised and len(promised) == 2


def test_every_bundled_contract_is_listed_with_its_source_limit_and_allowance(capsys):
    assert cli.main(["catalog", "--contracts"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[::2]] == bundled_contracts()
    assert all(line.startswith("    ") and line.strip() for line in lines[1::2])
    assert all(limit_text(load_contract(name)) for name in bundled_contracts())
    assert allowance_text(load_contract("tdtr")) == "15% of the year's hours; beyond: obey"


def test_a_contract_may_have_a_zone_of_its_own_and_no_other_word(tmp_path):
    text = next((ROOT / "profiles" / "contracts").glob("tdtr.toml")).read_text()
    for zone, wrong in (("America/New_York", 0), ("Mars", 1), ("Europe", 1)):
        file = tmp_path / "tdtr.toml"
        file.write_text(f'timezone = "{zone}"\n{text}')
        assert len(list(check_contract("contract[0]", str(file)))) == wrong
