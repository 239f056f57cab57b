"""The wires process: what the ports read reaches INPUT, what the scan allows reaches the ports, silence is kept."""

import asyncio
import math
from types import SimpleNamespace

import numpy as np
import pytest

from controller.law import image
from controller.law.names import Trust, VoltSource
from controller.runtime import compose, stores, wires, wires_measure, wires_status
from controller.runtime.compose import ObeyClock, OutputTap
from controller.runtime.events import Events, read_events
from controller.runtime.histogram import HISTOGRAM, Histogram
from controller.runtime.site import SubstationPort
from controller.runtime.store import Store
from instruments.faults import FaultKind, PortFault

S = 1_000_000_000


class FakeCharger:
    """Answer as a charger client does; `wanted` notes what it was allowed, NaN nothing."""

    def __init__(self, name, fault=None):
        self.name = name
        self.fault = fault
        self.closed = self.programmed = False
        self.woken = 0
        self.wanted = []
        self.talks = []
        self.reading = SimpleNamespace(
            volt_v=[231.0, math.nan, math.nan],
            amp_a=[12.0, math.nan, math.nan],
            power_w=2772.0,
            session_wh=100.0,
            state=2,
            limit_a=16.0,
            quality=2,
            change_ns=0,
            link=True,
            session_no=1,
            errors=0,
            fault="",
            round_trip_ns=0,
            overwritten_a=math.nan,
            sent_a=16.0,
        )

    async def open(self):
        if self.fault:
            raise self.fault
        return "identity"

    async def program_failsafe(self):
        self.programmed = True

    async def run(self, want_a, may_talk):
        while True:
            self.talks.append(may_talk())
            self.wanted.append(want_a())
            self.reading.quality = 0
            self.reading.change_ns += S
            self.reading.round_trip_ns += 300_000
            await asyncio.sleep(0.005)

    def wake(self):
        self.woken += 1

    async def close(self):
        self.closed = True


@pytest.fixture
def events(site, tmp_path):
    log = Events(tmp_path / "events.jsonl", "wires")
    yield log
    log.close()


def allow(site, amps, now_ns, trust=Trust.BELIEVED):
    buffer, out = image.allocate("output", site.image_dims())
    out.allowed_a[:] = amps
    out.charger_trust[:] = trust
    out.now_ns[0] = now_ns
    stores.attach(site, "output.img").write(buffer, now_ns)


def test_nothing_is_written_before_the_first_scan_and_nothing_at_all_on_a_stale_heartbeat(site):
    tap = OutputTap(stores.attach(site, "output.img"), site.image_dims(), limit_s=1.0)
    assert tap.may_talk(10 * S)
    assert math.isnan(tap.want_a(0, 10 * S))
    allow(site, [0.0, 6.0, 7.5], 10 * S)
    assert [tap.want_a(i, 10 * S) for i in range(3)] == [0.0, 6.0, 7.5]
    assert tap.may_talk(11 * S)
    assert not tap.may_talk(11 * S + 1)
    assert math.isnan(tap.want_a(2, 11 * S + 1))
    allow(site, [1.0, 1.0, 1.0], 12 * S)
    assert tap.want_a(2, 12 * S) == 1.0


def test_nothing_is_written_to_a_charger_that_the_law_has_never_seen(site):
    tap = OutputTap(stores.attach(site, "output.img"), site.image_dims(), limit_s=1.0)
    allow(site, [0.0, 6.0, 7.5], 10 * S, [Trust.DESIGN, Trust.BELIEVED, Trust.HELD])
    assert math.isnan(tap.want_a(0, 10 * S))
    assert [tap.want_a(i, 10 * S) for i in (1, 2)] == [6.0, 7.5]
    allow(site, [0.0, 0.0, 0.0], 10 * S + 1, [Trust.BELIEVED, Trust.DESIGN, Trust.BELIEVED])
    assert [tap.want_a(i, 10 * S + 1) for i in range(3)] == [0.0, 0.0, 0.0]  # seen once, then a limit always holds


def test_a_reading_lands_in_its_row_with_every_field(site):
    _, inp = image.allocate("input", site.image_dims())
    dark = FakeCharger("cp0").reading
    dark.link = False
    compose.put_chargers(inp, [dark, FakeCharger("cp1").reading, FakeCharger("cp2").reading])
    assert inp.charger_v[1, 0] == 231.0
    assert np.isnan(inp.charger_a[1, 1:]).all()
    assert (inp.charger_w[1], inp.charger_limit_a[1], inp.charger_state[1], inp.charger_link[1]) == (2772, 16, 2, 1)
    assert inp.charger_link[0] == 0


def test_node_fields_exist_in_the_input_table(site):
    _, inp = image.allocate("input", site.image_dims())
    _, reading = image.allocate("input", site.image_dims())
    for name in compose.NODE_FIELDS:
        getattr(reading, name)[:] = 3
    compose.put_nodes(inp, reading)
    assert all((getattr(inp, name) == 3).all() for name in compose.NODE_FIELDS)


