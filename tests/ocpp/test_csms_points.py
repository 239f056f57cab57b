"""Play charge points that behave, and points that do not, against the CSMS on real sockets."""

import asyncio
import json
import math
from typing import Any

import pytest

pytest.importorskip("ocpp", reason="the extra ocpp is not installed")
pytest.importorskip("websockets", reason="the extra ocpp is not installed")

from csms_helpers import Bench, bench, quick, until
from scripted_point import ScriptedPoint
from websockets.exceptions import InvalidStatus

from instruments.faults import FaultKind, PortFault

VERSIONS = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")
VOLTS = [230.0, 231.0, 232.0]


async def ready(here: Bench, version: str = "ocpp1.6", point: ScriptedPoint | None = None) -> ScriptedPoint:
    """Dial, boot, say Charging and send one set of values."""
    point = point or ScriptedPoint(version)
    await point.dial(here.url)
    assert (await point.boot())["status"] == "Accepted"
    await point.status("Charging" if point.old else "Occupied")
    await point.meter([0.0, 0.0, 0.0], VOLTS)
    return point


def ordered(point: ScriptedPoint, limit: float, unit: str = "A") -> bool:
    """Say whether the newest order has this limit."""
    return bool(point.orders()) and point.limit(point.orders()[-1]) == (limit, unit)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_order_stands_over_a_floor_and_is_read_back(version: str) -> None:
    async def play() -> None:
        async with bench(quick(version)) as here:
            point = await ready(here, version)
            await until(lambda: ordered(point, 16.0), "16 A ordered")
            floor, order = point.sent_profiles()[:2]
            assert point.limit(floor) == (6.0, "A")
            assert (floor["stackLevel"], order["stackLevel"]) == (7, 8)
            assert floor["chargingProfilePurpose"] == order["chargingProfilePurpose"] == "TxDefaultProfile"
            await until(lambda: here.charger.reading.limit_a == 16.0, "composite schedule read")
            reading = here.charger.reading
            assert reading.quality == 0 and reading.volt_v.tolist() == VOLTS and reading.sent_a == 16.0
            assert reading.failsafe_a == 6.0 and reading.failsafe_s == 9.0
            here.want_a = 0.0
            here.charger.wake()
            await until(lambda: ordered(point, 0.0), "a pause is a limit of 0")
            await point.hang_up()
            await until(lambda: not here.charger.reading.link and here.charger.reading.quality == 2, "link lost")

    asyncio.run(play())


def test_an_order_of_1_6_ends_unless_it_is_renewed() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6"), failsafe_s=3.0) as here:
            point = await ready(here)
            await until(lambda: len(point.orders()) >= 3, "renewed twice without a change of the order")
            schedule = point.orders()[-1]["chargingSchedule"]
            assert schedule["duration"] == 33  # it began 30 s ago, so it ends 3 s from now
            assert "duration" not in point.sent_profiles()[0]["chargingSchedule"]
            here.talk = False
            await until(lambda: not here.charger.reading.link, "silence drops the connection")
            with pytest.raises(InvalidStatus, match="503"):
                await point.dial(here.url)

    asyncio.run(play())


def test_an_order_of_2_1_ends_with_the_connection() -> None:
    async def play() -> None:
        async with bench(quick("ocpp2.1")) as here:
            point = await ready(here, "ocpp2.1")
            await until(lambda: ordered(point, 16.0), "16 A ordered")
            order = point.orders()[-1]
            assert order["maxOfflineDuration"] == 9 and order["invalidAfterOfflineDuration"] is True
            assert "duration" not in order["chargingSchedule"][0]

    asyncio.run(play())


def test_a_point_that_takes_watts_only_gets_measured_volts_times_amps() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6")) as here:
            point = ScriptedPoint()
            keys = {"ChargeProfileMaxStackLevel": "3", "ChargingScheduleAllowedChargingRateUnit": "Power"}
            rows = [{"key": k, "readonly": True, "value": v} for k, v in keys.items()]
            point.answers["GetConfiguration"] = lambda _payload: {"configurationKey": rows}
            await ready(here, point=point)
            await until(lambda: ordered(point, 11088.0, "W"), "16 A x (230 + 231 + 232) V")
            assert point.orders()[-1]["stackLevel"] == 3
            await point.meter([0.0, 0.0, 0.0], [220.0, 220.0, 220.0])
            await until(lambda: ordered(point, 10560.0, "W"), "fewer watts at lower volts")

    asyncio.run(play())


