"""The emulated charge points against central systems that others wrote; skipped where those are not installed.

npm's ocpp-rpc in strict mode has schemas of its own (set NODE_PATH to a folder that holds it); PyPI's ocpp-csms is a
whole central system for 1.6.
"""

import asyncio
import contextlib
import json
import time
from pathlib import Path

import numpy as np
import pytest
from foreign_node import node
from twin_helpers import Bench, Log, changed

from hil.plant.fleet import EvseSpec, EvSpec, Fleet
from hil.twins.ocpp_charger import OcppChargerTwin

SERVER = Path(__file__).parent / "foreign_server.js"


@contextlib.asynccontextmanager
async def point(model, url):
    """Run one charge point with its EVSE and car that dials `url`."""
    spec = EvseSpec("cp1", phases=3, hard_max_a=32.0, pwm_gap_s=0.1, contactor_close_s=0.1)
    car = EvSpec("car", phases=3, max_a=32.0, dead_time_s=0.1, fall_a_per_s=100.0, rise_a_per_s=100.0)
    found = Bench(Fleet([spec], [car]), Log())
    found.plug()
    physics = asyncio.create_task(found.physics())
    record, view = changed(model), found.fleet.view(0)
    found.twin = OcppChargerTwin(record, view, found.clock_s, identity="cp1", utc_ns=found.utc_ns)
    try:
        await found.twin.start(url)
        yield found
    finally:
        await found.twin.stop()
        physics.cancel()
        await asyncio.gather(physics, return_exceptions=True)


@pytest.mark.parametrize(("model", "report"), [("ocpp16-generic", None), ("ocpp201-generic", "ReportChargingProfiles")])
def test_ocpp_rpc_in_strict_mode_finds_nothing_wrong_and_is_obeyed(model, report):
    async def run():
        server = await asyncio.create_subprocess_exec(node(), str(SERVER), stdout=asyncio.subprocess.PIPE)
        said = []

        async def read():
            async for line in server.stdout:
                said.append(json.loads(line))  # noqa: PERF401 - read while they come

        reader = asyncio.create_task(read())
        try:
            end_s = time.monotonic() + 15.0
            while not said and time.monotonic() < end_s:
                await asyncio.sleep(0.05)
            async with point(model, f"ws://127.0.0.1:{said[0]['port']}/cp1") as found:

                def result(method):
                    return [each["result"] for each in said if each.get("method") == method and "result" in each]

                last = "GetConfiguration" if report is None else "GetVariables"
                await found.until(lambda: result(last) or [s for s in said if s["kind"] == "failed"], "the last answer")
                await found.until(lambda: abs(found.amps - 10.4) < 0.15, "10.4 A at the car")
                assert [each for each in said if each["kind"] in ("failed", "broken")] == []
                assert result("SetChargingProfile") == [{"status": "Accepted"}]
                composite = result("GetCompositeSchedule")[0]
                inner = composite["chargingSchedule"] if report is None else composite["schedule"]
                assert inner["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": 10.4, "numberPhases": 3}]

                def called():
                    return {each["method"] for each in said if each["kind"] == "call"}

                wanted = {"BootNotification", "StatusNotification", "MeterValues"}
                wanted |= {"StartTransaction"} if report is None else {"TransactionEvent", report}
                await found.until(lambda: called() >= wanted, f"calls {wanted}")
        finally:
            server.kill()
            await server.wait()
            await reader

    asyncio.run(run())


def test_ocpp_csms_sees_the_transaction_and_its_meter():
    csms = pytest.importorskip("ocpp_csms")
    from ocpp.v16 import call

    async def run():
        async with (
            csms.CentralSystem(host="127.0.0.1", port=0) as central,
            point("ocpp16-generic", f"ws://127.0.0.1:{central.port}/cp1") as found,
        ):
            await found.until(lambda: "cp1" in central.charge_points, "connection")
            other = central.charge_points["cp1"]
            await found.until(lambda: other.boot is not None and other.get_transaction(1) is not None, "transaction")
            assert other.boot.vendor == "generic"
            set_ = await other.async_change_configuration("MeterValuesSampledData", "Current.Import,Voltage")
            assert set_ in (True, "Accepted")
            await found.until(lambda: found.amps > 30.0, "full current")
            await other.async_trigger_message(csms.MessageTrigger.METER_VALUES, 1)
            readings = await found.until(lambda: other.meter_readings(1), "meter values")
            amps = [float(r.value) for r in readings if r.measurand == "Current.Import"]
            assert np.allclose(amps, 32.0, atol=0.5)
            schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 9.0}]}
            raw = {"chargingProfileId": 1, "stackLevel": 0, "chargingProfilePurpose": "TxDefaultProfile"}
            raw |= {"chargingProfileKind": "Relative", "chargingSchedule": schedule}
            answer = await other.async_call(call.SetChargingProfile(connector_id=1, cs_charging_profiles=raw))
            assert answer.status == "Accepted"
            await found.until(lambda: abs(found.amps - 9.0) < 0.15, "9 A")
            await other.async_reset(csms.ResetType.SOFT)
            await found.until(lambda: found.twin.boots == 2, "second boot")

    asyncio.run(run())
