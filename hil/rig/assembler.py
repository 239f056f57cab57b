"""Put a rig together: the only place where files become a feeder, chargers, a plan and a scenario.

Everything random is drawn here, from the rig's seed, so that fast mode, the real-time run and its uncontrolled
twin see the same street.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from controller.law import image
from controller.law.names import Fairness, VoltSource
from controller.runtime.contract_plan import Binding
from controller.runtime.plan import (
    ChargerSpec,
    DroopSpec,
    ExportSpec,
    PlanError,
    ReserveSpec,
    SiteSpec,
    build_plan,
)
from controller.runtime.site import ContractPort
from hil.plant.feeder import FeederSolver
from hil.plant.fleet import EvseSpec, EvSpec
from hil.rig.agreed_site import agreed_site
from hil.rig.charger_keys import ChargerPart
from hil.rig.contracts import bind_contracts, contract_ports
from hil.rig.dc_charger import DcPart, dc_part
from hil.rig.network import Network, build_network
from hil.rig.plant_parts import ev_of, evse_of, export_max_a, floor_a_of, hard_max_a_of, restart_delays_s
from hil.rig.references import Problem
from hil.rig.rigfile import LoadedRig, RigError
from hil.rig.schema import Rig
from hil.rig.sessions import SessionEvent, session_events
from hil.rig.tree import CONNECTION_NODE, Tree, build_tree
from instruments import catalog
from profiles.contract import load_contract
from profiles.household import Households, load_households
from profiles.vehicle import Vehicle

__all__ = ["CONNECTION_NODE", "Assembly", "SessionEvent", "assemble", "local_text", "with_cable"]

COARSE_V = 0.5  # a meter that resolves less than this bars droop: 1 V is 8.7 % of a 5 % band
FLOOR_MARGIN = 0.01  # of charge: the law ends an export before the car does, so that no reserve is promised in vain
WEEK_S = 7 * 86400.0


@dataclass(frozen=True)
class Assembly:
    """Hold a rig put together, ready to be stepped (world), served (plant process) and decided upon (plan)."""

    rig: Rig
    network: Network
    households: Households
    customer_names: list[str]
    customer_of: np.ndarray  # (N,) index of each charger's customer
    charger_names: list[str]
    vehicles: dict[str, Vehicle]  # classes of cars by name
    models: list[catalog.Model]  # (N,)
    evse: list[EvseSpec]
    ev: list[EvSpec]
    tree: Tree
    nodes: list[str]
    dims: image.Dims
    plan_bytes: np.ndarray
    site: SiteSpec
    contracts: list[ContractPort]  # those on call
    sessions: list[SessionEvent]
    start_utc_s: float
    utc_offset_s: float
    week_s: float  # seconds since Monday 00:00 local at the start
    dut: int  # index of the charger on the bench; -1 none
    dc: dict[int, DcPart]  # the chargers that give direct current, by index
    export_max_a: list[float]  # (N,) most that charger and car give back together

    def plan(self) -> Any:
        """Return views on the PLAN image."""
        return image.views("plan", self.dims, self.plan_bytes)


def assemble(loaded: LoadedRig, seed: int | None = None, horizon_s: float | None = None) -> Assembly:
    """Build the network, the plant's parts, the plan and the sessions of a checked rig.

    `seed` replaces the rig's; `horizon_s` is how far sessions are drawn. NetworkError where the two load-flow
    solutions do not agree, RigError where a contract does not fit the rig.
    """
    if seed is not None:
        head = loaded.rig.rig.model_copy(update={"seed": seed})
        loaded = replace(loaded, rig=loaded.rig.model_copy(update={"rig": head}))
    rig = with_cable(loaded.rig)
    loaded = replace(loaded, rig=rig)
    seed = rig.rig.seed
    horizon_s = rig.scenario.for_s if horizon_s is None else horizon_s
    feeder = loaded.feeder
    tree = build_tree(rig)
    three = [customer for customer, phases in tree.phases.items() if phases == 3]
    network = build_network(feeder, source_pu=rig.feeder.source_pu, three_phase=three)
    customer_names = list(feeder.loads.name)
    models = [loaded.models[charger.model] for charger in rig.charger]
    cars = [loaded.vehicles[charger.vehicle] for charger in rig.charger]
    customer_of = np.array([charger.customer - 1 for charger in rig.charger])
    drop_pu = _nominal_drop_pu(rig, network, first_nodes(network, customer_of, tree))
    try:
        site = _site_spec(loaded, models, cars, tree, drop_pu)
        dims, plan_bytes, _ = build_plan(site)
        ports = contract_ports(rig.contract, loaded.contracts, site, rig.rig.timezone)
    except PlanError as error:
        raise RigError([Problem(loaded.path.name, "", line) for line in str(error).splitlines()]) from error
    zone = ZoneInfo(rig.rig.timezone)
    start = rig.scenario.start
    local = start.replace(tzinfo=zone) if start.tzinfo is None else start.astimezone(zone)
    offset = local.utcoffset()
    midnight_s = local.hour * 3600 + local.minute * 60 + local.second
    return Assembly(
        rig=rig,
        network=network,
        households=load_households(
            rig.feeder.households, len(customer_names), seed, power_factor=rig.feeder.power_factor
        ),
        customer_names=customer_names,
        customer_of=customer_of,
        charger_names=[charger.name for charger in rig.charger],
        vehicles=loaded.vehicles,
        models=models,
        evse=[evse_of(*parts) for parts in zip(rig.charger, models, restart_delays_s(rig), strict=True)],
        ev=[ev_of(*parts) for parts in zip(rig.charger, models, cars, strict=True)],
        tree=tree,
        nodes=[node.name for node in site.nodes],
        dims=dims,
        plan_bytes=plan_bytes,
        site=site,
        contracts=ports,
        sessions=session_events(loaded, local, cars, horizon_s),
        start_utc_s=local.astimezone(UTC).timestamp(),
        utc_offset_s=offset.total_seconds() if offset is not None else 0.0,
        week_s=local.weekday() * 86400.0 + midnight_s,
        dc={i: part for i, part in enumerate(map(dc_part, models, cars)) if part is not None},
        export_max_a=[export_max_a(*parts) for parts in zip(rig.charger, cars, strict=True)],
        dut=-1 if rig.bench is None else [c.name for c in rig.charger].index(rig.bench.charger),
    )


def local_text(utc_s: float, offset_s: float) -> str:
    """Write a UTC epoch time as the site's local HH:MM:SS."""
    return datetime.fromtimestamp(utc_s + offset_s, UTC).strftime("%H:%M:%S")


