"""The emulated OCPP 2.0.1 (and 2.1) charging station against a central system of the ocpp library."""

import asyncio
import time

import pytest
from ocpp.exceptions import OCPPError
from ocpp.v21 import call as call21
from ocpp.v201 import call
from twin_helpers import bench

from hil.twins.ocpp_profiles import time_text

PAST = "2026-01-01T00:00:00Z"
LIST = "Current.Import,Voltage,Power.Active.Import"


def raw_profile(limit, number=1, level=5, purpose="TxDefaultProfile", kind="Absolute", **more):
    schedule = {"id": 1, "chargingRateUnit": more.pop("unit", "A")}
    if kind != "Dynamic" and kind != "Relative":
        schedule["startSchedule"] = more.pop("startSchedule", PAST)
    if "duration" in more:
        schedule["duration"] = more.pop("duration")
    schedule["chargingSchedulePeriod"] = [{"startPeriod": 0, "limit": limit}]
    head = {"id": number, "stackLevel": level, "chargingProfilePurpose": purpose, "chargingProfileKind": kind}
    return head | {"chargingSchedule": [schedule]} | more


def profile(limit, *given, evse=1, calls=call, **more):
    return calls.SetChargingProfile(evse_id=evse, charging_profile=raw_profile(limit, *given, **more))


async def obeyed(found, amps):
    await found.until(lambda: abs(found.amps - amps) < 0.15, f"{amps:g} A at the car")


def variable(component, name, value=None):
    asked = {"component": {"name": component}, "variable": {"name": name}}
    return asked if value is None else asked | {"attributeValue": value}


def test_boot_transaction_events_and_meter_values():
    async def run():
        async with bench("ocpp201-generic") as found:
            asked = [
                variable("SampledDataCtrlr", "TxUpdatedMeasurands", LIST),
                variable("SampledDataCtrlr", "TxUpdatedInterval", "1"),
                variable("SmartChargingCtrlr", "ProfileStackLevel", "99"),
                variable("SmartChargingCtrlr", "Colour", "red"),
                variable("Coffee", "Strength", "9"),
            ]
            answer = await found.call(call.SetVariables(set_variable_data=asked))
            states = [each["attribute_status"] for each in answer.set_variable_result]
            assert states == ["Accepted", "Accepted", "Rejected", "UnknownVariable", "UnknownComponent"]
            asked = [variable("SmartChargingCtrlr", "RateUnit"), variable("SmartChargingCtrlr", "ProfileStackLevel")]
            answer = await found.call(call.GetVariables(get_variable_data=asked))
            assert [each["attribute_value"] for each in answer.get_variable_result] == ["A,W", "8"]
            events = found.log.of("TransactionEvent")
            await found.until(lambda: any("meter_value" in e for e in found.log.of("TransactionEvent")), "samples")
            events = found.log.of("TransactionEvent")
            assert events[0]["event_type"] == "Started"
            assert [e["seq_no"] for e in events] == list(range(len(events)))
            assert len({e["transaction_info"]["transaction_id"] for e in events}) == 1
            states = [e["transaction_info"].get("charging_state") for e in events]
            assert "Charging" in states
            assert found.log.of("BootNotification")[0]["reason"] == "PowerUp"
            assert [s["connector_status"] for s in found.log.of("StatusNotification")] == ["Occupied"]
            found.fleet.unplug(0, found.clock_s())
            await found.until(lambda: found.log.of("TransactionEvent")[-1]["event_type"] == "Ended", "the end")
            assert found.log.of("TransactionEvent")[-1]["transaction_info"]["stopped_reason"] == "EVDisconnected"
            await found.until(lambda: found.log.of("StatusNotification")[-1]["connector_status"] == "Available", "free")
            cleared = len(found.log.of("MeterValues"))
            await found.call(call.TriggerMessage(requested_message="MeterValues", evse={"id": 1}))
            await found.until(lambda: len(found.log.of("MeterValues")) > cleared, "meter values outside a transaction")

    asyncio.run(run())


