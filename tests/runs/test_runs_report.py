"""Check what a run leaves for people and tools: the page, the summary, JUnit, exports and the drivers' indicators."""

import json
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pyarrow.csv
import pytest
import synthetic_street as street
from rich.console import Console

from controller.law.names import Reason
from controller.runtime.histogram import BINS, EDGES_S
from hil.runs import export, figures, indicators, page, picture
from hil.runs import summary as sm
from hil.runs.junit import write_junit
from hil.runs.promises import Mark, Verdict
from hil.runs.report import write_report
from hil.runs.trace import TraceError, load_samples, save_samples

VERDICTS = [
    Verdict("voltage_held", "passed", 0.95, 0.93, "pu", "lowest 0.95 pu"),
    Verdict("window_obeyed", "failed", 7.0, 6.0, "A", "cp01 <b>drew</b> 7 A", {"charger": "cp01"}),
    Verdict("failsafe_seen", "not_exercised", math.nan, 22.0, "s", "the run ended"),
    Verdict("order_obeyed", "inconclusive", math.inf, 12.0, "s", "unknown watts"),
]


def timing():
    figures = {"count": 600, "p50_us": 100.0, "p99_us": 320.0, "p999_us": 640.0, "max_us": 700.5}
    counts = np.zeros(BINS, dtype=int)
    counts[100:110] = 60
    return {
        "period_ms": 100.0,
        "scans": 600,
        "skipped": 1,
        "misses": 2,
        "misses_host": 2,
        "wake": figures,
        "busy": figures,
        "decide": figures,
        "bins": {"edges_us": (EDGES_S[:-1] * 1e6).tolist(), "wake": counts.tolist(), "busy": counts.tolist()},
        "ports": {"cp02": {"round_trip": figures, "age": figures, "obey": {}, "link": False, "fault": "time-out"}},
    }


