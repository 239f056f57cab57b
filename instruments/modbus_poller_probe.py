"""Tell a wrong unit id from a dead device: ask the catalog's usual ids once when nothing answers under ours."""

from functools import cache

from instruments.catalog import all_models
from instruments.modbus_link import ModbusLink

PROBE_S = 0.25  # an id
MOST = 6  # ids, so that a look costs no more than a time-out or two


@cache
def usual_units() -> tuple[int, ...]:
    """Return the unit ids of the catalog's chargers, 1 and 255 first."""
    found = {
        register.unit_id
        for model in all_models()
        if model.modbus is not None and model.charger is not None
        for register in model.modbus.registers
    }
    return (1, 255, *sorted(found - {1, 255}))


async def other_unit(link: ModbusLink, asked: int, pdu: bytes) -> int | None:
    """Return an id under which something answers the request `pdu`, exceptions too; None: nobody."""
    for unit_id in [unit for unit in usual_units() if unit != asked][:MOST]:
        if not await link.reconnect():
            return None
        if await link.answers(unit_id, pdu, PROBE_S):
            return unit_id
    return None
