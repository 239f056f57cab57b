"""S2: power envelopes over a real websocket become orders; refused, revoked, lost and late ones lift nothing."""

import asyncio
import contextlib
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("s2python", reason="needs the extra s2")

from controller.runtime.journal import NAME, Journal, read_entries
from controller.runtime.journal_orders import lives
from controller.runtime.order_book import OrderBook
from controller.runtime.order_s2 import SOURCE, Resource, follow
from controller.runtime.order_schedule import Schedule
from controller.runtime.site import S2Port
from hil.twins.cem import CemTwin
from instruments.faults import PortFault
from instruments.s2_link import open_link
from instruments.s2_session import S2Session

T0_S = datetime(2026, 11, 23, 16, tzinfo=UTC).timestamp()
NOW, LATER = "2026-11-23T15:59:59Z", "2026-11-23T16:10:00Z"
RESOURCE = "0f2a6c1e-7a4b-4c55-9b1e-3a5f1c2d4e6f"
MIN = 60_000


class Pilot:
    """Put the resource side with its book before a twin; time stands where the test puts it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.port = S2Port(url=url, node="head", resource_id=RESOURCE, import_w=100e3, export_w=20e3, measure_s=0.2)
        self.journal = Journal(folder / NAME)
        self.now_s = T0_S
        self.book = OrderBook(["root", "head"], [], self.journal.append)
        self.kept = Schedule(
            SOURCE, "head", lambda order: self.book.offer(order, self.now_s), lives(read_entries(self.journal.path))
        )
        self.ended: list[int] = []
        self.shadow = False

    async def session(self) -> None:
        """Hold one session until it is ended."""
        session = S2Session(RESOURCE, "test", self.port.import_w, self.port.export_w)
        resource = Resource(self.port, self.kept, session, lambda: 12_345.0, shadow=self.shadow)
        async with open_link("s2", self.port.url) as link:
            await follow(link, resource, self.port, lambda: self.now_s, self.ended)

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.ensure_future(self.session())
        try:
            yield task
        finally:
            self.ended.append(1)
            with contextlib.suppress(PortFault):
                await task
            self.ended.clear()

    def kw(self, after_min: float = 0.0) -> tuple[float, float]:
        force = self.book.force(self.now_s + after_min * 60.0)
        return float(force.import_w[1]) / 1e3, float(force.export_w[1]) / 1e3


def play(folder: Path, act) -> None:
    async def scene() -> None:
        async with CemTwin() as cem:
            await act(cem, Pilot(folder, cem.url))

    asyncio.run(scene())


async def states(cem: CemTwin, count: int) -> list[str]:
    await cem.wait("InstructionStatusUpdate", count)
    return [message["status_type"] for message in cem.of("InstructionStatusUpdate")]


def test_envelopes_hold_in_their_times_and_each_state_is_told(tmp_path):
    async def act(cem, pilot):
        async with pilot.running():
            await cem.wait("PEBC.PowerConstraints")
            await cem.instruct(NOW, [(5 * MIN + 1000, -20e3, 30e3), (5 * MIN, 0.0, 10e3)])
            assert await states(cem, 2) == ["ACCEPTED", "STARTED"]
            assert [pilot.kw(m) for m in (0, 4, 6, 10.1)] == [
                (30.0, 20.0), (30.0, 20.0), (10.0, 0.0), (math.inf, math.inf)
            ]  # fmt: skip
            await cem.instruct(LATER, [(5 * MIN, 0.0, 5e3)])
            assert (await states(cem, 3))[2] == "ACCEPTED"
            assert [pilot.kw(m)[0] for m in (4, 6, 11, 16)] == [30.0, 10.0, 5.0, math.inf]
            pilot.now_s = T0_S + 605.0
            assert sorted((await states(cem, 5))[3:]) == ["STARTED", "SUCCEEDED"]
            assert (await cem.wait("PowerMeasurement"))["values"][0]["value"] == 12_345.0
            answers = {message["status"] for message in cem.of("ReceptionStatus")}
            assert answers == {"OK"}

    play(tmp_path, act)


def test_what_cannot_be_obeyed_is_refused_and_what_is_revoked_ends(tmp_path):
    async def act(cem, pilot):
        async with pilot.running():
            await cem.wait("PEBC.PowerConstraints")
            await cem.instruct(NOW, [(5 * MIN, 0.0, 150e3)])
            await cem.instruct(NOW, [(5 * MIN, 0.0, -1.0)])
            await cem.instruct(NOW, [(5 * MIN, 0.0, 1e3)], power_constraints_id=RESOURCE)
            await cem.say("PEBC.Instruction", id="no uuid")
            await cem.say("SelectControlType", control_type="FILL_RATE_BASED_CONTROL")
            taken = await cem.instruct(NOW, [(5 * MIN, 0.0, 30e3)])
            assert await states(cem, 2) == ["ACCEPTED", "STARTED"]
            bad = [m["status"] for m in cem.of("ReceptionStatus") if m["status"] != "OK"]
            assert bad == ["INVALID_CONTENT"] * 3 + ["INVALID_MESSAGE", "INVALID_CONTENT"]
            assert pilot.kw() == (30.0, 0.0)
            await cem.say("RevokeObject", object_type="PEBC.Instruction", object_id=taken)
            assert (await states(cem, 3))[2] == "REVOKED"
            assert pilot.kw() == (math.inf, math.inf)

    play(tmp_path, act)


def test_a_lost_link_leaves_the_envelopes_and_a_new_session_takes_their_place(tmp_path):
    async def act(cem, pilot):
        async with pilot.running() as task:
            await cem.wait("PEBC.PowerConstraints")
            await cem.instruct(NOW, [(30 * MIN, 0.0, 30e3)])
            await states(cem, 2)
            await cem.drop()
            with pytest.raises(PortFault):
                await task
        assert pilot.kw(20)[0] == 30.0
        again = Pilot(tmp_path, cem.url)
        again.book.restore(read_entries(pilot.journal.path))
        assert again.kw(20)[0] == 30.0
        async with again.running():
            await cem.wait("PEBC.PowerConstraints", 2)
            await cem.instruct(NOW, [(10 * MIN, 0.0, 40e3)])
            await states(cem, 4)
            assert [again.kw(m)[0] for m in (1, 20)] == [40.0, math.inf]

    play(tmp_path, act)


def test_a_new_session_takes_nothing_back_by_an_id_that_it_does_not_know_and_what_it_knows_ends(tmp_path):
    async def act(cem, pilot):
        async with pilot.running() as task:
            await cem.wait("PEBC.PowerConstraints")
            taken = await cem.instruct(NOW, [(30 * MIN, 0.0, 30e3)])
            await states(cem, 2)
            await cem.drop()
            with pytest.raises(PortFault):
                await task
        again = Pilot(tmp_path, cem.url)  # as after a kill: the journal knows
        again.book.restore(read_entries(pilot.journal.path))
        async with again.running():
            await cem.wait("PEBC.PowerConstraints", 2)
            await cem.say("RevokeObject", object_type="PEBC.Instruction", object_id=RESOURCE)
            await cem.instruct(LATER, [(5 * MIN, 0.0, 40e3)])
            assert (await states(cem, 3))[2] == "ACCEPTED"
            assert [again.kw(m)[0] for m in (1, 9, 12, 20)] == [30.0, 30.0, 40.0, math.inf]
            await cem.say("RevokeObject", object_type="PEBC.Instruction", object_id=taken)
            assert (await states(cem, 4))[3] == "REVOKED"
            assert [again.kw(m)[0] for m in (1, 12)] == [math.inf, 40.0]

    play(tmp_path, act)


def test_a_shadow_decides_and_tells_the_manager_that_nothing_is_limited(tmp_path):
    async def act(cem, pilot):
        pilot.shadow = True
        async with pilot.running():
            await cem.wait("PEBC.PowerConstraints")
            await cem.instruct(NOW, [(5 * MIN, 0.0, 30e3)])
            await cem.wait("PowerMeasurement", 2)
            assert await states(cem, 1) == ["REJECTED"]  # and no STARTED behind it
            assert pilot.kw()[0] == 30.0

    play(tmp_path, act)


def test_a_plain_address_elsewhere_and_a_dead_one_are_told():
    async def scene() -> None:
        for url, why in (("ws://example.org/s2", "give a wss address"), ("ws://127.0.0.1:9/s2", "127.0.0.1:9")):
            with pytest.raises(PortFault, match=why):
                async with open_link("s2", url):
                    pass

    asyncio.run(scene())