def test_watts_follow_the_phases_of_the_car_and_a_floor_counts_one() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6", quirks={"only_watts": True})) as here:
            point = await ready(here)
            await until(lambda: ordered(point, 11088.0, "W"), "16 A on three phases")
            assert point.limit(point.sent_profiles()[0]) == (1242.0, "W")  # 6 A x 207 V: whatever car comes later
            await point.meter([30.0, 0.0, 0.0], VOLTS)
            await until(lambda: ordered(point, 3680.0, "W"), "one phase took them all: a third, before any alarm")
            assert math.isnan(here.charger.reading.overwritten_a)
            await point.meter([15.8, 15.8, 15.8], VOLTS)
            await until(lambda: ordered(point, 11088.0, "W"), "a car on three phases has all of them again")
            await point.meter([30.0, 0.0, 0.0], VOLTS)
            await until(lambda: ordered(point, 3680.0, "W"), "one again")
            await point.status("Available")
            await until(lambda: ordered(point, 11088.0, "W"), "the next car is not known yet")

    asyncio.run(play())


def test_a_point_that_rejects_amps_is_tried_with_watts() -> None:
    async def play() -> None:
        async with bench(quick("ocpp2.0.1")) as here:
            point = ScriptedPoint("ocpp2.0.1")

            def judge(payload: dict[str, Any]) -> dict[str, Any]:
                unit = payload["chargingProfile"]["chargingSchedule"][0]["chargingRateUnit"]
                return {"status": "Accepted" if unit == "W" else "Rejected"}

            point.answers["SetChargingProfile"] = judge
            await ready(here, point=point)
            await until(lambda: here.charger.reading.sent_a == 16.0, "accepted in W")
            assert point.limit(point.orders()[-1])[1] == "W" and here.charger.reading.errors >= 1

    asyncio.run(play())


def test_a_point_that_accepts_and_ignores_is_told_by_its_amps() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6")) as here:
            point = await ready(here)
            await until(lambda: here.charger.reading.sent_a == 16.0, "16 A accepted")
            before = len(point.orders())
            async with asyncio.timeout(30):
                while here.charger.reading.overwritten_a != 25.0:  # drawn above the order
                    await point.meter([25.0, 25.0, 25.0], VOLTS)
                    await asyncio.sleep(0.05)
            assert "25.0 A drawn, 16 A ordered" in here.charger.reading.fault
            await until(lambda: len(point.orders()) > before, "sent again")
            await point.meter([15.5, 15.5, 15.5], VOLTS)
            await until(lambda: math.isnan(here.charger.reading.overwritten_a), "obeyed at last")

    asyncio.run(play())


@pytest.mark.parametrize(
    ("answer", "limit_a", "fault"),
    [
        ({"status": "Accepted"}, math.nan, "no composite schedule"),
        ({"status": "Rejected"}, math.nan, "no composite schedule"),
        ("minus one", math.nan, ""),
        ("too much", 20.0, "20.0 A in force, 16 A ordered"),
        ("broken", math.nan, "breaks the schema"),
    ],
)
def test_what_a_composite_schedule_may_say(answer: Any, limit_a: float, fault: str) -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6")) as here:
            point = ScriptedPoint()

            def composite(payload: dict[str, Any]) -> dict[str, Any]:
                if isinstance(answer, dict):
                    return answer
                found = point.composite_of_newest(payload)
                period = found["chargingSchedule"]["chargingSchedulePeriod"][0]
                period["limit"] = {"minus one": -1.0, "too much": 20.0, "broken": "many"}[answer]
                return found

            point.answers["GetCompositeSchedule"] = composite
            await ready(here, point=point)
            await until(lambda: any(action == "GetCompositeSchedule" for action, _ in point.calls), "asked")
            await until(lambda: fault in here.charger.reading.fault, f"fault {fault!r}")
            seen = here.charger.reading.limit_a
            assert seen == limit_a or (math.isnan(seen) and math.isnan(limit_a))

    asyncio.run(play())


def test_a_point_that_drops_in_mid_call_gets_floor_and_order_again() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6")) as here:
            point = ScriptedPoint()
            point.answers["SetChargingProfile"] = lambda _payload: None
            await point.dial(here.url)
            await point.boot()
            await until(lambda: not here.charger.reading.link, "dropped in the call")
            assert math.isnan(here.charger.reading.sent_a) and math.isnan(here.charger.reading.failsafe_a)
            del point.answers["SetChargingProfile"]
            point.calls.clear()
            await ready(here, point=point)
            await until(lambda: here.charger.reading.sent_a == 16.0, "ordered after the new connection")
            assert [point.limit(profile)[0] for profile in point.sent_profiles()[:2]] == [6.0, 16.0]

    asyncio.run(play())


