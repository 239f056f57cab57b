"""Make the emulated charger and car of every charger in a rig, from catalog, behaviour and vehicle data."""

from typing import Any

import numpy as np

from hil.plant.fleet import EvseSpec, EvSpec
from hil.plant.pilot import amps_of_cable
from hil.rig.charger_keys import ChargerPart
from hil.rig.schema import Rig
from instruments import catalog
from profiles.evse import load_behaviours
from profiles.vehicle import Vehicle


def hard_max_a_of(charger: ChargerPart, model: catalog.Model) -> float:
    """Return the rating of a charger, A: its model's, or less where the rig says so."""
    top = catalog.charger_of(model).max_a
    return top if charger.hard_max_a is None else min(charger.hard_max_a, top)


def export_max_a(charger: ChargerPart, car: Vehicle) -> float:
    """Return what charger and car give back together at most, A per phase from 0."""
    return min(charger.discharge_max_a, car.discharge_max_a)


def restart_delays_s(rig: Rig) -> list[float]:
    """Draw each charger's delay after a black-out, s, from the seed and its name: others do not move it."""
    return [
        float(charger.restart_delay_s * np.random.default_rng([rig.rig.seed, *charger.name.encode()]).random())
        for charger in rig.charger
    ]


def evse_of(charger: ChargerPart, model: catalog.Model, restart_delay_s: float) -> EvseSpec:
    """Return the emulated charger of a rig's charger: model, behaviour, and its own delay after a black-out, s."""
    part = catalog.charger_of(model)
    behaviour: dict[str, Any] = load_behaviours()[charger.behaviour].numbers()
    return EvseSpec(
        name=charger.name,
        phases=charger.phases,
        hard_max_a=hard_max_a_of(charger, model),
        pwm_gap_s=part.timing.pwm_gap_s,
        watchdog=part.watchdog.kind,
        token=int(part.watchdog.feed_value),
        failsafe_a=charger.failsafe_a,
        failsafe_s=charger.failsafe_s,
        min_setpoint_a=part.min_a,
        meter_v_step_v=part.voltage_step_v,
        meter_a_step_a=part.current_step_a,
        boot_limit_a=charger.failsafe_a,
        restart_after_blackout=charger.restart_after_blackout,
        restart_delay_s=restart_delay_s,
        switch_phases=charger.switch_phases,
        discharge_max_a=min(charger.discharge_max_a, hard_max_a_of(charger, model)),
        **behaviour,
    )


def ev_of(charger: ChargerPart, model: catalog.Model, car: Vehicle) -> EvSpec:
    """Return the emulated car at a rig's charger."""
    part = catalog.charger_of(model)
    if part.dc is not None:  # the converter gives the current; this keeps rating and energy
        return EvSpec(
            name=f"{charger.name}:{car.name}",
            phases=3,
            max_a=hard_max_a_of(charger, model),
            floor_a=part.min_a,
            battery_wh=car.battery_wh,
            efficiency=part.dc.efficiency,
        )
    phases = min(charger.phases, car.phases)
    return EvSpec(
        name=f"{charger.name}:{car.name}",
        phases=phases,
        max_a=car.ceiling_a(phases),
        max_1p_a=car.ceiling_a(1),
        floor_a=floor_a_of(charger, car),
        floor_1p_a=car.floor_1p_a,
        battery_wh=car.battery_wh,
        taper_soc=car.taper_soc,
        dead_time_s=car.dead_time_s,
        fall_a_per_s=car.fall_a_per_s,
        rise_a_per_s=car.rise_a_per_s,
        below_a=car.below_a,
        step_a=car.step_a,
        start_ramp_s=car.start_ramp_s,
        sleep_after_s=float("inf") if car.sleep_after_s is None else car.sleep_after_s,
        wakes=car.wakes,
        cable_a=amps_of_cable(car.cable_ohm),
        efficiency=car.efficiency,
        discharge_max_a=car.discharge_max_a,
        discharge_min_a=car.discharge_min_a,
        discharge_efficiency=car.discharge_efficiency,
        soc_floor=car.soc_floor,
    )


def floor_a_of(charger: ChargerPart, car: Vehicle) -> float:
    """Return the smallest alternating current at which a car charges on the phases that it has here, A."""
    return car.floor_1p_a if min(charger.phases, car.phases) == 1 else car.floor_3p_a
