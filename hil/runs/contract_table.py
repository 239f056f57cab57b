"""List contracts in lines: those of a rig with where they bind, and the bundled ones with their source."""

from collections.abc import Sequence

from hil.runs.evidence_limits import Held
from profiles.contract import AnyContract, bundled_contracts, load_contract
from profiles.contract_calls import Called, SteeringCall
from profiles.contract_common import Allowance
from profiles.contract_doe import OperatingEnvelope
from profiles.contract_group import Shared
from profiles.contract_lpc import Lpc
from profiles.contract_par14a import Par14a
from profiles.contract_windows import SteeringFixed, TimeBlock, Windowed

HEADS = ("contract", "kind", "binds at", "limit", "allowance")
MOST = 3  # places named before the others are counted


def contract_lines(contracts: Sequence[Held]) -> list[str]:
    """Return aligned rows of a rig's contracts; nothing where it has none."""
    if not contracts:
        return []
    found = [contract_row(held) for held in contracts]
    return _aligned([HEADS, *(tuple(row[head] for head in HEADS) for row in found)])


def contract_row(held: Held) -> dict[str, str]:
    """Return one contract of a rig as HEADS names it."""
    contract = held.contract
    told = (held.name, contract.kind, _places(held), limit_text(contract), allowance_text(contract))
    return dict(zip(HEADS, told, strict=True))


def bundled_lines() -> list[str]:
    """Return two lines for each bundled contract: what it is, and its source with how well that is verified."""
    rows = [load_contract(name) for name in bundled_contracts()]
    width = max(len(contract.name) for contract in rows)
    kinds = max(len(contract.kind) for contract in rows)
    found = []
    for contract in rows:
        found.append(f"{contract.name:{width}}  {contract.kind:{kinds}}  {contract.verified:7}  {contract.title}")
        found.append(f"{'':4}{contract.source}")
    return found


def limit_text(contract: AnyContract) -> str:
    """Return what a contract limits, in words: which way, how much, when."""
    way = "" if contract.limit.direction == "import" else " of export"
    if isinstance(contract, Called):
        return f"{contract.capacity_w / 1e3:g} kW{way}, called down to {contract.floor_w / 1e3:g} kW"
    if isinstance(contract, SteeringCall):
        return f"set-point called, {contract.least_w / 1e3:g} to {contract.most_w / 1e3:g} kW"
    if isinstance(contract, SteeringFixed):
        return f"set-point in {_count(len(contract.window), 'window')}"
    if isinstance(contract, Windowed):
        unit = contract.limit.quantity
        values = sorted({value for window in contract.window if (value := window.value(unit)) is not None})
        told = " or ".join(f"{value:g} {unit}" for value in values)
        outside = f", else {contract.outside:g} {unit}" if isinstance(contract, TimeBlock) else ""
        return f"{told}{way} in {_count(len(contract.window), 'window')}{outside}"
    if isinstance(contract, Shared):
        return f"{contract.limit_w / 1e3:g} kW{way} shared"
    if isinstance(contract, Par14a):
        return "dimmed on demand, 4.2 kW a device at least"
    if isinstance(contract, Lpc):
        return f"handed in{way}, fail-safe {contract.failsafe_w / 1e3:g} kW"
    assert isinstance(contract, OperatingEnvelope)
    return f"handed in, else {contract.subscribed_w / 1e3:g} kW subscribed"


def allowance_text(contract: AnyContract) -> str:
    """Return how much a contract may be called on, or dimmed; — where nobody calls."""
    if not isinstance(contract, Called | SteeringCall | Par14a):
        return "—"
    allowance = contract.allowance
    told = [text.format(value) for key, text in ALLOWED.items() if (value := getattr(allowance, key)) is not None]
    return f"{', '.join(told)}; beyond: {allowance.beyond}" if told else "not bounded"


ALLOWED = {
    "max_share_of_year": "{:.0%} of the year's hours",
    "max_hours_per_year": "{:g} h a year",
    "max_hours_per_day": "{:g} h a day",
    "max_calls_per_year": "{} calls a year",
    "max_kwh_per_year": "{:g} kWh a year",
}
assert set(ALLOWED) == set(Allowance.model_fields) - {"beyond"}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _places(held: Held) -> str:
    names = [point.name for point in held.points]
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"{held.contract.limit.point}: {', '.join(names[:MOST])}{more}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
