"""Turn contracts into what the law keeps: a window for each limit and each place at which it is measured.

A limit at a connection binds its node. One at a connector binds the charger. One at a station binds the charger where
it stands alone at its node, else the node: a station of several sockets has a node of its own, without households.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controller.runtime.plan_spec import INF, ChargerSpec, WindowSpec
from profiles.contract import AnyContract
from profiles.contract_windows import StaticProfile, TimeBlock, Windowed


@dataclass(frozen=True, slots=True)
class Binding:
    """Hold a contract with the chargers and nodes, by index, that it binds, and the time by which it is early, s."""

    contract: AnyContract
    chargers: tuple[int, ...] = ()
    nodes: tuple[int, ...] = ()
    lead_s: float = 0.0


def places(binding: Binding, chargers: Sequence[ChargerSpec]) -> list[tuple[int, int]]:
    """Return (charger, node) for every place at which the contract's limit is measured; one of them is -1."""
    contract, found = binding.contract, [(-1, m) for m in binding.nodes]
    each = isinstance(contract, StaticProfile) and contract.other_socket == "each"
    at = [chargers[i].node for i in binding.chargers]
    for i in binding.chargers:
        m = chargers[i].node
        alone = contract.limit.point != "connection" and (at.count(m) == 1 or contract.limit.point != "station" or each)
        place = (i, -1) if alone else (-1, m)
        if place not in found:
            found.append(place)
    return found


def window_specs(bindings: Iterable[Binding], chargers: Sequence[ChargerSpec]) -> list[WindowSpec]:
    """Return the windows of the contracts that are kept by the clock."""
    found = []
    for binding in bindings:
        contract = binding.contract
        if isinstance(contract, TimeBlock) or not isinstance(contract, Windowed):
            continue
        for charger, node in places(binding, chargers):
            for window in contract.window:
                value = contract.limit.kept(window.value(contract.limit.quantity) or 0.0)
                amps = value if contract.limit.quantity == "A" else INF
                watts = INF if contract.limit.quantity == "A" else value
                export = contract.limit.direction == "export"
                found.append(
                    WindowSpec(
                        window.from_s,
                        window.to_s,
                        charger,
                        node,
                        INF if export else amps,
                        INF if export else watts,
                        watts if export else INF,
                        window.day_bits,
                        binding.lead_s,
                    )
                )
    return found
