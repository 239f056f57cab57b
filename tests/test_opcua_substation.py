"""Substation client and twin against each other over a real socket: values, quality, stamps, orders, faults."""

import asyncio
import math
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import numpy as np
import pytest
from asyncua import Client, ua

from hil.twins.substation import MODEL, USER, SubstationTwin, status_of
from instruments.catalog import load_model
from instruments.faults import FaultKind, PortFault
from instruments.opcua_substation import SubstationClient

GROUPS = {"transformer": 1, "head": 1, "poc": 3}
POINTS = {"transformer": [0], "head": [1], "poc": [2, 4, 3]}  # not in order: rows follow the group, not the node
M = 6  # node 5 is not measured
AHEAD_NS = 3_600_000_000_000


class Scenario:
    """Count a clock of our own: UTC is an hour ahead of the machine's monotonic clock."""

    def utc_ns(self) -> int:
        return time.monotonic_ns() + AHEAD_NS


def client_of(port: int, points=POINTS, model=None, **login: str) -> SubstationClient:
    address = f"opc.tcp://127.0.0.1:{port}"
    clock = Scenario()
    return SubstationClient(
        "sub", model or load_model(MODEL), address, points, M, clock_ns=time.monotonic_ns, utc_ns=clock.utc_ns, **login
    )


async def publish(twin: SubstationTwin, amp: float = 10.0, stamp_utc_ns: int | None = None, quality: int = 0) -> None:
    """Publish volts 230 + node and amps `amp` + node for every group, so that a mixed-up row is seen."""
    stamp = Scenario().utc_ns() if stamp_utc_ns is None else stamp_utc_ns
    for group, n in GROUPS.items():
        place = np.arange(n, dtype=float)[:, None] + np.array([0.0, 0.1, 0.2])
        await twin.publish(group, 230 + place, amp + place, 1000.0 + place[:, 0], stamp, quality)


async def until(true: Callable[[], bool], act: Callable[[], Awaitable[None]] | None = None, tries: int = 1200) -> None:
    """Let the loop run (and `act` each time) until `true()`; fail after so many turns of 25 ms."""
    for _ in range(tries):
        if true():
            return
        if act is not None:
            await act()
        await asyncio.sleep(0.025)
    raise AssertionError("did not come true")


