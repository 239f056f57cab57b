"""Hold when floor and order go out, in which purpose and kind, and what becomes of them where a point refuses one."""

import asyncio
import math
from typing import Any

import pytest

pytest.importorskip("ocpp", reason="the extra ocpp is not installed")
pytest.importorskip("websockets", reason="the extra ocpp is not installed")

from csms_helpers import bench, quick, until
from pydantic import ValidationError
from scripted_point import ScriptedPoint, now_text

from instruments.catalog import load_model, ocpp_of
from instruments.ocpp_catalog import OcppPart

VOLTS = [230.0, 231.0, 232.0]
SET = "SetChargingProfile"


def sent(point: ScriptedPoint) -> list[str]:
    """Return the actions that came, oldest first."""
    return [action for action, _ in point.calls]


def limits(point: ScriptedPoint) -> list[float]:
    """Return the limits of the profiles that came, oldest first."""
    return [point.limit(profile)[0] for profile in point.sent_profiles()]


async def ready(url: str, version: str = "ocpp1.6", point: ScriptedPoint | None = None) -> ScriptedPoint:
    """Dial, boot, say Charging and send one set of values."""
    point = point or ScriptedPoint(version)
    await point.dial(url)
    await point.boot()
    await point.status("Charging" if point.old else "Occupied")
    await point.meter([0.0, 0.0, 0.0], VOLTS)
    return point


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1"])
def test_nothing_is_sent_before_the_boot_is_accepted(version: str) -> None:
    async def play() -> None:
        async with bench(quick(version)) as here:
            here.charger._inbox.ready = False
            point = ScriptedPoint(version)
            await point.dial(here.url)
            assert (await point.boot())["status"] == "Pending"
            await asyncio.sleep(0.4)
            assert point.calls == []
            here.charger._inbox.ready = True
            assert (await point.boot())["status"] == "Accepted"
            await until(lambda: limits(point)[:2] == [6.0, 16.0], "floor, then order")

    asyncio.run(play())


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1"])
def test_a_shadow_asks_and_sets_nothing(version: str) -> None:
    async def play() -> None:
        async with bench(quick(version), read_only=True) as here:
            point = await ready(here.url, version)
            await until(lambda: bool(point.calls), "asked")
            await here.charger.program_failsafe()
            await asyncio.sleep(0.5)
            assert set(sent(point)) <= {"TriggerMessage", "GetCompositeSchedule"}
            assert here.charger.reading.quality == 0 and math.isnan(here.charger.reading.sent_a)

    asyncio.run(play())


def test_a_point_of_another_make_is_sent_nothing_and_not_believed() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6", vendor="ACME")) as here:
            point = await ready(here.url)
            await until(lambda: "expected ACME" in here.charger.reading.fault, "told")
            assert point.calls == [] and here.charger.reading.quality == 2

    asyncio.run(play())


def test_a_point_that_only_lost_its_link_need_not_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(*, speaks: bool) -> None:
        async with bench(quick("ocpp1.6")) as here:
            point = ScriptedPoint()
            await point.dial(here.url)
            if speaks:  # nobody that is not accepted sends this
                await point.status("Charging")
            await until(lambda: limits(point)[:2] == [6.0, 16.0], "floor, then order")

    asyncio.run(play(speaks=True))
    monkeypatch.setattr("instruments.ocpp_charger.BOOT_S", 0.3)
    asyncio.run(play(speaks=False))


def test_a_boot_within_a_connection_brings_floor_and_order_again() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6")) as here:
            point = await ready(here.url)
            await until(lambda: here.charger.reading.limit_a == 16.0, "ordered and read back")
            point.calls.clear()
            await point.boot()
            await until(lambda: limits(point)[:2] == [6.0, 16.0], "floor and order again")
            assert here.charger.reading.failsafe_a == 6.0

    asyncio.run(play())


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.1"])
def test_without_a_floor_an_order_has_no_end_and_is_no_more_than_the_failsafe(version: str) -> None:
    async def play() -> None:
        async with bench(quick(version)) as here:
            point = ScriptedPoint(version)
            refused = {"status": "Rejected"}

            def judge(payload: dict[str, Any]) -> dict[str, Any]:
                profile = payload.get("csChargingProfiles") or payload["chargingProfile"]
                return refused if profile.get("id", profile.get("chargingProfileId")) == 1 else {"status": "Accepted"}

            point.answers[SET] = judge
            await ready(here.url, point=point)
            await until(lambda: here.charger.reading.sent_a == 6.0, "held at the fail-safe")
            await until(lambda: "16 A wanted, 6 A sent without an end" in here.charger.reading.fault, "told")
            order = point.orders()[-1]
            schedule = order["chargingSchedule"] if point.old else order["chargingSchedule"][0]
            assert "duration" not in schedule and "maxOfflineDuration" not in order
            assert math.isnan(here.charger.reading.failsafe_a)
            del point.answers[SET]
            await until(lambda: here.charger.reading.sent_a == 16.0, "the floor stands at last")
            order = point.orders()[-1]
            assert ("duration" in order["chargingSchedule"]) if point.old else order["maxOfflineDuration"] == 9
            assert here.charger.reading.failsafe_a == 6.0

    asyncio.run(play())


