"""Play every SCPI family of the catalog against the twin of the same file: its messages, then its life on a socket.

The record states a message and a header separately; here they meet.
"""

import re
from typing import Any

import pytest
from family_helpers import ROLE_MODES, SCPI_MODELS, ZEROS, FamilyTwin, label, rendered
from scpi_helpers import Clock

from instruments.scpi_catalog import ScpiPart, Step
from instruments.scpi_cycle import CyclePlan
from instruments.scpi_units import NOT_A_NUMBER, number_of


def ready(part: ScpiPart) -> FamilyTwin:
    """Return the twin under remote control, its error queue empty."""
    device = FamilyTwin(part, Clock())
    if part.remote.take:
        play(device, part.remote.take)
    return device


def play(device: FamilyTwin, message: str) -> str:
    """Send a message, see that the device has nothing against it, and return its answer."""
    reply = device.answer(message.encode())
    queue = device.status.errors
    assert len(queue) == 0, f"{message!r} leaves {queue.pop()}"
    assert (reply is not None) == ("?" in message), message
    return (reply or b"").decode().rstrip("\r\n")


def walk(device: FamilyTwin, steps: list[Step]) -> None:
    """Play ordered steps; each read-back must be what the record expects."""
    for step in steps:
        play(device, rendered(step.send))
        if step.ask:
            answer = play(device, rendered(step.ask))
            wanted = step.model_copy(
                update={"expect": rendered(step.expect) if "{seconds" in step.expect else step.expect}
            )
            units = device.part.parser.units_in_reply
            assert wanted.fits(answer, units), f"{step.ask} answers {answer!r}, expected {wanted.expect}"


@pytest.mark.parametrize(("model", "role", "mode"), ROLE_MODES, ids=label)
def test_set_up_energise_and_safe_off_are_read_back_as_the_record_expects(model: Any, role: str, mode: str) -> None:
    part = model.scpi
    device = ready(part)
    walk(device, part.safe_off.steps)
    walk(device, part.roles[role].setup[mode].steps)
    walk(device, part.watchdog.arm)
    walk(device, part.roles[role].energise.steps)
    walk(device, part.safe_off.steps)


@pytest.mark.parametrize(("model", "role", "mode"), ROLE_MODES, ids=label)
def test_a_cycle_is_understood_and_answers_what_it_names(model: Any, role: str, mode: str) -> None:
    part = model.scpi
    device = ready(part)
    walk(device, part.roles[role].setup[mode].steps)
    cycle = part.roles[role].cycle[mode]
    named: list[str] = []
    for message, names in CyclePlan(part, cycle, 1).messages(ZEROS):
        parts = play(device, message).split(";") if names else [play(device, message)] * 0
        assert len(parts) == len(names), f"{message} answers {parts}"
        named += names
        for name, values in zip(names, parts, strict=True):
            if name not in ("error", "skip"):
                assert len(values.split(",")) == len(name.split(",")), f"{name}: {values}"
    assert named == cycle.order


@pytest.mark.parametrize("model", SCPI_MODELS, ids=lambda model: model.model.name)
def test_every_setting_can_be_written_and_is_read_back_as_written(model: Any) -> None:
    part = model.scpi
    device = ready(part)
    walk(device, next(iter(next(iter(part.roles.values())).setup.values())).steps)
    for name, quantity in part.quantities.items():
        if quantity.kind == "text" or name == "remote":  # local control would refuse the others
            continue
        if quantity.ask:
            play(device, rendered(quantity.ask))
        if not quantity.send:
            continue
        for value in {"number": [quantity.min, quantity.max], "bool": ["OFF"], "word": quantity.words}.get(
            quantity.kind, []
        ):
            text = rendered(
                quantity.send, value="".join(c for c in value if not c.islower()) if isinstance(value, str) else value
            )
            if isinstance(value, float | int) and quantity.bounded_by:
                continue  # a soft limit may be lower by now
            play(device, text)
            if isinstance(value, float | int) and quantity.ask and abs(value) < NOT_A_NUMBER:
                shown = number_of(play(device, rendered(quantity.ask)), part.parser.units_in_reply)
                assert shown == pytest.approx(value, rel=1e-3, abs=quantity.step), name


@pytest.mark.parametrize("model", SCPI_MODELS, ids=lambda model: model.model.name)
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


@pytest.mark.parametrize("model", SCPI_MODELS, ids=lambda model: model.model.name)
def test_safe_off_reads_back_that_nothing_is_energised(model: Any) -> None:
    part = model.scpi
    if set(part.roles) == {"analyzer"}:
        assert not part.safe_off.steps
        return
    assert any(step.ask for step in part.safe_off.steps), "an output that nobody has seen off"
    assert any(quantity.kind == "bool" for quantity in part.quantities.values())


@pytest.mark.parametrize("model", SCPI_MODELS, ids=lambda model: model.model.name)
def test_the_answer_of_a_family_is_taken_for_no_other(model: Any) -> None:
    samples = {model.scpi.identity.sample, *(variant.sample for variant in model.scpi.variants)}
    for other in SCPI_MODELS:
        if other is not model and other.scpi is not None:
            taken = [sample for sample in samples if re.fullmatch(other.scpi.identity.pattern, sample)]
            assert not taken, f"{other.model.name} takes {taken}"