class Station:
    """Keep one twin in one event loop for all tests of the file: its address space takes a second to build."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.twin = SubstationTwin(GROUPS, utc_ns=Scenario().utc_ns)
        self.port = self.runner.run(self.twin.start())

    def run(self, scene: Callable[[], Awaitable[None]]) -> None:
        """Play one scene in the loop."""
        self.runner.run(scene())  # type: ignore[arg-type]

    async def reset(self) -> None:
        """Take every fault and order of an earlier scene back."""
        for group, n in GROUPS.items():
            self.twin.bad(group, False)
            self.twin.future(group, 0.0)
            self.twin.freeze(group, "A", frozen=False)
            for i in range(n):
                await self.twin.set_order(group, i, math.inf)
        await publish(self.twin)

    def close(self) -> None:
        """Stop the twin and end the loop."""
        self.runner.run(self.twin.stop())
        self.runner.close()


@pytest.fixture(scope="module")
def station():
    served = Station()
    yield served
    served.close()


@asynccontextmanager
async def street(station: Station, may_talk: Callable[[], bool] = lambda: True, login: bool = False):
    """Follow the twin with a new client once it has first values."""
    await station.reset()
    twin = station.twin
    client = client_of(station.port, **({"user": USER, "password": twin.password} if login else {}))
    task = None
    try:
        await client.open()
        task = asyncio.create_task(client.run(may_talk))
        await until(lambda: bool((client.reading.order_quality[:5] == 0).all()))
        for quality in (client.reading.node_v_quality, client.reading.node_a_quality):
            await until(lambda quality=quality: bool((quality[:5] == 0).all()))
        yield twin, client
        if task.done():
            task.result()
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await client.close()


def test_values_reach_the_rows_of_their_nodes(station):
    async def scene():
        async with street(station) as (twin, client):
            reading = client.reading
            await twin.set_temperature(61.5)
            await until(lambda: bool(np.isfinite(reading.node_temp_c[0])))
            assert reading.node_temp_c[0] == 61.5
            assert reading.frequency_quality[0] == 2  # nothing known of it yet
            await twin.set_frequency(49.87)
            await until(lambda: bool(reading.frequency_quality[0] == 0))
            assert reading.frequency_hz[0] == 49.87
            assert reading.frequency_change_ns[0] > 0
            assert reading.node_v[0].tolist() == [230.0, 230.1, 230.2]
            assert reading.node_v[4].tolist() == [231.0, 231.1, 231.2]  # second point of poc is node 4
            assert reading.node_a[3].tolist() == [12.0, 12.1, 12.2]
            assert reading.node_w[[2, 4, 3]].tolist() == [1000.0, 1001.0, 1002.0]
            assert np.isnan(reading.node_v[5]).all()
            assert reading.node_v_quality.tolist() == [0, 0, 0, 0, 0, 2]
            assert reading.link
            assert (reading.order_w == math.inf).all()
            assert (Scenario().utc_ns() - reading.node_a_stamp_utc_ns[:5] < 10e9).all()

    station.run(scene)


@pytest.mark.parametrize(
    ("bits", "status", "seen"),
    [
        (0, 0x00000000, 0),
        (1024, 0x00960000, 0),
        (3, 0x40000000, 1),
        (3 | 128, 0x40900000, 1),
        (3 | 512, 0x40930000, 1),
        (2, 0x80000000, 2),
        (2 | 64, 0x808B0000, 2),
        (2 | 4, 0x803C0000, 2),
        (1, 0x80000000, 2),
    ],
)
def test_quality_bits_become_the_status_codes_of_the_table(bits, status, seen):
    assert status_of(bits) == status
    assert min(status_of(bits) >> 30, 2) == seen


def test_questionable_is_uncertain_and_invalid_is_bad_at_the_client(station):
    async def scene():
        async with street(station) as (twin, client):
            await publish(twin, quality=3 | 128)
            await until(lambda: client.reading.node_v_quality[0] == 1 and client.reading.node_a_quality[2] == 1)
            twin.bad("head")
            await publish(twin)
            await until(lambda: client.reading.node_a_quality[1] == 2 and client.reading.node_a_quality[0] == 0)
            assert np.isnan(client.reading.node_a[1]).all()
            twin.bad("head", False)
            await publish(twin)
            await until(lambda: client.reading.node_a_quality[1] == 0)
            assert client.reading.node_a[1, 0] == 10.0

    station.run(scene)


def test_a_frozen_quantity_ages_while_the_others_live(station):
    async def scene():
        async with street(station) as (twin, client):
            reading = client.reading
            twin.freeze("head", "A")
            before_ns, stamp_ns = time.monotonic_ns(), int(reading.node_a_stamp_utc_ns[1])
            await publish(twin, amp=99.0)
            await until(lambda: reading.node_a[0, 0] == 99.0 and reading.node_v_change_ns[1] > before_ns)
            assert reading.node_a[1, 0] == 10.0
            assert reading.node_a_change_ns[1] < before_ns
            assert reading.node_a_stamp_utc_ns[1] == stamp_ns
            assert reading.node_a_change_ns[0] > before_ns
            assert reading.node_v_change_ns[1] > before_ns
            twin.freeze("head", "A", frozen=False)
            await publish(twin, amp=50.0)
            await until(lambda: reading.node_a[1, 0] == 50.0)
            assert reading.node_a_change_ns[1] > before_ns

    station.run(scene)


def test_a_value_that_stands_still_lives_while_its_stamp_moves(station):
    async def scene():
        async with street(station) as (twin, client):
            before_ns = int(client.reading.node_a_change_ns[1])
            await publish(twin)
            await until(lambda: client.reading.node_a_change_ns[1] > before_ns)
            assert client.reading.node_a[1, 0] == 10.0

    station.run(scene)


def test_a_stamp_from_the_future_is_passed_on_for_the_law_to_judge(station):
    async def scene():
        async with street(station) as (twin, client):
            twin.future("poc", 60.0)
            await publish(twin)
            ahead = lambda: client.reading.node_v_stamp_utc_ns - Scenario().utc_ns()  # noqa: E731
            await until(lambda: bool((ahead()[[2, 3, 4]] > 50e9).all()))
            assert (ahead()[[0, 1]] <= 0).all()
            assert (client.reading.node_v_change_ns <= time.monotonic_ns()).all()
            assert 50.0 < client.reading.skew_s < 70.0

    station.run(scene)


def test_the_first_value_seen_is_as_old_as_its_stamp(station):
    async def scene():
        await station.reset()
        client = client_of(station.port)
        await publish(station.twin, stamp_utc_ns=Scenario().utc_ns() - 30_000_000_000)
        await client.open()
        task = asyncio.create_task(client.run(lambda: True))
        try:
            await until(lambda: bool((client.reading.node_v_quality[:5] == 0).all()))
            assert ((time.monotonic_ns() - client.reading.node_v_change_ns[:5]) > 29e9).all()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()

    station.run(scene)


def test_an_order_arrives_whole_with_its_window_and_heartbeat(station):
    async def scene():
        async with street(station) as (twin, client):
            reading = client.reading
            await twin.set_order("head", 0, 40_000.0, 1_768_320_016.5, 1_768_323_616.25)
            await until(lambda: reading.order_w[1] == 40_000.0)
            assert (reading.order_from_s[1], reading.order_to_s[1]) == (1_768_320_016.5, 1_768_323_616.25)
            assert reading.order_quality.tolist() == [0, 0, 0, 0, 0, 2]
            await twin.set_order("poc", 2, 0.0)
            await until(lambda: reading.order_w[3] == 0.0)
            assert math.isnan(reading.order_from_s[3])
            assert math.isnan(reading.order_to_s[3])
            assert reading.order_w[[2, 4]].tolist() == [math.inf, math.inf]
            seen_ns = int(reading.order_beat_ns[1])
            await twin.beat()
            await until(lambda: reading.order_beat_ns[1] > seen_ns)
            await twin.set_order("head", 0, math.inf, export_w=5_000.0)
            await until(lambda: reading.order_w[1] == math.inf)
            assert reading.order_export_w[[1, 3]].tolist() == [5_000.0, math.inf]

    station.run(scene)


@pytest.mark.parametrize("limit_w", [math.nan, -1.0])
def test_a_limit_that_is_none_leaves_the_order_in_force_and_is_bad(station, limit_w):
    async def scene():
        async with street(station) as (twin, client):
            await twin.set_order("head", 0, 30_000.0)
            await until(lambda: client.reading.order_w[1] == 30_000.0)
            await twin.set_order("head", 0, limit_w)
            await until(lambda: client.reading.order_quality[1] == 2)
            assert client.reading.order_w[1] == 30_000.0

    station.run(scene)


def test_values_of_another_type_are_bad_and_end_nobody(station):
    async def scene():
        async with street(station, login=True) as (twin, client):
            await twin.set_order("poc", 2, 4000.0)
            await until(lambda: client.reading.order_w[3] == 4000.0)
            nodes = [twin._nodes[name, "poc"] for name in ("order_w", "order_from", "heartbeat", "volts", "amps")]
            blank = ua.DataValue(None, StatusCode=ua.StatusCode(ua.StatusCodes.BadWaitingForInitialData))
            text = ua.Variant(["abc"], ua.VariantType.String)
            for node in nodes:  # a server that was set up anew, with text where numbers were
                await twin._server.write_attribute_value(node, blank)
                stamp = datetime.now(UTC)
                await twin._server.write_attribute_value(node, ua.DataValue(text, SourceTimestamp=stamp))
            await until(lambda: client.reading.node_v_quality[2] == 2 and client.reading.node_a_quality[2] == 2)
            for _ in range(60):  # heartbeats would be acknowledged meanwhile
                await asyncio.sleep(0.025)
            for node in nodes:
                await twin._server.write_attribute_value(node, blank)
            assert client.reading.order_quality[3] == 2
            assert client.reading.order_w[3] == 4000.0
            assert client.reading.link
            await publish(twin)
            await twin.set_order("poc", 2, 3000.0)
            await until(lambda: client.reading.order_w[3] == 3000.0 and client.reading.node_v_quality[2] == 0)

    station.run(scene)


def test_a_lost_server_lifts_nothing_and_is_found_again_after_its_restart(station):
    async def scene():
        async with street(station) as (twin, client):
            reading = client.reading
            await twin.set_order("head", 0, 40_000.0)
            await until(lambda: reading.order_w[1] == 40_000.0)
            await twin.stop()
            await until(lambda: not reading.link)
            assert reading.order_w[1] == 40_000.0
            assert (reading.node_v_quality == 2).all()
            assert (reading.node_a_quality == 2).all()
            assert (reading.order_quality == 2).all()
            assert reading.errors > 0
            assert reading.fault.startswith("sub:follow: ")
            await twin.start(station.port)
            await until(lambda: reading.node_a[1, 0] == 77.0, act=lambda: publish(twin, amp=77.0))
            assert reading.link
            assert reading.fault == ""
            assert reading.node_a_quality[1] == 0

    station.run(scene)


def test_nobody_writes_anonymously_and_the_controller_writes_acknowledgements_only(station):
    async def scene():
        async with street(station) as (twin, _):
            for user, password in ((None, None), (USER, twin.password)):
                other = Client(f"opc.tcp://127.0.0.1:{station.port}")
                if user:
                    other.set_user(user)
                    other.set_password(password)
                async with other:
                    index = await other.get_namespace_index(load_model(MODEL).opcua.identity.namespace_uri)
                    limit = other.get_node(ua.NodeId("Substation/DPCC_head/LimW", index))
                    assert await limit.read_value() == [math.inf]
                    with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
                        await limit.write_value([1e9])
            for user, password in ((USER, "guessed"), ("admin", "")):
                other = Client(f"opc.tcp://127.0.0.1:{station.port}")
                other.set_user(user)
                other.set_password(password)
                with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
                    await other.connect()

    station.run(scene)


def test_acknowledgements_follow_the_heartbeat_and_all_talk_stops_with_the_scan(station):
    talking = [True]

    async def scene():
        async with street(station, lambda: talking[0], login=True) as (twin, client):
            await twin.beat()
            first = twin.beats
            for _ in range(600):
                if await twin.acknowledged("head") == first:
                    break
                await asyncio.sleep(0.05)
            assert await twin.acknowledged("head") == first
            assert client.reading.round_trip_ns > 0
            talking[0] = False  # all I/O ends, the subscription too: it would be kept alive from here
            await until(lambda: not client.reading.link)
            seen_ns = int(client.reading.order_beat_ns[1])
            await twin.beat()
            await asyncio.sleep(1.3)  # longer than the client's probe period
            assert await twin.acknowledged("head") == first
            assert client.reading.order_beat_ns[1] == seen_ns
            talking[0] = True
            await until(lambda: client.reading.link, twin.beat)

    station.run(scene)


def test_another_identity_and_a_missing_group_are_refused_by_name(station):
    async def scene():
        model = load_model(MODEL)
        for change, points, told in (
            ({"product": "toaster"}, POINTS, "answers as 'voltbench substation 1', expected voltbench toaster"),
            ({"namespace_uri": "urn:other"}, POINTS, "has no namespace urn:other; it has"),
            ({}, POINTS | {"garage": [5]}, "no variable Substation/MMXU_garage/PhV"),
        ):
            identity = model.opcua.identity.model_copy(update=change)
            wanted = model.model_copy(update={"opcua": model.opcua.model_copy(update={"identity": identity})})
            client = client_of(station.port, points, wanted)
            with pytest.raises(PortFault, match=told) as caught:
                await client.open()
            assert caught.value.kind is FaultKind.WRONG_IDENTITY
            assert caught.value.device == "sub"

    station.run(scene)


def test_nothing_at_the_address_is_refused_and_named():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        port = free.getsockname()[1]
        with pytest.raises(PortFault, match=f"nothing listens at 127.0.0.1:{port}") as caught:
            asyncio.run(client_of(port).open())
    assert caught.value.kind is FaultKind.REFUSED