def test_the_obey_clock_runs_from_the_decision_to_the_drawn_amps():
    clock = ObeyClock(Histogram.empty())
    clock.update(16.0, 1 * S, 15.8, 1 * S)
    clock.update(6.0, 2 * S, 15.8, 1 * S)
    clock.update(6.0, 3 * S, 5.9, 2 * S)
    assert clock.histogram.count == 0
    clock.update(6.0, 9 * S, 5.9, 12 * S)
    assert clock.histogram.count == 1
    assert clock.histogram.max_s == 10.0
    clock.update(0.0, 20 * S, 5.9, 19 * S)
    clock.update(8.0, 21 * S, 5.9, 22 * S)
    assert clock.histogram.count == 1


def test_the_wires_publish_when_all_have_answered_and_carry_out_what_is_allowed(site, events):
    chargers = [FakeCharger(f"cp{i}") for i in range(3)]
    process = wires.Wires(site, chargers, None, events)

    async def end_when_published(ended):
        while process.input_store.sequence < 2 or not process.ports["round_trip"]["counts"].any(axis=1).all():
            await asyncio.sleep(0.005)
        ended.set()

    async def run():
        ended = asyncio.Event()
        await process.open()
        async with asyncio.timeout(60.0), asyncio.TaskGroup() as group:
            group.create_task(end_when_published(ended))
            group.create_task(process.run(ended))
        await process.close()

    asyncio.run(run())
    assert all(charger.programmed and charger.closed for charger in chargers)
    assert all(all(charger.talks) and np.isnan(charger.wanted).all() for charger in chargers)
    buffer, inp = image.allocate("input", site.image_dims())
    assert stores.attach(site, "input.img").read(buffer) >= 2
    assert (inp.charger_quality == 0).all()
    process.publish_status(1)
    status = wires_status.read_wires(site)
    assert status["ready"] == 1
    figures = wires_status.to_dict(status)
    assert list(figures) == ["cp0", "cp1", "cp2"]
    assert figures["cp1"]["round_trip"]["count"] > 0


def test_the_law_is_not_started_on_a_node_that_is_missing_or_stale(site, events):
    buffer, plan = image.allocate("plan", site.image_dims())
    plan.node_max_age_s[:] = 2.0
    buffer.tofile(site.store("plan.bin"))
    points = {"transformer": [0], "head": [1]}
    station = SubstationPort(name="ss", model="substation-iec61850", address="opc.tcp://127.0.0.1:1", points=points)
    chargers = [FakeCharger(f"cp{i}") for i in range(3)]
    site = site.model_copy(update={"substation": station})
    Store.create(site.store(wires_status.NAME), wires_status.dtype(wires_status.ports(site)).itemsize)
    process = wires.Wires(site, chargers, object(), events)
    inp, now_ns = process.input, 100 * S
    for name in ("node_v", "node_a"):
        getattr(inp, f"{name}_quality")[:] = 0
        getattr(inp, f"{name}_change_ns")[:] = now_ns - S
    assert not process.complete(now_ns)  # the chargers have not answered
    for charger in chargers:
        charger.reading.quality = 0
    assert process.complete(now_ns)
    assert not process.complete(now_ns + 2 * S)
    inp.node_v_change_ns[1] = now_ns - 3 * S
    assert not process.complete(now_ns)
    inp.node_v_change_ns[1] = now_ns
    inp.node_a_quality[0] = 2
    assert not process.complete(now_ns)


def test_an_exception_in_one_port_ends_them_all(site, events):
    chargers = [FakeCharger(f"cp{i}") for i in range(3)]

    async def broken(want_a, may_talk):
        raise RuntimeError("a bug")

    chargers[1].run = broken
    process = wires.Wires(site, chargers, None, events)
    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(process.run(asyncio.Event()))
    assert "a bug" in str(caught.value.exceptions[0])


def test_every_device_that_cannot_be_opened_is_named_and_the_exit_is_3(site, events, capsys, tmp_path):
    wrong = PortFault(FaultKind.WRONG_IDENTITY, "cp1", "", "it says KC-P20, expected KC-P30")
    gone = PortFault(FaultKind.REFUSED, "cp2", "", "127.0.0.1:1")
    chargers = [FakeCharger("cp0"), FakeCharger("cp1", wrong), FakeCharger("cp2", gone)]
    code = asyncio.run(wires.serve(wires.Wires(site, chargers, None, events)))
    text = capsys.readouterr().err
    assert code == 3
    assert "cp1: wrong identity: it says KC-P20" in text
    assert "cp2: refused" in text
    assert all(charger.closed for charger in chargers)
    assert [event["device"] for event in read_events(tmp_path / "events.jsonl")] == ["cp1", "cp2"]
    assert wires_status.read_wires(site)["failed"] == 1


