"""Calls on contracts in the orders process: judged, obeyed, counted, killed, restarted; and from the command line."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from foreseeable import wait_for
from test_orders_process import latched, orders_process

from controller.law import image
from controller.law.names import Cp, Reason, Step
from controller.runtime import stores
from controller.runtime.journal import read_entries
from controller.runtime.order import Order
from controller.runtime.order_intake import Intake
from controller.runtime.site import ContractPort, Site
from hil import cli
from profiles.contract import load_contract

GUARD = 0.99
CALL = Order("dso", "evening", 1, "cap", "tdtr", value_w=50_000.0)


def port(name: str, row: int, **where: object) -> ContractPort:
    return ContractPort(contract=load_contract(name).model_dump(mode="json", by_alias=True), rows=(row,), **where)


@pytest.fixture
def called(site: Site) -> Site:
    """Return the site with a time-duration contract at its head and one of limitation on call at a charger."""
    contracts = [port("tdtr", 0, chargers=(0, 1, 2), nodes=(1,)), port("cbc_a", 1, chargers=(0,))]
    made = site.model_copy(update={"contracts": contracts, "dims": (3, 2, 2, 2), "timezone": "Europe/Amsterdam"})
    stores.prepare(made)
    image.allocate("plan", made.image_dims())[0].tofile(made.store("plan.bin"))
    return made


def test_a_call_holds_in_the_image_and_a_kill_and_a_restart_lift_nothing(called, tmp_path):
    with orders_process(called, tmp_path / "site.json"):
        intake = Intake(called)
        answer = intake.offer(CALL)
        assert answer.accepted and "late by" in answer.why  # the day before by 08:30; this contract obeys all the same
        refused = intake.offer(replace(CALL, order_id="now", subject="cbc_a", value_w=0.0))
        assert not refused.obeyed and "late by" in refused.why
        assert intake.offer(replace(CALL, order_id="cap", subject="head", value_w=70_000.0)).accepted
        inp = latched(called)
        assert inp.window_call_w.tolist() == [50_000.0 * GUARD, math.inf]
        assert inp.book_w[1] == 50_000.0 * GUARD and inp.book_no[1] > 0  # so the ledger follows its steps
        intake.close()
    stores.prepare(called)
    with orders_process(called, tmp_path / "site.json"):
        assert latched(called).window_call_w[0] == 50_000.0 * GUARD
        intake = Intake(called)
        assert intake.offer(Order("dso", "evening", 2, "withdraw")).accepted
        inp = latched(called)
        assert (inp.window_call_w[0], inp.book_w[1]) == (math.inf, 70_000.0)
        intake.close()
    entries = list(read_entries(called.journal()))
    accepted = next(entry for entry in entries if entry.kind == "accepted")
    assert accepted.body and accepted.body["late"] is True and "late by" in accepted.body["flags"]
    accounts = [entry.body for entry in entries if entry.kind == "account" and entry.subject == "tdtr"]
    assert accounts[-1] and (accounts[-1]["calls"], accounts[-1]["late_calls"]) == (1, 1)


def test_energy_that_a_call_holds_back_is_counted_from_the_scans_own_images(called, tmp_path):
    dims = called.image_dims()
    for name, table in (("latched.img", "input"), ("output.img", "output")):
        data, view = image.allocate(table, dims)
        if table == "input":
            view.charger_state[:], view.charger_v[:, 0] = Cp.C, 230.0
        else:
            view.reason[:], view.chain[:, Step.VOLTAGE], view.allowed_a[:] = Reason.ORDER, 32.0, 6.0
        stores.attach(called, name).write(np.ascontiguousarray(data), 1)
    with orders_process(called, tmp_path / "site.json"):
        intake = Intake(called)
        intake.offer(CALL)
        intake.offer(replace(CALL, sequence=2, value_w=40_000.0))

        def counted() -> bool:
            intake.offer(replace(CALL, order_id="again", sequence=len(list(read_entries(called.journal())))))
            bodies = [e.body or {} for e in read_entries(called.journal()) if e.kind == "account"]
            return any(body["curtailed_kwh"] > 0.0 for body in bodies)

        wait_for(counted)
        intake.close()


def test_voltbench_order_calls_on_a_contract_and_says_what_does_not_fit(called, tmp_path, capsys):
    def voltbench(*argv: str) -> tuple[int, str]:
        code = cli.main(["order", called.run_dir, *argv])
        said = capsys.readouterr()
        return code, said.out + said.err

    with orders_process(called, tmp_path / "site.json"):
        code, said = voltbench("--contract", "tdtr", "--limit", "50kW", "--for", "1h", "--id", "x", "--json")
        answer = json.loads(said)
        assert code == 0 and answer["accepted"] and "late by" in answer["why"]
        assert latched(called).window_call_w[0] == 50_000.0 * GUARD
        code, said = voltbench("--contract", "cbc_a", "--limit", "50kW", "--for", "1h")
        assert code == 1 and "refused: late by" in said
        for wrong, text in (
            (("--contract", "nfa", "--limit", "1kW"), "it has tdtr, cbc_a"),
            (("--contract", "tdtr", "--setpoint", "1kW"), "takes --limit"),
            (("--contract", "tdtr", "--limit", "1kW", "--node", "head"), "where it binds"),
        ):
            code, said = voltbench(*wrong)
            assert code == 2 and text in said
    assert Path(called.journal()).is_file()
