"""Print the table of Modbus chargers in docs/chargers.md from the catalog."""

from instruments.catalog import Model, all_models, charger_of, modbus_of

COLUMNS = (
    "model", "set-point", "a pause", "volts, step", "watchdog", "fed by", "programmed by Modbus", "on expiry",
    "gaps read, write", "blocks by mark",
)  # fmt: skip
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"

EXPIRY = {
    "failsafe_a": "fail-safe current",
    "zero": "0 A",
    "full_power": "full power",
    "error_state": "error state",
    "stays": "the last order stays",
}


def row(model: Model) -> str:
    """Return the line of one charger."""
    part, modbus = charger_of(model), modbus_of(model)
    dog, order = part.watchdog, part.setpoint
    unit = {"amps": "A", "watts": "W", "percent": "%"}[order.kind]
    setpoint = f"{part.min_a:g}..{part.max_a:g} A by {part.step_a:g}" + (", in W" if unit == "W" else "")
    pause = "0" if order.pause_by == "zero" else f"`{order.enable}` = 0"
    if order.zero_means != "pause":
        pause += f"; a 0 is {order.zero_means.replace('_', ' ')}"
    own_volts = modbus.find("voltage_l1_v") is not None
    volts = "none" if not own_volts else f"{part.voltage_step_v:g} V" if part.voltage_step_v else "float"
    fed = {"none": "-", "any_traffic": "any valid request", "per_setpoint": "the set-point itself"}.get(dog.kind, "")
    fed = fed or f"`{dog.feed}` = {dog.feed_value:g} every {dog.feed_s:g} s"
    programmed = " and ".join(["time"] * bool(dog.timeout_set) + ["current"] * bool(dog.current_set)) or "-"
    expiry = EXPIRY[dog.on_expiry] + ("; forgets it with the supply" if dog.volatile else "")
    gaps = f"{modbus.read_gap_s:g} s, {part.timing.write_gap_s:g} s"
    cells = [f"`{model.model.name}`", setpoint, pause, volts, dog.kind, fed, programmed, expiry, gaps, model.marks]
    return "| " + " | ".join(cells) + " |"


def table() -> str:
    """Return the whole table."""
    return "\n".join([HEAD, *(row(m) for m in all_models() if m.charger is not None and m.modbus is not None)])


if __name__ == "__main__":
    print(table())
