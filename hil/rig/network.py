"""Build the impedance matrix of a feeder's customer nodes, and prove it with power-grid-model.

The three-phase network (transformer and grid included) is factorised once; what the loop needs are the columns at the
customers. The same network is built with power-grid-model and both are solved for several loads: a rig whose two
solutions differ by more than 1e-6 pu is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import power_grid_model as pgm
from power_grid_model.errors import PowerGridError  # type: ignore[attr-defined]
from scipy import sparse
from scipy.sparse.linalg import splu

from hil.plant.feeder import FeederSolver
from hil.rig.network_error import NetworkError
from profiles.feeder import Feeder

AGREEMENT_LIMIT_PU = 1e-6
PGM_TOLERANCE = 1e-10
BUS_NAMES = ("bus_a", "bus_b", "bus_c")
__all__ = ["Network", "NetworkError", "build_network"]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Hold a feeder as its nodes see it: C customers, the E further phases of those with three, the busbar's a, b, c.

    With K = C + E + 3: z_ohm (K, K) and v0_v (K,) complex, phase (K,), bus (K,) bus numbers, customer_names (C,),
    u_base_v the line-to-neutral base of the feeder's pu, agreement_pu the largest complex difference to
    power-grid-model in pu of that base, cases the loads it was checked with and the difference in each. `terminals`
    holds for a customer with three phases the nodes (3,) of its terminals L1, L2, L3.
    """

    z_ohm: np.ndarray
    v0_v: np.ndarray
    phase: np.ndarray
    customer_names: tuple[str, ...]
    bus: np.ndarray
    u_base_v: float
    agreement_pu: float
    cases: dict[str, float]
    terminals: dict[int, tuple[int, int, int]]

    def nodes_of(self, customer: int) -> tuple[int, ...]:
        """Return the nodes of a customer's terminals, L1 first: one, or three."""
        return self.terminals.get(customer, (customer,))


def build_network(
    feeder: Feeder, source_pu: float = 1.0, sk_va: float | None = None, three_phase: Sequence[int] = ()
) -> Network:
    """Build and check the network of a feeder.

    `source_pu` is the grid's voltage in pu of the transformer's rated volts, `sk_va` its short-circuit power (default:
    the feeder's own). `three_phase` are indices of customers whose connection has all three phases where the data
    knows one: that one is their L1, the two others of the same bus follow in the grid's order. NetworkError where
    power-grid-model differs by more than 1e-6 pu or does not converge.
    """
    if not 0.5 < source_pu < 1.5:
        raise NetworkError(f"source_pu = {source_pu:g} pu: allowed 0.5..1.5")
    transformer = feeder.transformer
    if sk_va is None:
        sk_va = float(np.sqrt(3.0) * transformer.u_hv_v * feeder.grid.short_circuit_a)
    if not 0 < sk_va < np.inf:
        raise NetworkError(f"sk_va = {sk_va:g} VA: allowed more than 0, finite")
    extra = _Extra.of(feeder, three_phase)
    bus = np.concatenate([feeder.loads.bus, feeder.loads.bus[extra.customer], np.full(3, transformer.lv_bus)])
    phase = np.concatenate([feeder.loads.phase, extra.phase, np.arange(3)])
    z_ohm = _impedance(feeder, sk_va, bus, phase)
    turn = np.exp(-1j * np.pi / 6 * transformer.clock)
    u_base_v = float(transformer.u_lv_v / np.sqrt(3.0))
    v0_v = source_pu * u_base_v * turn * np.exp(-2j * np.pi / 3 * phase)
    cases = _compare(feeder, source_pu, sk_va, FeederSolver(z_ohm, v0_v, phase), u_base_v, extra)
    worst = max(cases, key=lambda case: cases[case])
    if not cases[worst] <= AGREEMENT_LIMIT_PU:
        raise NetworkError(
            f"feeder {feeder.name}: power-grid-model differs by {cases[worst]:.2e} pu in case {worst!r}; "
            f"allowed {AGREEMENT_LIMIT_PU:g} pu; check lines.csv and line_codes.csv for extreme impedances"
        )
    terminals = extra.terminals(len(feeder.loads))
    return Network(z_ohm, v0_v, phase, feeder.loads.name, bus, u_base_v, cases[worst], cases, terminals)


