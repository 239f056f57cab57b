"""The emulated OCPP 1.6J charge point against a central system of the ocpp library, on real sockets."""

import asyncio
import base64
import ssl
import time

import pytest
from certificates import self_signed
from ocpp.exceptions import OCPPError
from ocpp.v16 import call
from twin_helpers import Log, bench
from websockets.datastructures import Headers
from websockets.http11 import Response

from hil.twins.ocpp_profiles import seconds_of, time_text

ALL = "Current.Import,Voltage,Power.Active.Import,Energy.Active.Import.Register,Current.Offered"
PAST = "2026-01-01T00:00:00Z"


def profile(limit, number=1, level=5, purpose="TxDefaultProfile", unit="A", connector=1, **more):
    schedule = {"chargingRateUnit": unit, "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}]}
    schedule |= {key: more.pop(key) for key in ("duration", "startSchedule") if key in more}
    schedule.setdefault("startSchedule", PAST)
    raw = {
        "chargingProfileId": number,
        "stackLevel": level,
        "chargingProfilePurpose": purpose,
        "chargingProfileKind": "Absolute",
        "chargingSchedule": schedule,
        **more,
    }
    return call.SetChargingProfile(connector_id=connector, cs_charging_profiles=raw)


async def obeyed(found, amps):
    await found.until(lambda: abs(found.amps - amps) < 0.15, f"{amps:g} A at the car")


async def asked(found, **given):
    return await found.call(call.GetCompositeSchedule(connector_id=1, duration=60, **given))


def test_nothing_is_sent_before_the_boot_is_accepted():
    log = Log()
    log.boot_status = ["Pending", "Rejected", "Accepted"]
    log.interval = 1

    async def run():
        async with bench(log=log) as found:
            await found.until(lambda: log.of("StatusNotification"), "status")
            names = [name for name, _ in log.calls]
            assert names[:3] == ["BootNotification"] * 3
            assert set(names[3:]) >= {"StatusNotification", "StartTransaction"}
            connectors = [status["connector_id"] for status in log.of("StatusNotification")]
            assert 0 in connectors
            await found.until(lambda: 1 in [s["connector_id"] for s in log.of("StatusNotification")], "connector 1")
            await found.until(lambda: log.of("Heartbeat"), "heartbeat by the interval of the answer")

    asyncio.run(run())


def test_limits_in_amps_and_watts_reach_the_car_and_are_read_back():
    async def run():
        async with bench() as found:
            await obeyed(found, 32.0)  # no profile is no constraint
            assert (await found.call(profile(10.4))).status == "Accepted"
            await obeyed(found, 10.4)
            found.volt_v[:] = 240.0
            assert (await found.call(profile(10800.0, unit="W"))).status == "Accepted"
            await obeyed(found, 15.0)
            answer = await asked(found, charging_rate_unit="A")
            assert answer.charging_schedule["charging_schedule_period"] == [
                {"start_period": 0, "limit": 15, "number_phases": 3}
            ]
            assert (await found.call(profile(0.0))).status == "Accepted"
            await obeyed(found, 0.0)
            await found.until(lambda: found.log.of("StatusNotification")[-1]["status"] == "SuspendedEVSE", "paused")
            cleared = await found.call(call.ClearChargingProfile(charging_profile_purpose="TxDefaultProfile"))
            assert cleared.status == "Accepted"
            await obeyed(found, 32.0)
            assert (await found.call(call.ClearChargingProfile(id=1))).status == "Unknown"

    asyncio.run(run())


def test_meter_values_come_as_configured_per_phase_or_not():
    async def run():
        async with bench() as found:
            for key, value in (("MeterValuesSampledData", ALL), ("MeterValueSampleInterval", "1")):
                assert (await found.call(call.ChangeConfiguration(key=key, value=value))).status == "Accepted"
            await obeyed(found, 32.0)
            sample = (await found.until(lambda: found.log.of("MeterValues"), "sample"))[-1]
            values = sample["meter_value"][0]["sampled_value"]
            assert sample["transaction_id"] == 1
            phases = [v["phase"] for v in values if v["measurand"] == "Current.Import"]
            assert phases == ["L1", "L2", "L3"]
            assert {v["measurand"] for v in values} == set(ALL.split(","))
            found.twin.faults.sums_only = True
            before = len(found.log.of("MeterValues"))
            trigger = call.TriggerMessage(requested_message="MeterValues", connector_id=1)
            assert (await found.call(trigger)).status == "Accepted"
            sums = (await found.until(lambda: found.log.of("MeterValues")[before:], "triggered"))[0]
            watts = [v for v in sums["meter_value"][0]["sampled_value"] if v["measurand"] == "Power.Active.Import"]
            assert [v.get("phase") for v in watts] == [None]
            assert float(watts[0]["value"]) == pytest.approx(3 * 230.0 * 32.0, rel=0.02)

    asyncio.run(run())


def test_configuration_keys_are_read_set_and_refused():
    async def run():
        async with bench() as found:
            keys = ["ChargeProfileMaxStackLevel", "ChargingScheduleAllowedChargingRateUnit", "NoSuchKey"]
            answer = await found.call(call.GetConfiguration(key=keys))
            values = {each["key"]: each["value"] for each in answer.configuration_key}
            assert values == {
                "ChargeProfileMaxStackLevel": "8",
                "ChargingScheduleAllowedChargingRateUnit": "Current,Power",
            }
            assert answer.unknown_key == ["NoSuchKey"]
            for key, value, status in (
                ("ChargeProfileMaxStackLevel", "9", "Rejected"),
                ("HeartbeatInterval", "soon", "Rejected"),
                ("MeterValuesSampledData", "Current.Import,Taste", "Rejected"),
                ("NoSuchKey", "1", "NotSupported"),
            ):
                assert (await found.call(call.ChangeConfiguration(key=key, value=value))).status == status

    asyncio.run(run())


def test_an_order_that_expires_falls_to_the_floor_below_it_without_a_connection():
    async def run():
        async with bench() as found:
            assert (await found.call(profile(6.0, number=1, level=0))).status == "Accepted"
            order = profile(20.0, number=2, level=8, duration=3600, startSchedule=time_text(time.time()))
            assert (await found.call(order)).status == "Accepted"
            await obeyed(found, 20.0)
            await found.twin.cut()
            found.ahead_s = 1800.0
            await asyncio.sleep(0.5)
            await obeyed(found, 20.0)  # half its time is left
            found.ahead_s = 3601.0
            await obeyed(found, 6.0)

    asyncio.run(run())


def test_without_an_end_the_last_profile_stands_for_ever_and_messages_wait():
    async def run():
        async with bench() as found:
            await found.call(profile(10.0))
            await found.call(call.ChangeConfiguration(key="MeterValueSampleInterval", value="1"))
            await obeyed(found, 10.0)
            await found.twin.cut()
            await asyncio.sleep(1.5)
            assert found.amps == pytest.approx(10.0, abs=0.15)
            unplugged = seconds_of(time_text(time.time()))
            found.fleet.unplug(0, found.clock_s())
            await found.until(lambda: found.twin.point.transaction is None, "end of the transaction")
            ended = time.time()
            await asyncio.sleep(1.0)
            assert found.log.of("StopTransaction") == []
            await found.twin.restore()
            stop = (await found.until(lambda: found.log.of("StopTransaction"), "the stop that waited"))[0]
            assert stop["transaction_id"] == 1
            assert unplugged <= seconds_of(stop["timestamp"]) <= ended
            names = [name for name, _ in found.log.calls]
            assert names.count("BootNotification") == 2
            assert "MeterValues" in names[names.index("BootNotification", 1) : names.index("StopTransaction")]
            found.plug()
            await obeyed(found, 10.0)  # and it holds for the next car

    asyncio.run(run())


@pytest.mark.parametrize(("kind", "forgets"), [("Soft", False), ("Hard", True)])
def test_a_restart_ends_the_transaction_and_keeps_profiles_or_not(kind, forgets):
    async def run():
        async with bench(forgets_on_reboot=forgets) as found:
            await found.call(profile(10.0))
            await found.until(lambda: found.twin.point.charging and found.twin.point.charging.transaction, "id")
            mine = profile(8.0, number=2, purpose="TxProfile", transactionId=1)
            assert (await found.call(mine)).status == "Accepted"
            await obeyed(found, 8.0)
            assert (await found.call(call.Reset(type=kind))).status == "Accepted"
            await obeyed(found, 0.0)
            stop = (await found.until(lambda: found.log.of("StopTransaction"), "stop"))[0]
            assert stop["reason"] == f"{kind}Reset"
            await found.until(lambda: found.twin.boots == 2, "second boot")
            await obeyed(found, 32.0 if forgets else 10.0)
            await found.until(lambda: len(found.log.of("StartTransaction")) == 2, "a new transaction")

    asyncio.run(run())


def test_a_black_out_drops_the_line_and_boots_again_with_its_profiles():
    async def run():
        async with bench() as found:
            await found.call(profile(10.0))
            await obeyed(found, 10.0)
            found.volt_v[:] = 0.0
            await found.until(lambda: not found.twin.link.connected, "silence")
            found.fleet._states["supplied_at_s"] = found.clock_s() - 40.0
            found.volt_v[:] = 230.0
            found.fleet._specs["boot_s"] = 0.2
            await found.until(lambda: found.twin.boots == 2, "boot")
            await obeyed(found, 10.0)
            stop = (await found.until(lambda: found.log.of("StopTransaction"), "stop"))[0]
            assert stop["reason"] == "PowerLoss"

    asyncio.run(run())


def test_remote_stop_and_start_with_a_profile_of_its_own():
    async def run():
        async with bench() as found:
            await obeyed(found, 32.0)
            await found.until(lambda: found.twin.point.charging.transaction, "id")
            assert (await found.call(call.RemoteStopTransaction(transaction_id=9))).status == "Rejected"
            assert (await found.call(call.RemoteStopTransaction(transaction_id=1))).status == "Accepted"
            await obeyed(found, 0.0)
            await found.until(lambda: found.log.of("StatusNotification")[-1]["status"] == "Finishing", "finishing")
            own = profile(9.0, purpose="TxProfile").cs_charging_profiles
            start = call.RemoteStartTransaction(id_tag="X", connector_id=1, charging_profile=own)
            assert (await found.call(start)).status == "Accepted"
            await obeyed(found, 9.0)

    asyncio.run(run())


def test_a_point_that_takes_only_watts():
    async def run():
        async with bench(only_watts=True) as found:
            answer = await found.call(call.GetConfiguration(key=["ChargingScheduleAllowedChargingRateUnit"]))
            assert answer.configuration_key[0]["value"] == "Power"
            assert (await found.call(profile(10.0))).status == "Rejected"
            assert (await found.call(profile(6900.0, unit="W"))).status == "Accepted"
            await obeyed(found, 10.0)
            assert (await asked(found)).charging_schedule["charging_rate_unit"] == "W"

    asyncio.run(run())


def test_profiles_accepted_and_ignored_rejected_and_shown_wrongly():
    async def run():
        async with bench(plugged=False) as found:
            faults = found.twin.faults
            faults.minus_one = True
            assert (await asked(found)).charging_schedule["charging_schedule_period"][0]["limit"] == -1
            found.plug()
            await obeyed(found, 32.0)
            await found.until(lambda: found.twin.point.charging, "transaction")
            assert (await asked(found)).charging_schedule["charging_schedule_period"][0]["limit"] == 32
            faults.empty_composite = True
            answer = await asked(found)
            assert (answer.status, answer.charging_schedule) == ("Accepted", None)
            faults.no_composite = True
            with pytest.raises(OCPPError):
                await asked(found)
            faults.reject_profiles = True
            assert (await found.call(profile(6.0))).status == "Rejected"
            faults.reject_profiles, faults.ignore_profiles = False, True
            assert (await found.call(profile(6.0))).status == "Accepted"
            await asyncio.sleep(0.5)
            assert found.amps == pytest.approx(32.0, abs=0.15)
            faults.no_trigger = True
            with pytest.raises(OCPPError):
                await found.call(call.TriggerMessage(requested_message="Heartbeat"))

    asyncio.run(run())


def test_a_call_that_breaks_the_schema_is_answered_with_its_error():
    async def run():
        async with bench() as found:
            wrong = {
                "TypeConstraintViolation": call.ChangeConfiguration(key="HeartbeatInterval", value=5),
                "OccurenceConstraintViolation": call.ChangeConfiguration(key="HeartbeatInterval", value=None),
                "PropertyConstraintViolation": call.Reset(type="Gentle"),
                "FormationViolation": profile(10.0, surprise=1),
                "NotImplemented": call.GetDiagnostics(location="ftp://x"),
            }
            for code, request in wrong.items():
                with pytest.raises(OCPPError) as refused:
                    await found.central.call(request, suppress=False, skip_schema_validation=True)
                assert refused.value.code == code

    asyncio.run(run())


def test_it_drops_in_mid_call_answers_late_and_breaks_the_schema():
    async def run():
        async with bench() as found:
            faults = found.twin.faults
            faults.late_s = 0.6
            before = time.monotonic()
            assert (await found.call(profile(10.0))).status == "Accepted"
            assert time.monotonic() - before >= 0.6
            faults.late_s, faults.bad_result = 0.0, True
            with pytest.raises(OCPPError):
                await found.call(profile(11.0))
            faults.bad_result, faults.drop_in_call = False, True
            found.central._response_timeout = 0.5
            with pytest.raises(TimeoutError):
                await found.call(profile(12.0))
            await found.until(lambda: found.twin.boots == 2, "dial again")
            assert (await found.call(profile(13.0))).status == "Accepted"
            await obeyed(found, 13.0)

    asyncio.run(run())


def test_a_line_that_does_not_answer_is_dialled_anew_and_a_cut_one_is_not():
    async def run():
        async with bench() as found:
            found.twin.link.call_timeout_s = 0.3
            found.central._handle_call = lambda message: asyncio.sleep(0)  # the line stands and nobody answers
            await found.call(call.TriggerMessage(requested_message="Heartbeat"))
            await found.until(lambda: found.twin.boots == 2, "a new connection")
            await found.twin.cut()
            found.twin.reboot("Hard")
            await found.until(lambda: found.twin.point.rebooting_until_s < 0.0, "the end of the restart")
            dials = found.twin.link.dials
            await asyncio.sleep(0.6)
            assert (found.twin.link.dials, found.twin.boots) == (dials, 2)
            await found.twin.restore()
            await found.until(lambda: found.twin.boots == 3, "boot")

    asyncio.run(run())


def test_duplicates_a_clock_that_is_ahead_and_a_storm_of_connections():
    async def run():
        async with bench() as found:
            faults = found.twin.faults
            faults.duplicate, faults.skew_s = True, 3600.0
            found.plug()
            await found.until(lambda: len(found.log.of("StartTransaction")) >= 3, "the start twice")
            late = found.log.of("StartTransaction")
            assert late[-1] == late[-2]
            assert seconds_of(late[-1]["timestamp"]) - time.time() == pytest.approx(3600.0, abs=60.0)
            faults.storm = True
            found.twin.link._socket.transport.abort()
            dials = found.twin.link.dials
            await found.until(lambda: found.twin.link.dials >= dials + 3, "three more connections")
            faults.storm = False
            boots = found.twin.boots
            await found.until(lambda: found.twin.boots > boots and found.twin.link.connected, "boots all the same")

    asyncio.run(run())


def test_basic_authentication_over_tls_and_what_is_refused(tmp_path):
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    wanted = "Basic " + base64.b64encode(b"cp1:secret").decode()

    def check(connection, request):
        if request.headers.get("Authorization") != wanted:
            return Response(401, "Unauthorized", Headers(), b"")
        return None

    async def run(password):
        log = Log()
        if password != "secret":
            log.boot_status = ["Rejected"]  # the bench does not wait for a boot
        server = {"ssl": context, "process_request": check}
        async with bench(log=log, server=server, client={"password": password, "ca": str(certificate)}) as found:
            if password == "secret":
                assert found.twin.boots == 1
            else:
                await found.until(lambda: "401" in found.twin.link.refusal, "refusal")
                assert log.calls == []

    asyncio.run(run("secret"))
    asyncio.run(run("wrong"))