def report(tmp_path, **changes):
    given = {
        "rig_info": {
            "title": "street & co",
            "facts": {"seed": 7, "identity": "ACME <script>alert(1)</script>"},
            "marks": [Mark(10.0, "6 A window"), Mark(26.0, "DSO order <8> kW")],
            "voltage_min_v": 213.9,
            "head_limit_a": 200.0,
            "obey_s": [12.0] * 4,
        },
        "controlled": street.controlled(),
        "uncontrolled": street.uncontrolled(),
        "verdicts": VERDICTS,
        "timing": timing(),
        "events": [{"kind": "link_lost", "process": "wires", "mono_ns": 5, "device": "cp02 <i>"}],
    }
    return write_report(tmp_path, **(given | changes)).read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Count elements and keep the attributes that could load something."""

    def __init__(self, text):
        super().__init__()
        self.seen, self.open, self.loads = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href") and not value.startswith("#")]

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_loads_nothing_and_is_well_formed(tmp_path):
    text = report(tmp_path)
    tags = Tags(text)
    assert tags.open == []
    assert tags.loads == []
    assert not re.search(r"https?:|//[a-z]|@import|<script|<link|<img", text)
    assert tags.seen.count("svg") == 3
    assert len(text) < 3_000_000


def test_the_page_escapes_what_devices_and_files_say(tmp_path):
    text = report(tmp_path)
    assert "<b>drew</b>" not in text
    assert "ACME &lt;script&gt;" in text
    assert "cp02 &lt;i&gt;" in text
    assert "street &amp; co" in text


def test_names_are_drawn_as_they_are_even_where_they_look_like_formulas(tmp_path):
    run, free = street.controlled(), street.uncontrolled()
    for trace in (run, free):
        trace.charger_names = ["cp$^\\frac$", "--><b>", "cp03", "cp04"]
    text = report(tmp_path, controlled=run, uncontrolled=free)
    assert "cp$^\\frac$" in text
    assert text.count("<b>") == text.count('class="tile"')  # tiles are bold, no name is
    assert Tags(text).open == []


def test_many_marks_are_numbered_and_explained_below(tmp_path):
    few = report(tmp_path)
    assert "Dotted lines" not in few and "6 A window" in few
    marks = [Mark(10.0 + k, f"fault <{k}>") for k in range(6)]
    info = {"title": "many", "facts": {}, "marks": marks, "obey_s": [12.0] * 4}
    text = report(tmp_path, rig_info=info)
    assert "Dotted lines: (1) fault &lt;0&gt; at 10 s, (2) fault &lt;1&gt; at 11 s," in text
    assert text.count("fault &lt;5&gt;") == 1  # in the key alone


def test_the_verdicts_come_first_with_state_value_and_limit(tmp_path):
    text = report(tmp_path)
    assert text.index("<h2>Verdicts") < text.index("<svg")
    for words in ("✓ passed", "✗ failed", "○ not exercised", "? inconclusive", "1 of 4 verdicts passed"):
        assert words in text
    assert "7.00 A" in text
    assert "∞ s" in text


def test_the_page_names_ports_events_reasons_and_the_scans_time(tmp_path):
    text = report(tmp_path)
    for words in ("time-out", "link_lost", "Wake-up lateness", "0.320", "admit", "charger-seconds", "period 100 ms"):
        assert words in text, words


def test_a_page_of_a_fast_run_says_that_there_is_no_deadline(tmp_path):
    text = report(tmp_path, timing=None, events=[])
    assert "virtual time" in text
    assert Tags(text).seen.count("svg") == 2


def test_a_page_without_the_other_run_is_still_written(tmp_path):
    text = report(tmp_path, uncontrolled=None)
    assert "With control" in text
    assert "Without control, same seed" not in text


def test_pictures_follow_the_page_into_the_dark(tmp_path):
    svg = report(tmp_path)
    svg = svg[svg.index("<svg") : svg.rindex("</svg>")]
    for placeholder in (*picture.CSS_COLOURS, "#ffffff", "#000000"):
        assert placeholder not in svg, placeholder
    assert "currentColor" in svg
    ids = re.findall(r' id="([^"]+)"', svg)
    assert len(ids) == len(set(ids))


def test_shared_scales_hold_both_runs_and_both_histograms():
    run, free = street.controlled(), street.uncontrolled()
    free.head_w[:] = 900e3
    svg = figures.street(run, free, [])
    assert any(int(tick) >= 800 for tick in re.findall(r">(\d+)<", svg))
    bins = timing()["bins"] | {"busy": [100_000 if k == 200 else 0 for k in range(BINS)]}
    assert "10^{4}" in figures.timing(bins, 100.0) or "10⁴" in figures.timing(bins, 100.0)


def test_thinning_keeps_the_extremes_and_the_ends():
    t = np.arange(50_000.0)
    y = np.sin(t / 900)
    y[31_234], y[7] = 9.0, np.nan
    x, thinned = picture.thin(t, y, 400)
    assert len(x) <= 404
    assert np.nanmax(thinned) == 9.0
    assert (x[0], x[-1]) == (0.0, 49_999.0)


def test_numbers_on_the_page_show_unknown_and_no_limit():
    assert page.number(math.nan) == "—"
    assert page.number(None) == "—"
    assert page.number(math.inf, 1, "W") == "∞ W"
    assert page.number(-1234.5, 1, "W") == "−1,234.5 W"


def test_summary_json_has_the_promised_shape_and_is_strict(tmp_path):
    found = sm.summary_json(tmp_path, 1, VERDICTS, timing())
    assert list(found) == ["run", "exit", "verdicts", "timing"]
    assert found["run"] == str(tmp_path)
    assert [set(v) for v in found["verdicts"]] == [{"name", "passed", "state", "value", "limit", "unit"}] * 4
    assert [v["passed"] for v in found["verdicts"]] == [True, False, None, None]
    assert found["verdicts"][2]["value"] is None
    json.dumps(found, allow_nan=False)


def test_verdicts_survive_their_file_and_a_foreign_one_is_refused(tmp_path):
    sm.save_verdicts(tmp_path, 1, VERDICTS, [Mark(10.0, "window")])
    verdicts, marks = sm.load_verdicts(tmp_path)
    assert [v.state for v in verdicts] == [v.state for v in VERDICTS]
    assert verdicts[1] == VERDICTS[1]
    assert math.isnan(verdicts[2].value)
    assert marks == [Mark(10.0, "window")]
    (tmp_path / "verdict.json").write_text('{"exit": 0}')
    with pytest.raises(ValueError, match="judge the run again"):
        sm.load_verdicts(tmp_path)


def test_the_summary_prints_each_verdict_and_why_one_did_not_pass(tmp_path):
    flex = indicators.flexpower(street.controlled(), street.uncontrolled())
    console = Console(width=120, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    with console.file:
        console.print(sm.summary(tmp_path, VERDICTS, timing(), flex))
        text = console.export_text()
    assert "cp01 <b>drew</b> 7 A" in text
    assert "lowest 0.95 pu" not in text
    assert "2 missed, 1 skipped of 601" in text
    assert "report.html" in text


def test_junit_counts_failures_and_skips_with_their_reasons(tmp_path):
    path = write_junit(tmp_path, "street", VERDICTS, 60.0, {"idn": "A\x00\x1b[31mB"})
    root = ET.parse(path).getroot()
    assert root.attrib["tests"] == "4"
    assert (root.attrib["failures"], root.attrib["skipped"]) == ("1", "2")
    cases = {case.attrib["name"]: case for case in root.iter("testcase")}
    assert "7 A, limit 6 A" in cases["window_obeyed"].find("failure").attrib["message"]
    assert cases["failsafe_seen"].find("skipped").attrib["message"].startswith("not_exercised")
    assert cases["voltage_held"].find("failure") is None
    assert root.find(".//property").attrib["value"] == "A[31mB"


def test_flexpower_indicators_compare_with_the_run_without_control():
    run, free = street.controlled(), street.uncontrolled()
    found = indicators.flexpower(run, free)
    assert found.sessions == 4
    assert (found.positive_share, found.negative_share) == (0.0, 1.0)
    in_run = (run.t_s >= 0) & (run.t_s < 60)
    assert found.energy_wh == pytest.approx(run.power_w()[in_run].sum() * 0.1 / 3600, rel=1e-6)
    same = indicators.flexpower(free, free)
    assert (same.positive_share, same.negative_share) == (0.0, 0.0)
    turned = indicators.flexpower(free, run)
    assert turned.positive_share == 1.0


def test_held_back_names_reason_seconds_and_energy():
    rows = indicators.held_back(street.controlled(), street.uncontrolled())
    paused = next(row for row in rows if row.charger == "cp01" and row.reason == Reason.ADMIT)
    assert (paused.first_s, paused.lowest_a) == (26.0, 0.0)
    assert paused.seconds == pytest.approx(34.0)
    assert paused.curtailed_wh > 0
    assert all(math.isnan(row.curtailed_wh) for row in indicators.held_back(street.controlled(), None))


def test_order_to_ampere_is_the_longest_stretch_over_the_limit():
    rows = indicators.order_to_ampere(street.controlled(), [12.0] * 4, 0.5)
    assert [row.orders for row in rows] == [2, 1, 1, 1]
    assert rows[0].longest_s == pytest.approx(8.0)
    assert rows[3].at_s == 26.0
    never = indicators.order_to_ampere(street.uncontrolled(), [12.0] * 4, 0.5)
    assert [row.orders for row in never] == [0] * 4


def test_the_worst_customer_is_one_with_a_charger():
    run = street.controlled()
    run.customer_v[300, 4] = 1.0
    run.customer_v[300, 2] = 150.0
    assert indicators.worst_customer(run) == 2


def test_csv_export_carries_every_column_with_its_unit(tmp_path):
    save_samples(tmp_path / "samples.parquet", [street.controlled(), street.uncontrolled()])
    data, units = export.export_samples(tmp_path, "csv")
    table, described = pyarrow.csv.read_csv(data), pyarrow.csv.read_csv(units)
    assert table.num_rows == 2 * 651
    assert described["column"].to_pylist() == table.column_names
    named = dict(zip(described["column"].to_pylist(), described["unit"].to_pylist(), strict=True))
    assert named["cp03.drawn_a"] == "A"


def test_export_refuses_unknown_formats_missing_and_foreign_samples(tmp_path):
    with pytest.raises(export.ExportError, match="'mat' is not known; one of csv, parquet"):
        export.export_samples(tmp_path, "mat")
    with pytest.raises(export.ExportError, match="not there"):
        export.export_samples(tmp_path, "csv")
    save_samples(tmp_path / "samples.parquet", [street.controlled()])
    (copy,) = export.export_samples(tmp_path, "parquet", tmp_path / "copy.parquet")
    assert "controlled" in load_samples(copy)
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "samples.parquet")
    with pytest.raises(TraceError, match="record the run again"):
        export.export_samples(tmp_path, "csv")
