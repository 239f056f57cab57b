"""What a bad wire, a killed server and a restart do to orders over a secured channel: nothing ever lifts a limit."""

import asyncio
import dataclasses
import math
import time
from contextlib import asynccontextmanager

import numpy as np
import pytest
from asyncua import Client, ua
from opcua_pairs import pair, trusts
from opcua_proxy import Proxy

from hil.twins.substation import MODEL, USER, SubstationTwin
from instruments.catalog import load_model
from instruments.opcua_substation import SubstationClient

CAP_W, LOWER_W = 40_000.0, 30_000.0


class Link:
    """Keep a secured station, a proxy before it, and the pair of its client, in one event loop."""

    def __init__(self, folder) -> None:
        self.station, self.ours = pair(folder, "station"), pair(folder, "ours")
        trusts(self.station, self.ours)
        trusts(self.ours, self.station)
        word = folder / "password"
        word.write_text("sesame")
        word.chmod(0o600)
        self.ours = dataclasses.replace(self.ours, user=USER, password_file=str(word))
        self.runner = asyncio.Runner()
        self.twin = SubstationTwin({"head": 1}, security=self.station, password="sesame", plain=True)
        self.port = self.runner.run(self.twin.start())
        self.proxy = Proxy(self.port)
        self.address = f"opc.tcp://127.0.0.1:{self.runner.run(self.proxy.start())}"

    def run(self, scene) -> None:
        self.runner.run(scene())

    def close(self) -> None:
        self.runner.run(self.proxy.stop())
        self.runner.run(self.twin.stop())
        self.runner.close()

    async def publish(self) -> None:
        """Publish what is measured, now."""
        await self.twin.publish("head", [[230.0] * 3], [[10.0] * 3], [7000.0], time.time_ns())


@pytest.fixture(scope="module")
def link(tmp_path_factory):
    found = Link(tmp_path_factory.mktemp("link"))
    yield found
    found.close()


async def until(true, act=None, tries: int = 1200) -> None:
    for _ in range(tries):
        if true():
            return
        if act is not None:
            await act()
        await asyncio.sleep(0.01)
    raise AssertionError("did not come true")