def with_cable(rig: Rig) -> Rig:
    """Return the rig with the bench's charger held to its cable: charger, law and played car know the one ceiling."""
    cable_a = None if rig.bench is None or rig.bench.adapter is None else rig.bench.adapter.cable_a
    if rig.bench is None or cable_a is None:
        return rig
    name = rig.bench.charger
    chargers = [
        part.model_copy(update={"hard_max_a": min(part.hard_max_a or float("inf"), float(cable_a))})
        if part.name == name
        else part
        for part in rig.charger
    ]
    return rig.model_copy(update={"charger": chargers})


def _phase_map(charger: ChargerPart, first: int) -> tuple[int, int, int]:
    """Return the grid phase of the charger's terminals L1, L2, L3: the grid's order from phase `first` on."""
    return (first, (first + 1) % 3, (first + 2) % 3) if charger.phases == 3 else (first, -1, -1)


def _site_spec(
    loaded: LoadedRig,
    models: list[catalog.Model],
    cars: list[Vehicle],
    tree: Tree,
    drop_pu: np.ndarray,
) -> SiteSpec:
    """Declare nodes, chargers and windows for the plan."""
    rig, law = loaded.rig, loaded.rig.law
    droop = DroopSpec(
        points=tuple((volts, share) for volts, share in law.droop.points),
        tau_s=law.droop.filter_s,
        deadband_pu=law.droop.deadband_pu,
        hysteresis_pu=law.droop.hysteresis_pu,
        pause_pu=law.droop.pause_pu,
        resume_pu=law.droop.resume_pu,
        fairness=Fairness[law.droop.fairness.upper()],
    )
    chargers = []
    for i, (charger, model, car) in enumerate(zip(rig.charger, models, cars, strict=True)):
        part = catalog.charger_of(model)
        phase = int(loaded.feeder.loads.phase[charger.customer - 1]) + int(tree.turn[i])
        coarse = part.voltage_step_v > COARSE_V
        chargers.append(
            ChargerSpec(
                name=charger.name,
                node=int(tree.node_of[i]),
                phase_map=_phase_map(charger, phase % 3),
                hard_max_a=hard_max_a_of(charger, model),
                obey_s=part.obey_s,
                max_age_s=part.max_age_s,
                limit_slack_a=part.setpoint.applied_slack_a,
                failsafe_a=part.watchdog.expiry_a(charger.failsafe_a, hard_max_a_of(charger, model)),
                failsafe_s=charger.failsafe_s,
                step_a=part.step_a,
                floor_a=part.min_a if part.dc is not None else max(part.min_a, floor_a_of(charger, car)),
                weight=charger.weight,
                priority=charger.priority,
                no_pause=not charger.may_pause,
                ramp_up_a_per_s=law.ramp_up_a_per_s,
                random_delay_s=law.random_delay_s,
                volt_source=VoltSource.NODE if coarse else VoltSource.OWN,
                droop=droop,
                nominal_drop_pu=float(drop_pu[i]),
                reserve=ReserveSpec(law.reserve_w, law.reserve_base_a) if law.reserve_w > 0.0 else None,
                wish_exempt=law.reserve_w > 0.0,
                switch_phases=charger.switch_phases,
                switch_floor_a=max(part.min_a, car.floor_1p_a) if charger.switch_phases else 0.0,
                export=_export(charger, car),
            )
        )
    bindings = [*guarded(rig), *bind_contracts(rig.contract, loaded.contracts, chargers, tree.nodes)]
    today, period_s = rig.scenario.start.date(), rig.rig.scan_period_s
    return agreed_site(tree.nodes, chargers, bindings, law, today=today, timezone=rig.rig.timezone, period_s=period_s)