def test_a_late_answer_is_no_answer() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6", call_timeout_s=0.3)) as here:
            point = ScriptedPoint()
            point.late_s = 0.5
            await point.dial(here.url)
            await point.boot()
            await until(lambda: "no answer within" in here.charger.reading.fault, "told")
            assert math.isnan(here.charger.reading.sent_a)
            point.late_s = 0.0
            await until(lambda: here.charger.reading.sent_a == 16.0, "accepted once it answers in time")

    asyncio.run(play())


def test_the_same_message_twice_is_handled_once() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6"), run=False) as here:
            point = ScriptedPoint()
            await point.dial(here.url)
            start = {"connectorId": 1, "idTag": "a", "meterStart": 5, "timestamp": "2026-01-01T00:00:00Z"}
            first = await point.call("StartTransaction", start, unique_id="same")
            assert await point.call("StartTransaction", start, unique_id="same") == first
            assert (await point.call("StartTransaction", start))["transactionId"] == first["transactionId"] + 1

    asyncio.run(play())


def test_two_points_of_one_identity_are_not_believed() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6")) as here:
            point = await ready(here)
            await until(lambda: here.charger.reading.quality == 0, "believed")
            with pytest.raises(InvalidStatus, match="409"):
                await ScriptedPoint().dial(here.url)
            await point.meter([6.0, 6.0, 6.0], VOLTS)
            await until(lambda: here.charger.reading.quality == 2, "doubted")
            assert "while the first connection lives" in here.charger.reading.fault
            assert here.charger.reading.link

    asyncio.run(play())


def test_who_is_unknown_or_speaks_another_version_is_refused_and_told() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6"), run=False) as here:
            with pytest.raises(InvalidStatus, match="404"):
                await ScriptedPoint().dial(f"{here.csms.url}/stranger")
            point = ScriptedPoint("ocpp2.0.1")
            await point.dial(here.url)
            assert point.socket is not None
            await asyncio.wait_for(point.socket.wait_closed(), 30)
            assert point.socket.close_code == 1002
            texts = [fields["text"] for kind, fields in here.told if kind == "ocpp_refused"]
            assert "stranger" in texts[0] and "ocpp1.6" in texts[1]
            assert not here.charger.reading.link

    asyncio.run(play())


def test_values_from_the_future_or_the_past_are_not_fresh() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6"), run=False) as here:
            point = await ready(here)
            newest_ns = here.charger.reading.change_ns
            await point.meter([1.0, 1.0, 1.0], VOLTS, ahead_s=-120.0)
            assert here.charger.reading.change_ns == newest_ns and here.charger.reading.amp_a.tolist() == [0.0] * 3
            await point.meter([1.0, 1.0, 1.0], VOLTS, ahead_s=30.0)
            assert here.charger.reading.quality == 2 and here.charger.reading.amp_a.tolist() == [0.0] * 3

    asyncio.run(play())


def test_a_call_that_breaks_its_schema_gets_an_error() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6"), run=False) as here:
            point = ScriptedPoint()
            await point.dial(here.url)
            assert (await point.call("StatusNotification", {"connectorId": 1}))[0] == "FormationViolation"
            assert (await point.call("NoSuchAction", {}))[0] == "NotImplemented"
            assert point.socket is not None
            await point.socket.send("no json")
            await point.socket.send(json.dumps({"not": "a list"}))
            assert (await point.boot())["status"] == "Accepted"

    asyncio.run(play())


def test_opening_says_who_did_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instruments.ocpp_charger.OPEN_S", 0.3)

    async def play() -> None:
        async with bench(quick("ocpp1.6"), run=False) as here:
            with pytest.raises(InvalidStatus, match="404"):
                await ScriptedPoint().dial(f"{here.csms.url}/wrong")
            with pytest.raises(
                PortFault, match=r"no charge point dialled ws://127\.0\.0\.1:\d+/CP 1.*refused: wrong"
            ) as fault:
                await here.charger.open()
            assert fault.value.kind is FaultKind.REFUSED

    asyncio.run(play())


def test_another_make_than_the_record_is_rejected() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6", vendor="ACME"), run=False) as here:
            point = ScriptedPoint()
            await point.dial(here.url)
            assert (await point.boot())["status"] == "Rejected"
            with pytest.raises(PortFault, match="it says Scripted One; expected ACME"):
                await here.charger.open()

    asyncio.run(play())


def test_a_point_without_room_for_a_floor_is_refused() -> None:
    async def play() -> None:
        async with bench(quick("ocpp1.6"), run=False) as here:
            point = ScriptedPoint()
            rows = [{"key": "ChargeProfileMaxStackLevel", "readonly": True, "value": "0"}]
            point.answers["GetConfiguration"] = lambda _payload: {"configurationKey": rows}
            await point.dial(here.url)
            await point.boot()
            with pytest.raises(PortFault, match="no room for a floor"):
                await here.charger.program_failsafe()

    asyncio.run(play())
