"""Compare what a Modbus device says it is with the catalog record that the rig or site file gave it."""

import re

from instruments.catalog import Model, all_models, modbus_of
from instruments.faults import FaultKind, PortFault
from instruments.modbus_catalog import Register, identity_text


def check_identity(device: str, model: Model, address: str, value: float | str) -> str:
    """Return one line on what answered; a PortFault WRONG_IDENTITY names both families where they differ."""
    part = modbus_of(model)
    identity = part.identity
    text = identity_text(value)
    if re.fullmatch(identity.pattern, text):
        return f"{model.model.vendor} {model.model.family}, {identity.what} {text}"
    found = family_of(part.register(identity.register_name), text)
    detail = f"{address} is {found} ({identity.what} {text!r}); expected {model.model.name} ({identity.pattern})"
    raise PortFault(FaultKind.WRONG_IDENTITY, device, identity.register_name, detail)


def family_of(register: Register, text: str) -> str:
    """Return the family whose identity register lies at the same place and may hold this text."""
    for model in all_models():
        if model.modbus is None:
            continue
        other = model.modbus.register(model.modbus.identity.register_name)
        same_place = (other.unit_id, other.address, other.type) == (register.unit_id, register.address, register.type)
        if same_place and re.fullmatch(model.modbus.identity.pattern, text):
            return f"a {model.model.name}"
    return "of no family in the catalog"