def _export(charger: ChargerPart, car: Vehicle) -> ExportSpec | None:
    max_a, floor = export_max_a(charger, car), car.soc_floor + FLOOR_MARGIN
    return ExportSpec(max_a=max_a, min_a=car.discharge_min_a, soc_floor=floor) if max_a > 0.0 else None


def first_nodes(network: Network, customer_of: np.ndarray, tree: Tree) -> np.ndarray:
    """Return the node of the network at L1 of each charger (N,)."""
    terminals = [network.nodes_of(int(customer)) for customer in customer_of]
    return np.array([nodes[turn % len(nodes)] for nodes, turn in zip(terminals, tree.turn, strict=True)])


def _nominal_drop_pu(rig: Rig, network: Network, nodes: np.ndarray) -> np.ndarray:
    """Return each charger's fall of volts (N) [pu of 230 V] with `equalise_a` drawn by all; 0 where not equalised."""
    if rig.law.droop.fairness != "equalised":
        return np.zeros(len(nodes))
    solver = FeederSolver(network.z_ohm, network.v0_v, network.phase)
    fall_v_per_a = -solver.sensitivity_v_per_a()[np.ix_(nodes, nodes)]
    drop: np.ndarray = np.maximum(fall_v_per_a.sum(axis=1), 0.0) * rig.law.droop.equalise_a / 230.0
    return drop


def guarded(rig: Rig) -> list[Binding]:
    """Return the contract whose energy guard the rig plays, at its node."""
    guard = rig.guard
    return [] if guard is None else [Binding(load_contract(guard.contract), nodes=(int(guard.node == "head"),))]