def test_profiles_are_taken_refused_reported_and_cleared():
    async def run():
        async with bench("ocpp201-generic") as found:
            assert (await found.call(profile(10.4))).status == "Accepted"
            await obeyed(found, 10.4)
            answer = await found.call(call.GetCompositeSchedule(evse_id=1, duration=60, charging_rate_unit="A"))
            assert answer.schedule["charging_schedule_period"] == [
                {"start_period": 0, "limit": 10.4, "number_phases": 3}
            ]
            refused = await found.call(profile(6.0, 2))
            assert (refused.status, refused.status_info["reason_code"]) == ("Rejected", "DuplicateProfile")
            refused = await found.call(profile(6.0, 3, 1, "TxProfile", transactionId="nobody"))
            assert refused.status_info["reason_code"] == "TxNotFound"
            tx = found.twin.point.transaction.id
            assert (await found.call(profile(7.0, 3, 1, "TxProfile", transactionId=tx))).status == "Accepted"
            await obeyed(found, 7.0)
            ask = call.GetChargingProfiles(request_id=1, charging_profile={"chargingProfilePurpose": "TxProfile"})
            assert (await found.call(ask)).status == "Accepted"
            report = (await found.until(lambda: found.log.of("ReportChargingProfiles"), "report"))[0]
            assert [each["id"] for each in report["charging_profile"]] == [3]
            clear = call.ClearChargingProfile(charging_profile_criteria={"chargingProfilePurpose": "TxProfile"})
            assert (await found.call(clear)).status == "Accepted"
            await obeyed(found, 10.4)
            assert (await found.call(call.ClearChargingProfile(charging_profile_id=77))).status == "Unknown"

    asyncio.run(run())


def test_a_local_constraint_lowers_the_car_and_is_told():
    async def run():
        async with bench("ocpp201-generic") as found:
            await found.call(profile(20.0))
            await obeyed(found, 20.0)
            found.twin.constrain(8.0)
            await obeyed(found, 8.0)
            told = (await found.until(lambda: found.log.of("NotifyChargingLimit"), "notice"))[0]
            assert told["charging_limit"]["charging_limit_source"] == "EMS"
            assert told["charging_schedule"][0]["charging_schedule_period"][0]["limit"] == 8.0
            assert (await found.call(call.ClearChargingProfile(charging_profile_id=-1))).status == "Unknown"
            found.twin.constrain(None)
            await obeyed(found, 20.0)
            await found.until(lambda: found.log.of("ClearedChargingLimit"), "notice of its end")

    asyncio.run(run())


def test_a_reset_on_idle_waits_for_the_end_of_the_transaction():
    async def run():
        async with bench("ocpp201-generic") as found:
            await found.until(lambda: found.log.of("TransactionEvent"), "transaction")
            assert (await found.call(call.Reset(type="OnIdle"))).status == "Scheduled"
            await asyncio.sleep(0.5)
            assert found.twin.boots == 1
            stop = call.RequestStopTransaction(transaction_id=found.twin.point.transaction.id)
            assert (await found.call(stop)).status == "Accepted"
            await found.until(lambda: found.twin.boots == 2, "restart")
            assert found.log.of("BootNotification")[1]["reason"] == "RemoteReset"
            ends = [e for e in found.log.of("TransactionEvent") if e["event_type"] == "Ended"]
            assert ends[0]["transaction_info"]["stopped_reason"] == "Remote"
            refused = await found.call(call.RequestStopTransaction(transaction_id="nobody"))
            assert refused.status == "Rejected"

    asyncio.run(run())