def test_a_link_that_falls_and_returns_is_told_once_each(site, events, tmp_path):
    chargers = [FakeCharger(f"cp{i}") for i in range(3)]
    process = wires.Wires(site, chargers, None, events)
    process.measure(1)
    chargers[2].reading.link = False
    chargers[2].reading.fault = "cp2: timeout"
    process.measure(2)
    process.measure(3)
    chargers[2].reading.link = True
    process.measure(4)
    told = [(event["kind"], event["device"]) for event in read_events(tmp_path / "events.jsonl")]
    assert told == [("link_lost", "cp2"), ("link_up", "cp2")]


def test_a_charger_that_another_master_overwrites_is_told_once_and_its_amps_reach_the_law(site, events, tmp_path):
    chargers = [FakeCharger(f"cp{i}") for i in range(3)]
    process = wires.Wires(site, chargers, None, events)
    process.measure(1)
    chargers[1].reading.overwritten_a = 32.0
    for now_ns in (2, 3):
        process.compose()
        process.measure(now_ns)
    assert process.input.charger_limit_a.tolist() == [16.0, 32.0, 16.0]
    process.publish_status(3)
    assert wires_status.to_dict(wires_status.read_wires(site))["cp1"]["overwritten_a"] == 32.0
    chargers[1].reading.overwritten_a = math.nan
    process.compose()
    process.measure(4)
    assert process.input.charger_limit_a[1] == 16.0
    told = list(read_events(tmp_path / "events.jsonl"))
    assert [(event["kind"], event["device"]) for event in told] == [
        ("overwritten", "cp1"),
        ("overwritten_ended", "cp1"),
    ]
    assert (told[0]["over_a"], told[0]["ordered_a"]) == (32.0, 16.0)


def test_only_ports_whose_order_changed_are_woken_and_all_when_the_heartbeat_stops(site, events):
    chargers = [FakeCharger(f"cp{i}") for i in range(3)]
    process = wires.Wires(site, chargers, None, events)
    process.look(10 * S)
    assert [charger.woken for charger in chargers] == [0, 0, 0]
    allow(site, [6.0, 7.0, 8.0], 10 * S)
    process.look(10 * S)
    allow(site, [6.0, 16.0, 8.0], 10 * S)
    process.look(10 * S)
    assert [charger.woken for charger in chargers] == [1, 2, 1]
    process.look(13 * S)
    process.look(14 * S)
    assert [charger.woken for charger in chargers] == [2, 3, 2]


def test_histograms_of_all_ports_count_as_one_does():
    records = np.zeros(4, dtype=HISTOGRAM)
    rng = np.random.default_rng(7)
    singles = [Histogram.empty() for _ in range(4)]
    for _ in range(200):
        durations = (10 ** rng.uniform(2.0, 11.0, 4)).astype(np.int64)
        where = rng.random(4) < 0.7
        wires_measure.count_ns(records, durations, where)
        for k in np.flatnonzero(where):
            singles[k].add_ns(int(durations[k]))
    for record, single in zip(records, singles, strict=True):
        assert (record["counts"] == single.counts).all()
        assert record["max_ns"] == single.record["max_ns"]


def test_the_substation_is_a_port_too(site):
    station = SubstationPort(name="ss", model="substation-iec61850", address="opc.tcp://127.0.0.1:1", points={})
    assert wires_status.ports(site.model_copy(update={"substation": station}))[-1] == "ss"


def test_only_chargers_that_the_plan_lets_switch_are_asked_for_phases_and_what_they_use_is_input(site, events):
    buffer, plan = image.allocate("plan", site.image_dims())
    plan.switch_phases[1] = 1
    buffer.tofile(site.store("plan.bin"))
    chargers = [FakeCharger(f"cp{i}") for i in range(3)]
    asked = []
    for charger in chargers:
        charger.ask_phases = lambda number, name=charger.name: asked.append((name, number))
    process = wires.Wires(site, chargers, None, events)
    buffer, out = image.allocate("output", site.image_dims())
    out.number_phases[:] = 3
    store = stores.attach(site, "output.img")
    for number in (3, 3, 1):
        out.number_phases[:] = number
        store.write(buffer, 10 * S)
        process.look(10 * S)
    assert asked == [("cp1", 3), ("cp1", 1)]
    chargers[1].reading.phases = 1
    process.compose()
    assert process.input.charger_phases.tolist() == [-1, 1, -1]


def test_a_charger_whose_node_shows_other_phases_than_its_own_is_named():
    plan = SimpleNamespace(
        volt_source=np.array([VoltSource.NODE, VoltSource.NODE, VoltSource.OWN, VoltSource.NODE]),
        charger_node=np.array([1, 1, 1, 0]),
        phase_map=np.array([[2, -1, -1], [1, -1, -1], [2, -1, -1], [0, 1, 2]]),
    )
    inp = SimpleNamespace(node_v=np.array([[math.nan] * 3, [math.nan, 231.0, math.nan]]))
    assert list(wires_measure.unseen_phases(plan, inp)) == [(0, "c", "b")]  # of node 0 nothing is known yet
    inp.node_v[0] = 230.0, math.nan, 230.0
    assert list(wires_measure.unseen_phases(plan, inp)) == [(0, "c", "b"), (3, "b", "ac")]