def test_an_empty_answer_makes_nothing_known() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6")) as here:
            point = ScriptedPoint()
            point.answers[SET] = lambda _payload: {}
            await ready(here.url, point=point)
            await until(lambda: "breaks the schema" in here.charger.reading.fault, "told")
            assert math.isnan(here.charger.reading.sent_a) and math.isnan(here.charger.reading.failsafe_a)

    asyncio.run(play())


@pytest.mark.parametrize(
    ("version", "purpose"),
    [
        ("ocpp1.6", "ChargePointMaxProfile"),
        ("ocpp2.0.1", "ChargingStationMaxProfile"),
        ("ocpp2.0.1", "ChargingStationExternalConstraints"),
    ],
)
def test_a_purpose_of_the_whole_station_goes_to_0(version: str, purpose: str) -> None:
    async def play() -> None:
        async with bench(quick(version, purpose=purpose)) as here:
            point = await ready(here.url, version)
            await until(lambda: here.charger.reading.limit_a == 16.0, "ordered and read back")
            places = [
                payload.get("connectorId", payload.get("evseId")) for action, payload in point.calls if action == SET
            ]
            assert set(places) == {0}
            assert {profile["chargingProfilePurpose"] for profile in point.sent_profiles()} == {purpose}
            asked = [payload for action, payload in point.calls if action == "GetCompositeSchedule"]
            assert asked[0].get("connectorId", asked[0].get("evseId")) == 1  # what the one that we measure gets
            assert "ClearChargingProfile" not in sent(
                point
            )  # a transaction's profile cannot raise it: the lowest counts

    asyncio.run(play())


def test_a_transaction_profile_goes_out_in_a_transaction_only_over_a_default_floor() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6", purpose="TxProfile")) as here:
            point = await ready(here.url)
            await until(lambda: here.charger.reading.failsafe_a == 6.0, "the floor needs no transaction")
            assert point.sent_profiles()[0]["chargingProfilePurpose"] == "TxDefaultProfile"
            await asyncio.sleep(0.5)
            assert point.orders() == []
            start = {"connectorId": 1, "idTag": "a", "meterStart": 5, "timestamp": now_text()}
            number = (await point.call("StartTransaction", start))["transactionId"]
            await until(lambda: bool(point.orders()), "ordered in the transaction")
            order = point.orders()[-1]
            assert (order["chargingProfilePurpose"], order["transactionId"]) == ("TxProfile", number)
            stop = {"transactionId": number, "meterStop": 9, "timestamp": now_text()}
            await point.call("StopTransaction", stop)
            before = len(point.orders())
            here.want_a = 10.0
            await asyncio.sleep(0.5)
            assert len(point.orders()) == before

    asyncio.run(play())


def test_a_latched_order_has_no_floor_and_no_end() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6", failsafe="latched")) as here:
            point = await ready(here.url)
            await until(lambda: here.charger.reading.limit_a == 16.0, "ordered and read back")
            assert limits(point) == [16.0] and "duration" not in point.orders()[0]["chargingSchedule"]
            assert math.isnan(here.charger.reading.failsafe_a)  # nothing lowers it: the plan counts it in full

    asyncio.run(play())


def test_another_partys_limit_counts_as_the_points_own() -> None:
    async def play() -> None:
        async with bench(quick("ocpp2.0.1")) as here:
            point = await ready(here.url, "ocpp2.0.1")
            reading = here.charger.reading
            await until(lambda: reading.limit_a == 16.0, "read back")
            asked = sent(point).count("GetCompositeSchedule")
            period = {"startPeriod": 0, "limit": 9.0}
            schedule = [{"id": 7, "chargingRateUnit": "A", "chargingSchedulePeriod": [period]}]
            limit = {"chargingLimit": {"chargingLimitSource": "EMS"}, "chargingSchedule": schedule, "evseId": 1}
            await point.call("NotifyChargingLimit", limit)
            assert reading.limit_a == 9.0
            await until(lambda: sent(point).count("GetCompositeSchedule") > asked, "asked at once what is in force")
            await until(lambda: "another party limits it to 9.0 A: EMS" in reading.fault, "told")
            await asyncio.sleep(0.1)
            assert reading.limit_a == 9.0 and math.isnan(reading.overwritten_a)
            await point.call("NotifyChargingLimit", limit | {"evseId": 2, "chargingSchedule": []})
            assert reading.limit_a == 9.0  # that is another EVSE's
            await point.call("ClearedChargingLimit", {"chargingLimitSource": "EMS"})
            await until(lambda: reading.limit_a == 16.0, "its own again")

    asyncio.run(play())


