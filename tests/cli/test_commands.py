"""The command line as other tools call it: arguments, exit codes, what goes to stdout and what to stderr."""

import argparse
import json
import os
import re
import subprocess
import sys

import pytest
from commandline import ENVIRONMENT, VOLTBENCH, toml_text

from hil import cli
from instruments.catalog import model_names


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60.0), ("5m", 300.0), ("24h", 86400.0), ("1d", 86400.0), ("90", 90.0), ("500ms", 0.5)]
)
def test_a_duration_is_read_with_its_unit(text, seconds):
    assert cli.duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "60 seconds", "1..5s", "nan", "inf", "-5s", "0s", "5kg"])
def test_what_is_no_duration_is_refused_with_its_form(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"write 60s|not above zero"):
        cli.duration_s(text)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run", "--for", "soon"],
        ["run", "--seed", "-1"],
        ["run", "--seed", "1.5"],
        ["run", "--fast", "--step", "0s"],
        ["emulate", "--for", "-3s"],
    ],
)
def test_bad_arguments_end_with_2_and_a_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: voltbench" in captured.err


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "nosuch"], "RIG = nosuch: no rig of this name; bundled: "),
        (["check", "nosuch.toml"], "nosuch.toml: no such file"),
        (["emulate", "."], "RIG = .: no rig of this name"),
        (["replay", "nowhere"], "RUN = nowhere: no run folder"),
        (["report"], "RUN: no run below runs/"),
        (
            ["run", "--fast", "--for", "2s", "--step", "1m"],
            "--step = 60 s: only with --fast, and at most the run's 2 s",
        ),
        (["run", "--for", "2s", "--step", "1s"], "--step = 1 s: only with --fast"),
        (["catalog", "nosuch"], "nosuch"),
    ],
)
def test_what_is_not_there_ends_with_2_and_starts_nothing(here, capsys, arguments, told):
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err
    assert list(here.iterdir()) == []


def test_a_broken_rig_ends_with_2_all_errors_on_stderr_and_no_run_folder(here, capsys, street, tmp_path_factory):
    street["feeder"]["head_a"] = -1.0
    street["feeder"]["hed_a"] = 2.0
    street["charger"][3]["model"] = "keba-p31"
    street["charger"][4]["customer"] = 77
    path = tmp_path_factory.mktemp("rig") / "bad.toml"
    path.write_text(toml_text(street))
    assert cli.main(["run", str(path), "--fast"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "4 problems, nothing was started" in captured.err
    for place in ("feeder.head_a = -1.0", "feeder.hed_a = 2.0", 'charger[3].model = "keba-p31"', "charger[4].customer"):
        assert f"bad.toml:{place}" in captured.err
    assert list(here.iterdir()) == []


def test_a_run_folder_that_cannot_be_made_ends_with_2(here, capsys):
    (here / "file").write_text("")
    assert cli.main(["run", "--fast", "--for", "1s", "--out", "file/run"]) == 2
    assert "--out = file/run: cannot be made (Not a directory)" in capsys.readouterr().err
    assert cli.main(["run", "--fast", "--for", "1s", "--out", "file"]) == 2


def test_to_send_an_order_or_read_a_journal_no_compiler_is_imported():
    """It took longer than all else that an operator's order does."""
    told = "import sys, hil.runs.commands, hil.runs.journaling, hil.runs.ordering; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told]).returncode == 0


def test_a_reader_who_has_seen_enough_is_no_fault():
    read, write = os.pipe()
    os.close(read)  # as `voltbench catalog | head` does after its lines
    with os.fdopen(write, "w") as gone:
        ended = subprocess.run([*VOLTBENCH, "catalog"], stdout=gone, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_catalog_lists_every_model_with_its_vendor(capsys):
    assert cli.main(["catalog"]) == 0
    out = capsys.readouterr().out
    heads = [line for line in out.splitlines() if not line.startswith(" ")]
    assert {line.split()[0] for line in heads} == set(model_names())
    assert "KEBA P40, P40 Pro Modbus TCP Programmers Guide V1.02 [V" in out
    assert "not driven: public sources name register 500" in out
    assert all(vendor in out for vendor in ("KEBA", "Alfen", "Chroma", "ITECH"))
    assert cli.main(["catalog", "keba-p30"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["name"] == "keba-p30"


def test_schema_is_a_json_schema_with_units_in_its_keys(capsys):
    assert cli.main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["required"]) >= {"rig", "feeder", "scenario", "law", "substation", "verdict"}
    assert {"charger", "chargers"} <= set(schema["properties"])  # one of the two: rows of alike chargers are chargers
    assert schema["additionalProperties"] is False
    assert {"head_a", "transformer_a"} <= set(schema["$defs"]["FeederPart"]["properties"])


def test_a_fast_run_prints_its_summary_on_stdout_and_the_rest_on_stderr(here, capsys, hamlet):
    (here / "hamlet.toml").write_text(toml_text(hamlet))
    code = cli.main(["run", "hamlet.toml", "--fast", "--for", "30s", "--step", "500ms", "--out", "run", "--json"])
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert set(summary) == {"run", "exit", "verdicts", "timing"}
    assert summary["run"] == "run"
    assert summary["exit"] == code
    assert summary["timing"] is None
    assert "deadlines" not in {verdict["name"] for verdict in summary["verdicts"]}
    assert {"window", "order"} & {verdict["name"].split("_")[0] for verdict in summary["verdicts"]}
    assert "virtual time: 30 s in steps of 0.5 s" in captured.err
    assert cli.main(["replay", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["identical"] is True


def test_a_fast_run_without_json_prints_a_table_and_the_reports_path(here, capsys, hamlet):
    (here / "hamlet.toml").write_text(toml_text(hamlet))
    cli.main(["run", "hamlet.toml", "--fast", "--for", "5s", "--step", "1s"])
    out = capsys.readouterr().out
    assert re.search(r"voltage_held .*pu", out)
    (report,) = here.glob("runs/*-hamlet/report.html")
    assert str(report.relative_to(here)) in out.replace("\n", "")