def test_events_of_the_time_without_a_line_come_later_and_say_so():
    async def run():
        async with bench("ocpp201-generic") as found:
            await found.until(lambda: found.log.of("TransactionEvent"), "transaction")
            await found.twin.cut()
            await found.until(lambda: found.twin.point.offline_s > 0.2, "offline")
            found.fleet.unplug(0, found.clock_s())
            await found.until(lambda: found.twin.point.transaction is None, "end")
            await found.twin.restore()
            await found.until(lambda: found.log.of("TransactionEvent")[-1]["event_type"] == "Ended", "the end")
            assert found.log.of("TransactionEvent")[-1]["offline"] is True

    asyncio.run(run())


@pytest.mark.parametrize("invalid", [True, False])
def test_2_1_a_profile_with_an_offline_limit_gives_way_and_may_come_back(invalid):
    async def run():
        async with bench("ocpp21-generic") as found:
            floor = profile(6.0, 1, 0, calls=call21)
            order = profile(20.0, 2, 5, calls=call21, maxOfflineDuration=1, invalidAfterOfflineDuration=invalid)
            assert (await found.call(floor)).status == "Accepted"
            assert (await found.call(order)).status == "Accepted"
            await obeyed(found, 20.0)
            before = time.monotonic()
            await found.twin.cut()
            await obeyed(found, 6.0)
            assert time.monotonic() - before >= 0.9
            await found.twin.restore()
            await found.until(lambda: found.twin.boots == 2, "boot")
            await obeyed(found, 6.0 if invalid else 20.0)

    asyncio.run(run())


def test_2_1_dynamic_profiles_are_updated_in_place_and_2_0_1_does_not_know_them():
    async def run():
        async with bench("ocpp21-generic") as found:
            assert (await found.call(profile(9.0, kind="Dynamic", calls=call21))).status == "Accepted"
            await obeyed(found, 9.0)
            update = call21.UpdateDynamicSchedule(charging_profile_id=1, schedule_update={"limit": 11.0})
            assert (await found.call(update)).status == "Accepted"
            await obeyed(found, 11.0)
            nobody = call21.UpdateDynamicSchedule(charging_profile_id=5, schedule_update={"limit": 11.0})
            assert (await found.call(nobody)).status == "Rejected"
        async with bench("ocpp201-generic") as found:
            with pytest.raises(OCPPError):
                await found.central.call(update, suppress=False, skip_schema_validation=True)

    asyncio.run(run())


def test_an_order_that_expires_falls_to_the_floor():
    async def run():
        async with bench("ocpp201-generic") as found:
            await found.call(profile(6.0, 1, 0))
            await found.call(profile(20.0, 2, 8, duration=3600, startSchedule=time_text(time.time())))
            await obeyed(found, 20.0)
            found.ahead_s = 3601.0
            await obeyed(found, 6.0)

    asyncio.run(run())


def test_quirks_of_the_composite_schedule_and_of_profiles():
    async def run():
        async with bench("ocpp201-generic", plugged=False, only_watts=True) as found:
            faults = found.twin.faults
            ask = call.GetCompositeSchedule(evse_id=1, duration=60)
            faults.minus_one = True
            assert (await found.call(ask)).schedule["charging_schedule_period"][0]["limit"] == -1
            faults.empty_composite = True
            answer = await found.call(ask)
            assert (answer.status, answer.schedule) == ("Accepted", None)
            refused = await found.call(profile(10.0))
            assert refused.status_info["reason_code"] == "UnsupportedRateUnit"
            assert (await found.call(profile(6900.0, unit="W"))).status == "Accepted"
            refused = await found.call(profile(6900.0, 2, unit="W", evse=2))
            assert refused.status_info["reason_code"] == "UnknownEvse"
            wrong = {
                "OccurrenceConstraintViolation": call.Reset(type=None),
                "PropertyConstraintViolation": call.Reset(type="Gentle"),
                "FormatViolation": profile(10.0, surprise=1),
            }
            for code, request in wrong.items():
                with pytest.raises(OCPPError) as broken:
                    await found.central.call(request, suppress=False, skip_schema_validation=True)
                assert broken.value.code == code

    asyncio.run(run())