@pytest.mark.parametrize("mode", ["ChargingOnly", "CentralSetpoint"])
def test_a_dynamic_order_of_2_1_is_moved_in_place(mode: str) -> None:
    async def play() -> None:
        changed = {"kind": "Dynamic", "operation_mode": mode, "dyn_update_s": 30}
        async with bench(quick("ocpp2.1", **changed)) as here:
            point = await ready(here.url, "ocpp2.1")
            await until(lambda: here.charger.reading.sent_a == 16.0, "ordered")
            order = point.orders()[0]
            period = order["chargingSchedule"][0]["chargingSchedulePeriod"][0]
            assert (order["chargingProfileKind"], order["dynUpdateInterval"]) == ("Dynamic", 30)
            assert "startSchedule" not in order["chargingSchedule"][0] and order["maxOfflineDuration"] == 9
            assert (period.get("operationMode", "ChargingOnly"), period["limit"]) == (mode, 16.0)
            # a set-point alone is the sum of all phases
            assert [period.get(f"setpoint{k}") for k in ("", "_L2", "_L3")] == [
                None if mode == "ChargingOnly" else 16.0
            ] * 3
            assert point.sent_profiles()[0]["chargingProfileKind"] == "Absolute"  # the floor stands still
            here.want_a = 10.0
            await until(lambda: "UpdateDynamicSchedule" in sent(point), "moved")
            moved = next(payload for action, payload in point.calls if action == "UpdateDynamicSchedule")
            assert (moved["chargingProfileId"], moved["scheduleUpdate"]["limit"]) == (2, 10.0)
            await until(lambda: here.charger.reading.sent_a == 10.0, "known")
            pulled = await point.call("PullDynamicScheduleUpdate", {"chargingProfileId": 2})
            assert pulled == {"status": "Accepted", "scheduleUpdate": moved["scheduleUpdate"]}
            assert (await point.call("PullDynamicScheduleUpdate", {"chargingProfileId": 9}))["status"] == "Rejected"
            point.answers["UpdateDynamicSchedule"] = lambda _payload: {"status": "Rejected"}
            here.want_a = 8.0
            await until(lambda: here.charger.reading.sent_a == 8.0, "a refused update is followed by the profile")
            assert sent(point).count(SET) >= 3

    asyncio.run(play())


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"versions": ["ocpp2.0.1"], "kind": "Dynamic"}, "need versions"),
        ({"versions": ["ocpp2.0.1"], "operation_mode": "CentralSetpoint"}, "need versions"),
        ({"kind": "Dynamic", "failsafe": "expiring"}, "needs failsafe offline"),
        ({"dyn_update_s": 5}, "belongs to kind Dynamic"),
    ],
)
def test_a_record_says_nothing_that_its_version_has_not(changed: dict[str, Any], told: str) -> None:
    raw = ocpp_of(load_model("ocpp21-generic")).model_dump()
    if changed.get("versions"):
        raw["failsafe"] = "expiring"
    with pytest.raises(ValidationError, match=told):
        OcppPart.model_validate(raw | changed)


def test_a_phase_that_is_left_out_does_not_become_younger() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6"), run=False) as here:
            point = await ready(here.url)
            await point.meter([16.0, 16.0, 16.0], VOLTS, ahead_s=-6.0)  # older than what is known: left out
            reading = here.charger.reading
            oldest_ns = reading.change_ns
            assert oldest_ns > 0 and reading.amp_a.tolist() == [0.0] * 3
            await asyncio.sleep(1.1)  # stamps have whole seconds
            await point.meter([7.0], VOLTS[:1])
            assert reading.amp_a.tolist() == [7.0, 0.0, 0.0] and reading.change_ns == oldest_ns
            await point.meter([7.0, 8.0, 9.0], VOLTS)
            assert reading.amp_a.tolist() == [7.0, 8.0, 9.0] and reading.change_ns > oldest_ns + 500_000_000

    asyncio.run(play())


@pytest.mark.parametrize("value", [{"value": 1.0, "multiplier": 10**6}, {"value": 10.0**300, "multiplier": 300}])
def test_a_number_beyond_all_bounds_is_no_number_and_ends_nothing(value: dict[str, Any]) -> None:
    async def play() -> None:
        async with bench(quick("ocpp2.0.1"), run=False) as here:
            point = await ready(here.url, "ocpp2.0.1")
            sampled = {
                "measurand": "Current.Import",
                "value": value["value"],
                "unitOfMeasure": {"unit": "A", "multiplier": value["multiplier"]},
            }
            meter = {"evseId": 1, "meterValue": [{"timestamp": now_text(), "sampledValue": [sampled]}]}
            assert await point.call("MeterValues", meter) == {}
            assert here.charger.reading.amp_a.tolist() == [0.0] * 3 and here.charger.reading.link

    asyncio.run(play())
