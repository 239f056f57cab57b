"""Play every SCPI family of the catalog against the twin of the same file: its messages, then its life on a socket.

The record states a message and a header separately; here they meet.
"""

import re
from typing import Any

import pytest
from family_helpers import DRIVEN, ROLE_MODES, SCPI_MODELS, ZEROS, cases, rendered
from scpi_helpers import Clock

from hil.twins.scpi_terminals import TerminalTwin
from hil.twins.scpi_twins import make_twin
from instruments.scpi_catalog import ScpiPart, Step
from instruments.scpi_cycle import CyclePlan
from instruments.scpi_units import NOT_A_NUMBER, number_of


def ready(part: ScpiPart, role: str = "") -> TerminalTwin:
    """Return the twin under remote control, its error queue empty."""
    device = make_twin(part, Clock(), role)
    if part.remote.take:
        play(device, part.remote.take)
    return device


def play(device: TerminalTwin, message: str) -> str:
    """Send a message, see that the device has nothing against it, and return its answer."""
    reply = device.answer(message.encode())
    queue = device.status.errors
    assert len(queue) == 0, f"{message!r} leaves {queue.pop()}"
    assert (reply is not None) == ("?" in message), message
    return (reply or b"").decode().rstrip("\r\n")


def walk(device: TerminalTwin, steps: list[Step]) -> None:
    """Play ordered steps; each read-back must be what the record expects."""
    for step in steps:
        play(device, rendered(step.send))
        if step.ask:
            answer = play(device, rendered(step.ask))
            expect = step.expect.replace("{channel}", "1").replace("{seconds}", "5")
            fits = step.model_copy(update={"expect": expect}).fits(answer, device.part.parser.units_in_reply)
            assert fits, f"{step.ask} answers {answer!r}, expected {expect}"


@pytest.mark.parametrize(("model", "role", "mode"), cases("setup", ROLE_MODES))
def test_set_up_energise_and_safe_off_are_read_back_as_the_record_expects(model: Any, role: str, mode: str) -> None:
    part = model.scpi
    device = ready(part, role)
    walk(device, part.safe_off.steps)
    walk(device, part.roles[role].setup[mode].steps)
    walk(device, part.watchdog.arm)
    walk(device, part.roles[role].energise.steps)
    walk(device, part.safe_off.steps)


@pytest.mark.parametrize(("model", "role", "mode"), cases("cycle", ROLE_MODES))
def test_a_cycle_is_understood_and_answers_what_it_names(model: Any, role: str, mode: str) -> None:
    part = model.scpi
    device = ready(part, role)
    walk(device, part.roles[role].setup[mode].steps)
    plan = CyclePlan(part, part.roles[role].cycle[mode], channel=1)
    for message, names in plan.messages(ZEROS):
        answer = play(device, message)
        parts = answer.split(";") if answer else []
        assert len(parts) == len(names), f"{message}: {answer}"
        for entry, values in zip(names, parts, strict=True):
            if entry != "error":
                assert len(values.split(",")) == len(entry.split(",")), f"{entry}: {values}"


@pytest.mark.parametrize("model", cases("setting", DRIVEN))
def test_every_setting_can_be_written_and_is_read_back_as_written(model: Any) -> None:
    part = model.scpi
    device = ready(part)
    walk(device, next(iter(next(iter(part.roles.values())).setup.values())).steps)
    for name, quantity in part.quantities.items():
        if quantity.kind == "text" or name.startswith(("remote", "local")):
            continue  # control that is given back would refuse what follows
        if quantity.ask:
            play(device, rendered(quantity.ask))
        if not quantity.send:
            continue
        if quantity.bounded_by or quantity.range_by:
            continue  # a soft limit or the range may be lower by now
        ends = [end for end in (quantity.min, quantity.max) if end is not None and abs(end) < NOT_A_NUMBER]
        for value in {"number": ends, "bool": ["OFF"], "word": quantity.words}.get(quantity.kind, []):
            text = rendered(
                quantity.send, value="".join(c for c in value if not c.islower()) if isinstance(value, str) else value
            )
            play(device, text)
            if isinstance(value, float | int) and quantity.ask:
                shown = number_of(play(device, rendered(quantity.ask)).partition(",")[0], units=True)
                assert shown == pytest.approx(value, rel=1e-3, abs=quantity.step), name


@pytest.mark.parametrize("model", cases("watchdog", DRIVEN))
def test_the_watchdog_is_armed_fed_and_disarmed_with_words_that_the_device_knows(model: Any) -> None:
    part = model.scpi
    if part.watchdog.kind == "none":
        assert not part.watchdog.arm and not part.watchdog.trusted
        return
    device = ready(part)
    walk(device, part.watchdog.arm)
    for message in (part.watchdog.feed, part.watchdog.remaining, part.watchdog.disarm):
        if message:
            play(device, rendered(message))


@pytest.mark.parametrize("model", cases("off", DRIVEN))
def test_safe_off_reads_back_that_nothing_is_energised(model: Any) -> None:
    part = model.scpi
    if set(part.roles) == {"analyzer"}:
        assert not part.safe_off.steps
        return
    assert any(step.ask for step in part.safe_off.steps), "an output that nobody has seen off"
    assert any(quantity.kind == "bool" for quantity in part.quantities.values())


@pytest.mark.parametrize("model", cases("identity", SCPI_MODELS))
def test_the_answer_of_a_family_is_taken_for_no_other(model: Any) -> None:
    samples = {model.scpi.identity.sample, *(variant.sample for variant in model.scpi.variants)}
    for other in SCPI_MODELS:
        if other is not model and other.scpi is not None:
            taken = [sample for sample in samples if re.fullmatch(other.scpi.identity.pattern, sample)]
            assert not taken, f"{other.model.name} takes {taken}"