@dataclass(frozen=True, slots=True, eq=False)
class _Extra:
    """Hold the further phases of customers with three: customer and phase of each, (E,)."""

    customer: np.ndarray
    phase: np.ndarray

    @classmethod
    def of(cls, feeder: Feeder, three_phase: Sequence[int]) -> "_Extra":
        customer = np.repeat(np.array(sorted(set(three_phase)), dtype=np.int64), 2)
        turn = np.tile([1, 2], len(customer) // 2)
        return cls(customer, (feeder.loads.phase[customer] + turn) % 3)

    def terminals(self, customers: int) -> dict[int, tuple[int, int, int]]:
        """Return the nodes L1, L2, L3 of every customer with three phases."""
        rows = range(0, len(self.customer), 2)
        return {int(self.customer[k]): (int(self.customer[k]), customers + k, customers + k + 1) for k in rows}


def _phase_matrix(z1_ohm: np.ndarray, z0_ohm: np.ndarray) -> np.ndarray:
    """Return the (K, 3, 3) phase impedances of transposed elements with sequence impedances (K,)."""
    own, mutual = (z0_ohm + 2 * z1_ohm) / 3, (z0_ohm - z1_ohm) / 3
    matrix: np.ndarray = mutual[:, None, None] + (own - mutual)[:, None, None] * np.eye(3)
    return matrix


def _line_ohm(feeder: Feeder) -> tuple[np.ndarray, np.ndarray]:
    """Return positive and zero sequence impedance of every line (L,), ohm."""
    codes, km = feeder.codes, feeder.lines.length_m / 1e3
    z1 = (codes.r1_ohm_per_km + 1j * codes.x1_ohm_per_km)[feeder.lines.code] * km
    z0 = (codes.r0_ohm_per_km + 1j * codes.x0_ohm_per_km)[feeder.lines.code] * km
    return z1, z0


def _grid_ohm(feeder: Feeder, sk_va: float) -> complex:
    """Return the grid's impedance seen from the low-voltage side, ohm."""
    ratio = feeder.grid.x_over_r
    return complex(1.0, ratio) / abs(complex(1.0, ratio)) * feeder.transformer.u_lv_v**2 / sk_va


def _impedance(feeder: Feeder, sk_va: float, bus: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Return the impedance matrix between the (bus, phase) nodes, ohm, by factorising the nodal admittances."""
    z1, z0 = _line_ohm(feeder)
    y_line = np.linalg.inv(_phase_matrix(z1, z0))
    # a Dyn transformer passes the grid's positive and negative sequence; its delta shorts the zero sequence
    z_t = np.array([feeder.transformer.z_lv_ohm])
    y_source = np.linalg.inv(_phase_matrix(z_t + _grid_ohm(feeder, sk_va), z_t))
    begin = np.searchsorted(feeder.bus, feeder.lines.from_bus)
    end = np.searchsorted(feeder.bus, feeder.lines.to_bus)
    root = np.searchsorted(feeder.bus, [feeder.transformer.lv_bus])
    blocks = np.concatenate([y_line, y_line, -y_line, -y_line, y_source])
    rows = np.concatenate([begin, end, begin, end, root])
    cols = np.concatenate([begin, end, end, begin, root])
    three = np.arange(3)
    i = np.broadcast_to((3 * rows)[:, None, None] + three[:, None], blocks.shape)
    j = np.broadcast_to((3 * cols)[:, None, None] + three, blocks.shape)
    size = 3 * len(feeder.bus)
    y = sparse.csc_matrix((blocks.ravel(), (i.ravel(), j.ravel())), shape=(size, size))
    node = 3 * np.searchsorted(feeder.bus, bus) + phase
    unit = np.zeros((size, len(node)), dtype=complex)
    unit[node, np.arange(len(node))] = 1.0
    return np.ascontiguousarray(splu(y).solve(unit)[node])


def _load_cases(feeder: Feeder, extra: _Extra) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return {name: (household VA (C,) complex, car A (C+E,))}: unequal on purpose, so that a swapped row shows."""
    count = len(feeder.loads)
    more = len(extra.customer)
    tan = np.sqrt(1.0 / feeder.power_factor**2 - 1.0)
    peak_w = 1000.0 + 500.0 * (np.arange(count) % 5)
    household = peak_w * (1 + 1j * tan)
    cars = np.zeros(count)
    cars[np.linspace(0, count - 1, min(16, count)).astype(int)] = 32.0
    none, all_none = np.zeros(count), np.zeros(count + more)
    cases = {
        "no load": (none + 0j, all_none),
        "household peak": (household, all_none),
        "16 cars at 7.4 kW": (cars * 230.0 + 0j, all_none),
        "16 cars at 32 A beside households": (0.5 * household, np.append(cars, np.zeros(more))),
    }
    if more:
        three = all_none.copy()
        three[extra.customer], three[count:] = 40.0, 30.0 + np.arange(more)
        cases["three-phase cars beside households"] = (0.5 * household, three)
    return cases


def _compare(
    feeder: Feeder, source_pu: float, sk_va: float, solver: FeederSolver, u_base_v: float, extra: _Extra
) -> dict[str, float]:
    """Return the largest difference to power-grid-model in pu of every load case."""
    model, first_load = _reference(feeder, source_pu, sk_va, u_base_v)
    count = len(feeder.loads)
    more = len(extra.customer)
    ids = np.concatenate([feeder.loads.bus, feeder.loads.bus[extra.customer], np.full(3, feeder.transformer.lv_bus)])
    phase = np.concatenate([feeder.loads.phase, extra.phase, np.arange(3)])
    differences: dict[str, float] = {}
    for case, (household_va, car_a) in _load_cases(feeder, extra).items():
        update = pgm.initialize_array(pgm.DatasetType.update, pgm.ComponentType.asym_load, 2 * count)
        update["id"] = first_load + np.arange(2 * count)
        update["p_specified"], update["q_specified"] = 0.0, 0.0
        rows = np.arange(count)
        update["p_specified"][rows, feeder.loads.phase] = household_va.real
        update["q_specified"][rows, feeder.loads.phase] = household_va.imag
        update["p_specified"][rows + count, feeder.loads.phase] = car_a[:count] * u_base_v
        update["p_specified"][extra.customer + count, extra.phase] = car_a[count:] * u_base_v
        model.update(update_data={pgm.ComponentType.asym_load: update})
        try:
            result = model.calculate_power_flow(
                symmetric=False,
                error_tolerance=PGM_TOLERANCE,
                calculation_method=pgm.CalculationMethod.newton_raphson,
                output_component_types=[pgm.ComponentType.node],
            )
        except PowerGridError as error:
            raise NetworkError(f"feeder {feeder.name}: power-grid-model, case {case!r}: {error}") from error
        node = result[pgm.ComponentType.node]
        row = np.searchsorted(node["id"], ids)
        reference_v = (node["u"] * np.exp(1j * node["u_angle"]))[row, phase]
        solution = solver.solve(np.append(household_va, np.zeros(more + 3)), np.append(car_a, [0, 0, 0]))
        difference = float(np.max(np.abs(solution.v_v - reference_v))) / u_base_v
        differences[case] = difference if np.isfinite(difference) else float("inf")
    return differences


def _reference(feeder: Feeder, source_pu: float, sk_va: float, u_base_v: float) -> tuple[pgm.PowerGridModel, int]:
    """Return the feeder in power-grid-model and the id of its first load; a household and a car per customer."""
    transformer, lines, loads = feeder.transformer, feeder.lines, feeder.loads
    count, top = len(loads), int(feeder.bus.max())
    hv_bus, source_id, transformer_id = top + 1, top + 2, top + 3
    first_line = top + 4
    first_load = first_line + len(lines)

    def component(kind: Any, size: int, **values: Any) -> np.ndarray:
        array = pgm.initialize_array(pgm.DatasetType.input, kind, size)
        for key, value in values.items():
            array[key] = value
        return array

    z1, z0 = _line_ohm(feeder)
    z_pu = np.hypot(transformer.r_pu, transformer.x_pu)
    kinds = pgm.ComponentType
    data = {
        kinds.node: component(
            kinds.node,
            len(feeder.bus) + 1,
            id=np.append(feeder.bus, hv_bus),
            u_rated=np.append(np.full(len(feeder.bus), transformer.u_lv_v), transformer.u_hv_v),
        ),
        kinds.source: component(
            kinds.source,
            1,
            id=source_id,
            node=hv_bus,
            status=1,
            u_ref=source_pu,
            sk=sk_va,
            rx_ratio=1.0 / feeder.grid.x_over_r,
        ),
        kinds.transformer: component(
            kinds.transformer,
            1,
            id=transformer_id,
            from_node=hv_bus,
            to_node=transformer.lv_bus,
            from_status=1,
            to_status=1,
            u1=transformer.u_hv_v,
            u2=transformer.u_lv_v,
            sn=transformer.s_rated_va,
            uk=z_pu,
            pk=transformer.r_pu * transformer.s_rated_va,
            i0=0.0,
            p0=0.0,
            winding_from=pgm.WindingType.delta,
            winding_to=pgm.WindingType.wye_n,
            clock=transformer.clock,
            tap_side=pgm.BranchSide.from_side,
            tap_pos=0,
            tap_min=0,
            tap_max=0,
            tap_nom=0,
            tap_size=0.0,
        ),
        kinds.line: component(
            kinds.line,
            len(lines),
            id=first_line + np.arange(len(lines)),
            from_node=lines.from_bus,
            to_node=lines.to_bus,
            from_status=1,
            to_status=1,
            r1=z1.real,
            x1=z1.imag,
            c1=0.0,
            tan1=0.0,
            r0=z0.real,
            x0=z0.imag,
            c0=0.0,
            tan0=0.0,
            i_n=1000.0,
        ),
        kinds.asym_load: component(
            kinds.asym_load,
            2 * count,
            id=first_load + np.arange(2 * count),
            node=np.tile(loads.bus, 2),
            status=1,
            type=np.repeat([pgm.LoadGenType.const_power, pgm.LoadGenType.const_current], count),
            p_specified=0.0,
            q_specified=0.0,
        ),
    }
    return pgm.PowerGridModel(data), first_load