@asynccontextmanager
async def ordered(link):
    """Follow the station with an order of CAP_W in force; yield the reading and the limits seen from then on."""
    await link.twin.set_order("head", 0, CAP_W)
    await link.publish()
    clocks = {"clock_ns": time.monotonic_ns, "utc_ns": time.time_ns}
    client = SubstationClient("sub", load_model(MODEL), link.address, {"head": [0]}, 1, security=link.ours, **clocks)
    tasks = [asyncio.create_task(client.run(lambda: True))]
    seen: list[float] = []

    async def watch() -> None:
        while True:
            seen.append(float(client.reading.order_w[0]))
            await asyncio.sleep(0.005)

    try:
        await until(lambda: client.reading.order_w[0] == CAP_W and client.reading.order_quality[0] == 0)
        tasks.append(asyncio.create_task(watch()))
        yield client.reading, seen
        assert all(task.done() is False for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()


@pytest.mark.parametrize("fault", ["double", "swap", "drop"])
def test_a_chunk_that_is_doubled_swapped_or_lost_ends_the_link_and_lifts_nothing(link, fault):
    async def scene():
        async with ordered(link) as (reading, seen):
            link.proxy.done.clear()
            link.proxy.fault = fault
            errors = reading.errors
            await until(lambda: reading.errors > errors, act=link.publish)
            assert link.proxy.done == [fault]
            assert reading.order_quality[0] == 2
            await link.twin.set_order("head", 0, LOWER_W)
            await until(lambda: reading.order_w[0] == LOWER_W and reading.order_quality[0] == 0)
            assert set(seen) <= {CAP_W, LOWER_W}

    link.run(scene)


def test_a_black_out_of_the_wire_lifts_nothing_and_orders_given_in_it_hold_after_it(link):
    async def scene():
        async with ordered(link) as (reading, seen):
            link.proxy.held = True
            await until(lambda: not reading.link)
            assert reading.order_w[0] == CAP_W
            assert (reading.node_v_quality == 2).all()
            await link.twin.set_order("head", 0, LOWER_W)
            link.proxy.held = False
            await until(lambda: reading.order_w[0] == LOWER_W)
            assert set(seen) <= {CAP_W, LOWER_W}

    link.run(scene)


def test_a_slow_wire_keeps_the_link_and_the_order_of_what_was_ordered(link):
    async def scene():
        async with ordered(link) as (reading, seen):
            link.proxy.delay_s = 0.15
            try:
                for limit_w in (35_000.0, 20_000.0, LOWER_W):
                    await link.twin.set_order("head", 0, limit_w)
                    await asyncio.sleep(0.2)
                await until(lambda: reading.order_w[0] == LOWER_W)
            finally:
                link.proxy.delay_s = 0.0
            known = [w for w, before in zip(seen, [math.nan, *seen], strict=False) if w != before]
            ranks = [CAP_W, 35_000.0, 20_000.0, LOWER_W]
            assert [ranks.index(w) for w in known] == sorted(ranks.index(w) for w in known)
            assert reading.link

    link.run(scene)


def test_a_server_that_starts_anew_with_no_order_yet_is_told_apart_from_a_lost_one(link):
    """A restarted station says +inf only if its operator does: until then the order in force stands."""

    async def scene():
        async with ordered(link) as (reading, seen):
            await link.twin.stop()
            await until(lambda: not reading.link)
            assert reading.order_w[0] == CAP_W
            await link.twin.start(link.port)
            await until(lambda: reading.link and reading.order_quality[0] == 0, act=link.publish)
            assert set(seen) == {CAP_W}
            assert np.isfinite(reading.node_a).all()

    link.run(scene)


def test_a_republish_says_what_is_missing_and_subscription_ids_do_not_come_again(link):
    async def scene():
        first, other = (Client(f"opc.tcp://127.0.0.1:{link.port}") for _ in range(2))
        async with first, other:
            mine = await first.create_subscription(100, handler=None)
            session = first.uaclient.session
            with pytest.raises(ua.UaStatusCodeError, match="BadMessageNotAvailable"):
                await session.republish(mine.subscription_id, 99)
            with pytest.raises(ua.UaStatusCodeError, match="BadSubscriptionIdInvalid"):
                await session.republish(78, 1)
            with pytest.raises(ua.UaStatusCodeError, match="BadSubscriptionIdInvalid"):
                await other.uaclient.session.republish(mine.subscription_id, 99)
            [refused] = await other.uaclient.session.delete_subscriptions([mine.subscription_id])
            assert refused.name == "BadSubscriptionIdInvalid"
            silent = ua.SetPublishingModeParameters(PublishingEnabled=False, SubscriptionIds=[mine.subscription_id])
            [refused] = await other.uaclient.session.set_publishing_mode(silent)
            assert refused.name == "BadSubscriptionIdInvalid"
            theirs = await other.create_subscription(100, handler=None)
            ids = [mine.subscription_id, theirs.subscription_id]
            sessions = ((other.uaclient.session, ["Bad", "Goo"]), (first.uaclient.session, ["Goo", "Bad"]))
            for session, expected in sessions:
                loud = ua.SetPublishingModeParameters(PublishingEnabled=True, SubscriptionIds=ids)
                assert [code.name[:3] for code in await session.set_publishing_mode(loud)] == expected
            internal = link.twin._server.iserver
            [owner] = [
                session
                for session in internal._external_sessions.values()
                if session.session_id == internal.subscription_service.subscriptions[ids[1]].session_id
            ]
            acks = [ua.SubscriptionAcknowledgement(SubscriptionId=i, SequenceNumber=1) for i in ids]
            assert [code.name[:3] for code in owner.publish(acks)[1]] == ["Bad", "Goo"]

    link.run(scene)
