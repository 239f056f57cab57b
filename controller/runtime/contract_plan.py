"""Turn contracts into what the law keeps: a window for each limit and each place at which it is measured.

A limit at a connection binds its node, also for chargers at a station below it. One at a connector binds the charger.
One at a station binds the charger where it stands alone at its node, else the node: a station of several sockets has a
node of its own, without households.
A contract on call is one window that is always open, with the capacity that holds without a call.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from controller.runtime.contract_calendar import dates_of, day_number, outside_blocks
from controller.runtime.contract_zone import MARGIN_DAYS, Row, translated
from controller.runtime.plan_spec import INF, ChargerSpec, NodeSpec, WindowSpec
from profiles.contract import AnyContract
from profiles.contract_calls import Called
from profiles.contract_windows import StaticProfile, TimeBlock, Windowed

Rows = dict[str, tuple[int, ...]]  # windows of the plan by contract


@dataclass(frozen=True, slots=True)
class Binding:
    """Hold a contract with the chargers and nodes, by index, that it binds, and the time by which it is early, s."""

    contract: AnyContract
    chargers: tuple[int, ...] = ()
    nodes: tuple[int, ...] = ()
    lead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ContractPlan:
    """Hold the windows of a site's contracts, the day number of their calendars, and each contract's windows."""

    windows: tuple[WindowSpec, ...]
    calendar_day: int
    rows: Rows


def connection_of(node: int, nodes: Sequence[NodeSpec]) -> int:
    """Return the node at which a connection is measured: the one above where `node` is a station, else itself."""
    while nodes and nodes[node].station and nodes[node].parent >= 0:
        node = nodes[node].parent
    return node


def places(binding: Binding, chargers: Sequence[ChargerSpec], nodes: Sequence[NodeSpec] = ()) -> list[tuple[int, int]]:
    """Return (charger, node) for every place at which the contract's limit is measured; one of them is -1.

    `nodes` tell which of them are stations; without any there are none.
    """
    contract, found = binding.contract, [(-1, m) for m in binding.nodes]
    each = isinstance(contract, StaticProfile) and contract.other_socket == "each"
    at = [chargers[i].node for i in binding.chargers]
    for i in binding.chargers:
        m = chargers[i].node if contract.limit.point != "connection" else connection_of(chargers[i].node, nodes)
        alone = contract.limit.point != "connection" and (at.count(m) == 1 or contract.limit.point != "station" or each)
        place = (i, -1) if alone else (-1, m)
        if place not in found and not binding.nodes:
            found.append(place)
    return found


def below(node: int, nodes: Sequence[NodeSpec], chargers: Sequence[ChargerSpec]) -> tuple[int, ...]:
    """Return the chargers at or below a node."""

    def under(m: int) -> bool:
        while m >= 0 and m != node:
            m = nodes[m].parent
        return m == node

    return tuple(i for i, charger in enumerate(chargers) if under(charger.node))


def plan_contracts(
    bindings: Iterable[Binding],
    chargers: Sequence[ChargerSpec],
    today: date,
    nodes: Sequence[NodeSpec] = (),
    zone: str = "",
) -> ContractPlan:
    """Return the windows of the contracts for a plan that begins on the local date `today`.

    `zone` is the site's; a contract of another one is told by the site's clock. Without it all are the site's.
    """
    first = today - timedelta(days=1)  # a window of yesterday may still be open
    windows: list[WindowSpec] = []
    rows: Rows = {}
    for binding in bindings:
        begin = len(windows)
        limits = _limits(binding.contract, first, zone)
        for charger, node in places(binding, chargers, nodes):
            for from_s, to_s, value, days, dates in limits:
                windows.append(_window(binding, charger, node, (from_s, to_s, value), days, dates))
        rows[binding.contract.name] = (*rows.get(binding.contract.name, ()), *range(begin, len(windows)))
    return ContractPlan(tuple(windows), day_number(first), rows)


def _limits(contract: AnyContract, first: date, zone: str) -> list[Row]:
    """Return from_s, to_s, limit, days and dates of a contract's windows; a steering contract has none."""
    if contract.timezone in (None, zone) or not zone or not isinstance(contract, Windowed):
        return list(_own_limits(contract, first))
    own = _own_limits(contract, first - timedelta(days=MARGIN_DAYS))
    return translated(own, first, ZoneInfo(str(contract.timezone)), ZoneInfo(zone))


def _own_limits(contract: AnyContract, first: date) -> Iterator[Row]:
    """Yield the rows of a contract by its own clock."""
    if isinstance(contract, TimeBlock):
        for from_s, to_s, limit, dates in outside_blocks(contract, first):
            yield from_s, to_s, limit, 127, dates
    elif isinstance(contract, Windowed):
        for window in contract.window:
            value = window.value(contract.limit.quantity) or 0.0
            yield window.from_s, window.to_s, value, window.day_bits, dates_of(window, contract, first)
    elif isinstance(contract, Called):
        yield 0.0, 0.0, contract.capacity_w, 127, b""


def _window(
    binding: Binding, charger: int, node: int, limit: tuple[float, float, float], days: int, dates: bytes
) -> WindowSpec:
    """Return one window with the limit that the law keeps, less the guard band."""
    from_s, to_s, value = limit
    stated = binding.contract.limit
    kept = stated.kept(value)
    amps = kept if stated.quantity == "A" else INF
    watts = kept if stated.quantity != "A" and stated.direction == "import" else INF
    export = kept if stated.direction == "export" else INF
    return WindowSpec(from_s, to_s, charger, node, amps, watts, export, days, binding.lead_s, dates)
