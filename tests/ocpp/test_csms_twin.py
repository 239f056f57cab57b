"""Let our CSMS command our emulated points: what the one orders the other's car draws, also by dynamic set-points."""

import asyncio
from typing import Any

import pytest

pytest.importorskip("ocpp", reason="the extra ocpp is not installed")
pytest.importorskip("websockets", reason="the extra ocpp is not installed")

from csms_helpers import bench, quick, until
from twin_helpers import Bench, Log

from hil.plant.fleet import EvseSpec, EvSpec, Fleet
from hil.twins.ocpp_charger import OcppChargerTwin
from hil.twins.ocpp_profiles import Refused, read_profile
from instruments.catalog import Model


def world(model: Model, **evse: Any) -> tuple[Bench, OcppChargerTwin]:
    """Return a car at a point of `model`, and the point."""
    spec = EvseSpec("cp1", phases=3, hard_max_a=32.0, pwm_gap_s=0.1, contactor_close_s=0.1, **evse)
    car = EvSpec("car", phases=3, max_a=32.0, dead_time_s=0.1, fall_a_per_s=100.0, rise_a_per_s=100.0)
    fleet = Fleet([spec], [car])
    found = Bench(fleet, Log())
    found.plug()
    return found, OcppChargerTwin(model, fleet.view(0), found.clock_s, identity="CP%201", utc_ns=found.utc_ns)


@pytest.mark.parametrize("unit", ["A", "W"])
def test_dynamic_set_points_move_the_car_and_are_pulled(unit: str) -> None:
    changed: dict[str, Any] = {"kind": "Dynamic", "operation_mode": "CentralSetpoint", "dyn_update_s": 1}
    model = quick("ocpp2.1", rate_units=[unit], call_timeout_s=2.0, **changed)

    async def play() -> None:
        found, twin = world(model)
        physics = asyncio.create_task(found.physics())
        try:
            async with bench(model) as here:
                await twin.start(here.url)
                await until(lambda: abs(found.amps - 16.0) < 0.2, "16 A at the car")
                here.want_a = 9.0
                await until(lambda: abs(found.amps - 9.0) < 0.2, "9 A at the car")
                assert [p.kind for p in twin.point.store.profiles] == ["Absolute", "Dynamic"]
                pulls: list[Any] = []
                take = twin.dialect._move  # type: ignore[attr-defined]
                twin.dialect._move = lambda *given: pulls.append(given) or take(*given)  # type: ignore[attr-defined]
                await until(lambda: bool(pulls), "pulled")
                assert pulls[0][0] == 2 and found.amps < 9.2
        finally:
            await twin.stop()
            physics.cancel()
            await asyncio.gather(physics, return_exceptions=True)

    asyncio.run(play())


def period(**keys: Any) -> dict[str, Any]:
    """Return a profile of 2.1 of one period."""
    schedule = {"id": 1, "chargingRateUnit": keys.pop("unit", "A")}
    schedule["chargingSchedulePeriod"] = [{"startPeriod": 0, **keys}]
    head = {"id": 1, "stackLevel": 0, "chargingProfilePurpose": "TxDefaultProfile", "chargingProfileKind": "Dynamic"}
    return head | {"chargingSchedule": [schedule]}


@pytest.mark.parametrize(
    ("keys", "limit"),
    [
        ({"setpoint": 30.0}, 10.0),  # one number in A is the sum of all phases
        ({"setpoint": 30.0, "numberPhases": 1}, 30.0),
        ({"setpoint": 12.0, "setpoint_L2": 10.0, "setpoint_L3": 11.0}, 10.0),
        ({"setpoint": 30.0, "limit": 8.0}, 8.0),
        ({"setpoint": 6900.0, "unit": "W"}, 6900.0),
        ({"setpoint": 2300.0, "setpoint_L2": 2000.0, "setpoint_L3": 2300.0, "unit": "W"}, 6000.0),
    ],
)
def test_a_set_point_is_a_rate_per_phase_or_in_all(keys: dict[str, Any], limit: float) -> None:
    raw = period(operationMode="CentralSetpoint", **keys)
    assert read_profile(raw, 1).schedule.periods[0].limit == limit


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"operationMode": "CentralSetpoint", "setpoint": -10.0}, "UnsupportedParam"),
        ({"operationMode": "CentralSetpoint", "setpoint": 10.0, "setpointReactive": 3.0}, "UnsupportedParam"),
        ({"operationMode": "CentralSetpoint", "limit": 10.0}, "MissingParam"),
        ({"operationMode": "LocalFrequency"}, "UnsupportedParam"),
        ({"limit": 10.0, "setpoint": 8.0}, "UnsupportedParam"),
    ],
)
def test_a_set_point_that_would_not_be_followed_is_refused(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        read_profile(period(**keys), 1)
    assert refused.value.reason == reason


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1", "ocpp2.1"])
def test_a_point_that_can_goes_to_one_phase_when_it_is_asked_and_back(version: str) -> None:
    async def play() -> None:
        found, twin = world(quick(version), switch_phases=True, switch_pause_s=0.2, switch_dwell_s=0.2)
        view, physics = twin.point.view, asyncio.create_task(found.physics())
        try:
            async with bench(quick(version)) as here:
                here.charger.ask_phases(3)
                await twin.start(here.url)
                await until(lambda: drawn(view) == [16, 16, 16], "three phases")
                for number, amps in ((1, [10, 0, 0]), (3, [10, 10, 10])):
                    here.want_a = 0.0
                    await until(lambda: drawn(view) == [0, 0, 0], "a pause before the switch")
                    here.charger.ask_phases(number)
                    await until(lambda n=number: here.charger.reading.phases == n, f"{number} told by the point")
                    here.want_a = 10.0
                    await until(lambda a=amps: drawn(view) == a, f"{amps} drawn")
                    assert here.charger.reading.phases == number
                (period,) = (
                    twin.point.store.raw[2]["chargingSchedule"][0]["chargingSchedulePeriod"]
                    if (version != "ocpp1.6")
                    else twin.point.store.raw[2]["chargingSchedule"]["chargingSchedulePeriod"]
                )
                assert period["numberPhases"] == 3 and "phaseToUse" not in period
        finally:
            await twin.stop()
            physics.cancel()
            await asyncio.gather(physics, return_exceptions=True)

    asyncio.run(play())


def test_a_point_that_cannot_switch_is_not_told_one_phase_and_counts_on_all() -> None:
    async def play() -> None:
        found, twin = world(quick("ocpp2.0.1"))
        view, physics = twin.point.view, asyncio.create_task(found.physics())
        try:
            async with bench(quick("ocpp2.0.1")) as here:
                here.charger.ask_phases(1)
                await twin.start(here.url)
                await until(lambda: drawn(view) == [16, 16, 16], "three phases")
                await until(lambda: here.charger.reading.limit_a == 16.0, "composite schedule read")
                assert here.charger.reading.phases == 3
        finally:
            await twin.stop()
            physics.cancel()
            await asyncio.gather(physics, return_exceptions=True)

    asyncio.run(play())


def drawn(view: Any) -> list[int]:
    """Return the amps on each phase, rounded."""
    return [round(float(view.get(f"current_l{k}_a"))) for k in (1, 2, 3)]
