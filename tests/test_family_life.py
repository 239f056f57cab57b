"""Live one life with every family, role and mode of the catalog on a real socket.

Open and identify, prepare with the limits programmed, refuse what is beyond them, energise, set and measure, be
tripped, be made safe: through our driver on one side and the twin of the same record on the other.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from family_helpers import ROLE_MODES, SCPI_MODELS, cases
from scpi_helpers import Clock, Loop, Served

from hil.rig.rigfile import RigError, find_rig, load_rig
from hil.twins.scpi_twins import make_twin
from instruments.ac_load import AcLoad
from instruments.ac_source import AcSource
from instruments.analyzer import Analyzer
from instruments.catalog import load_model
from instruments.dc_load import DcLoad
from instruments.dc_supply import BidirectionalSupply, DcSupply
from instruments.faults import FaultKind, PortFault
from instruments.scpi_catalog import ScpiPart
from instruments.scpi_port import ScpiPort
from instruments.scpi_role import scpi_of
from instruments.scpi_units import to_ours

STEP_S = 0.1


class Life:
    """Hold a driver and the twin behind its socket, and drive both in the words of the role."""

    def __init__(self, port: ScpiPort, served: Served, clock: Clock, role: str, mode: str) -> None:
        self.port, self.served, self.clock, self.role, self.mode = port, served, clock, role, mode
        self.twin: Any = served.twin
        self.rating = port.part.roles[role].rating.of(mode)  # type: ignore[index]
        self.volt_v, self.amp_a = 0.5 * self.rating.max_v, 0.25 * min(self.rating.max_a, self._share_a())
        self.device: Any = self._driver()

    def _share_a(self) -> float:
        return self.rating.max_va / self.rating.max_v

    def _driver(self) -> Any:
        phases, most = {"one": 1, "three": 3}.get(self.mode, 1), self.rating
        ends = {"hard_max_v": 0.8 * most.max_v, "hard_max_a": 0.8 * most.max_a}
        rest = {"clock_s": self.clock, "pause": self._pass}
        if self.role == "ac_source":
            return AcSource(self.port, phases=phases, **ends, **rest)
        if self.role == "ac_load":
            return AcLoad(self.port, hard_max_a=ends["hard_max_a"], pause=self._pass)
        if self.role == "dc_load":
            return DcLoad(self.port, mode=self.mode, pause=self._pass, **ends)
        if self.role == "analyzer":
            return Analyzer(self.port, phases=phases, pause=self._pass)
        if self.role == "dc_supply":
            return DcSupply(self.port, mode=self.mode, **ends, **rest)
        return BidirectionalSupply(self.port, mode=self.mode, hard_sink_a=0.8 * most.sink_max_a, **ends, **rest)

    def _pass(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @property
    def kind(self) -> str:
        return {"ac_load": "load", "dc_load": "load", "ac_source": "ac"}.get(self.role, "dc")

    def write(self, share: float) -> Any:
        """Write a share of the working point and return the reading."""
        if self.role == "ac_source":
            return self.device.set_and_measure([share * self.volt_v] * 3)
        if self.role == "bidirectional_supply":
            return self.device.set_and_measure(share * self.volt_v, share * self.amp_a, share * self.amp_a)
        if self.role == "dc_supply":
            return self.device.set_and_measure(share * self.volt_v, share * self.amp_a)
        whole = {"power": self.amp_a * self.volt_v, "voltage": self.volt_v, "resistance": 10.0}
        return self.device.set_and_measure(share * whole.get(self.mode, self.amp_a))

    def on(self) -> None:
        (self.device.input if self.kind == "load" else self.device.output)(True)

    def is_on(self) -> bool:
        return bool(self.twin.terminals_on)

    def flow(self) -> None:
        """Let the twin see its working point for a while."""
        self.served.loop.call(self._flow)

    def _flow(self) -> None:
        for _ in range(12):
            self.clock.now_s += STEP_S
            self.twin.step(self.clock(), STEP_S)
            if self.role == "ac_source":
                self.twin.set_measured([self.amp_a] * 3)
            elif self.role == "ac_load":
                self.twin.set_measured(self.volt_v, self.amp_a)
            else:
                self.twin.set_measured(self.volt_v, -self.amp_a if self.kind == "load" else self.amp_a)


@contextmanager
def living(model: Any, role: str, mode: str) -> Iterator[Life]:
    """Serve the twin of a model, its pacing not waited for, and open our port to it."""
    part: ScpiPart = model.scpi
    quick = [way.model_copy(update={"min_gap_s": 0.0, "reply_s": 0.0}) for way in part.transports]
    part = part.model_copy(update={"transports": quick})
    clock, loop = Clock(), Loop()
    served = Served(loop, make_twin(part, clock, role))
    port = ScpiPort("dut", part, served.address, timeout_s=2.0)
    try:
        assert port.open() == part.identity.sample
        yield Life(port, served, clock, role, mode)
    finally:
        port.close()
        served.stop()
        loop.close()


def fault_of(act: Callable[[], Any]) -> PortFault:
    with pytest.raises(PortFault) as caught:
        act()
    return caught.value


ENERGISING = [row for row in ROLE_MODES if row[1] != "analyzer"]
ANALYZERS = [row for row in ROLE_MODES if row[1] == "analyzer"]


@pytest.mark.parametrize(("model", "role", "mode"), cases("prepare", ENERGISING))
def test_prepare_leaves_it_off_with_our_limits_in_the_device(model: Any, role: str, mode: str) -> None:
    with living(model, role, mode) as life:
        life.device.prepare()
        assert not life.is_on()
        limits = {"volt_limit_v": 0.8 * life.rating.max_v, "current_limit_a": 0.8 * life.rating.max_a}
        limits |= {"sink_limit_a": 0.8 * life.rating.sink_max_a}
        for name in set(limits) & set(model.scpi.roles[role].protection.limits):
            quantity = model.scpi.quantities[name]
            assert life.twin.ours(name) == pytest.approx(limits[name], abs=to_ours(quantity.step, quantity.unit)), name
        order = [message.decode() for message in life.served.heard()]
        assert order.index(model.scpi.safe_off.steps[0].send) < len(order)
        assert not any(step.send in order for step in model.scpi.roles[role].energise.steps if step.ask)


@pytest.mark.parametrize(("model", "role", "mode"), cases("life", ENERGISING))
def test_it_delivers_what_is_set_shows_what_flows_and_tells_a_trip(model: Any, role: str, mode: str) -> None:
    with living(model, role, mode) as life:
        life.device.prepare()
        if mode not in ("voltage", "resistance") or life.kind != "load":
            life.write(0.0)
        life.on()
        assert life.is_on()
        life.write(1.0)
        life.flow()
        seen = life.write(1.0)
        slack = {"rel": 2e-3, "abs": 0.05}
        if role == "ac_source":
            assert seen.volt_v[0] == pytest.approx(life.volt_v, **slack) and seen.output_on
            assert np.count_nonzero(seen.volt_v) == (3 if mode == "three" else 1)
            assert seen.amp_a[0] == pytest.approx(life.amp_a, **slack)
        else:
            assert seen.volt_v == pytest.approx(life.volt_v, **slack)
            side = -1.0 if role in ("bidirectional_supply",) else 1.0  # plays the car: + is into it
            assert seen.amp_a == pytest.approx(side * life.amp_a, **slack)
        bit = next(iter(model.scpi.status.questionable), "")
        if bit:
            life.served.loop.call(lambda: life.twin.trip(bit))
            fault = fault_of(lambda: life.write(1.0))
            assert fault.kind is FaultKind.PROTECTION and "off by itself" in fault.detail
            if not model.scpi.parser.error_acknowledges:  # there, asking for errors has cleared the latch
                assert fault_of(life.on).kind in (FaultKind.REJECTED, FaultKind.READBACK)
        assert not life.is_on() or not bit


@pytest.mark.parametrize(("model", "role", "mode"), cases("safe", ENERGISING))
def test_safe_off_is_the_records_messages_in_order_and_nothing_else(model: Any, role: str, mode: str) -> None:
    with living(model, role, mode) as life:
        life.device.prepare()
        if mode not in ("voltage", "resistance") or life.kind != "load":
            life.write(0.0)
        life.on()
        life.served.server.heard.clear()
        life.device.safe_off()
        life.port.query("*OPC?")  # the last message may have no answer to wait for
        wanted = [text for step in model.scpi.safe_off.steps for text in (step.send, step.ask) if text]
        assert [message.decode() for message in life.served.heard()] == [*wanted, "*OPC?"]
        assert not life.is_on()


@pytest.mark.parametrize(("model", "role", "mode"), cases("beyond", ENERGISING))
def test_nothing_is_sent_that_breaks_a_hard_limit(model: Any, role: str, mode: str) -> None:
    with living(model, role, mode) as life:
        life.device.prepare()
        life.served.server.heard.clear()
        for share in (math.nan, math.inf, -1.0):
            assert fault_of(lambda share=share: life.write(share)).kind is FaultKind.RANGE
        assert life.served.heard() == []


@pytest.mark.parametrize(("model", "role", "mode"), cases("analyzer", ANALYZERS))
def test_an_analyzer_reads_its_elements(model: Any, role: str, mode: str) -> None:
    with living(model, role, mode) as life:
        life.device.prepare()

        def see() -> None:
            for _ in range(4):
                life.clock.now_s += 1.0
                life.twin.set_measured([230.0, 231.0, 232.0], [1.0, 2.0, 3.0], [229.0, 460.0, 690.0], 50.0)
                life.twin.step(life.clock(), 1.0)

        life.served.loop.call(see)
        seen = life.device.measure()
        used = 3 if mode == "three" else 1
        assert seen.volt_v[:used] == pytest.approx([230.0, 231.0, 232.0][:used], rel=1e-4)
        assert seen.amp_a[:used] == pytest.approx([1.0, 2.0, 3.0][:used], rel=1e-4)
        assert seen.power_w[:used] == pytest.approx([229.0, 460.0, 690.0][:used], rel=1e-4)
        assert seen.frequency_hz == pytest.approx(50.0, rel=1e-4)
        assert not np.any(seen.volt_v[used:])


@pytest.mark.parametrize("model", [m for m in SCPI_MODELS if m.model.undriven], ids=lambda m: m.model.name)
def test_a_family_that_cannot_be_driven_is_refused_with_the_reason(model: Any) -> None:
    fault = fault_of(lambda: scpi_of(model, model.model.role))
    assert fault.kind is FaultKind.INTERLOCK and model.model.undriven in fault.detail


@pytest.mark.parametrize("name", ["nhr-9300", "cinergia-geel"])
def test_a_rig_with_such_a_family_is_refused_before_the_run(name: str, tmp_path: Path) -> None:
    text = find_rig("bench_dc").read_text(encoding="utf-8")
    assert 'model = "ea-psb"' in text
    path = tmp_path / "refused.toml"
    path.write_text(text.replace('model = "ea-psb"', f'model = "{name}"'), encoding="utf-8")
    with pytest.raises(RigError) as caught:
        load_rig(str(path))
    told = {problem.where: problem.allowed for problem in caught.value.problems}
    (where,) = [where for where in told if where.endswith("bench.supply.model")]
    assert load_model(name).model.undriven in told[where] and "name another model" in told[where]
