"""Compare what a rig asks of an instrument with what its record says it can do, before anything is opened."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from instruments.catalog import Model
from instruments.faults import FaultKind, PortFault
from instruments.scpi_catalog import RolePart


@dataclass(frozen=True, slots=True)
class Wants:
    """Say what is asked of an instrument in a role; 0, NaN and False ask nothing.

    Volts and amps are per phase or output, `va` is the sum (watts for DC), `sink_a` and `sink_w` are magnitudes.
    """

    role: str
    mode: str
    volt_v: float = 0.0
    amp_a: float = 0.0
    va: float = 0.0
    sink_a: float = 0.0
    sink_w: float = 0.0
    frequency_hz: float = math.nan
    angle: bool = False
    sinks: bool = False
    slew: bool = False
    measures: tuple[str, ...] = ()
    channel: int = 1


def problems(device: str, model: Model, wants: Wants) -> list[str]:
    """Return every reason why a model cannot do what is asked, each as device: capability: what it can."""
    name = model.model.name
    if model.scpi is None:
        return [f"{device}:model: {name} speaks {model.model.protocol}; allowed: a SCPI family with role {wants.role}"]
    role = model.scpi.roles.get(wants.role)  # type: ignore[call-overload]
    if role is None:
        return [f"{device}:role: {name} is no {wants.role}; it can be {', '.join(model.roles)}"]
    return [f"{device}:{text} ({name})" for text in _role_problems(role, wants)]


def refuse(device: str, model: Model, wants: Wants) -> None:
    """Raise a PortFault of kind interlock with everything that the model cannot do."""
    if found := problems(device, model, wants):
        detail = "; ".join(text.removeprefix(f"{device}:") for text in found)
        raise PortFault(FaultKind.INTERLOCK, device, "model", detail, "take another model, or ask less of this one")


def _role_problems(role: RolePart, wants: Wants) -> Iterator[str]:
    """Yield what a role cannot do, in capabilities and then in ratings."""
    can = role.can
    if wants.mode not in role.cycle:
        yield f"mode: {wants.mode}; it can: {', '.join(role.cycle)}"
        return
    if math.isfinite(wants.frequency_hz):
        if can.frequency_hz is None:
            yield f"frequency: {wants.frequency_hz:g} Hz; it can: its own fixed frequency only"
        elif not can.frequency_hz[0] <= wants.frequency_hz <= can.frequency_hz[1]:
            yield f"frequency: {wants.frequency_hz:g} Hz; it can: {can.frequency_hz[0]:g}..{can.frequency_hz[1]:g} Hz"
    for capability, asked, able in (("angle", wants.angle, can.angle), ("slew", wants.slew, can.slew)):
        if asked and not able:
            yield f"{capability}: not settable on this family"
    if wants.sinks and not can.sinks:
        yield "sink: takes no power in, and the rig may feed it; it can: deliver only"
    if missing := [what for what in wants.measures if what not in can.measures]:
        yield f"measures: {', '.join(missing)}; it can: {', '.join(can.measures) or 'nothing'}"
    if not 1 <= wants.channel <= can.channels:
        yield f"channel: {wants.channel}; it can: 1..{can.channels}"
    rating = role.rating.of(wants.mode)
    for what, asked_value, most, unit in (
        ("volts", wants.volt_v, rating.max_v, "V"),
        ("amps", wants.amp_a, rating.max_a, "A"),
        ("power", wants.va, rating.max_va, "VA"),
        ("sink amps", wants.sink_a, rating.sink_max_a, "A"),
        ("sink power", wants.sink_w, rating.sink_max_va, "W"),
    ):
        if not asked_value <= most:  # NaN is refused too
            yield f"{what}: {asked_value:g} {unit}; it can: {most:g} {unit} at most"
