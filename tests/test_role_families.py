"""Drive every role of every SCPI family through its role class against its twin, from open to release."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from family_helpers import ROLE_MODES, label
from role_helpers import opened, passing
from scpi_helpers import Clock, Served

from instruments.ac_load import AcLoad
from instruments.ac_source import AcSource
from instruments.analyzer import Analyzer
from instruments.dc_load import DcLoad
from instruments.dc_supply import BidirectionalSupply, DcSupply
from instruments.scpi_port import ScpiPort
from instruments.scpi_role import ScpiRole

PHASES = {"one": 1, "three": 3}
SHARE = 0.1  # of the ratings: small enough for every protection, above every smallest step


def make(port: ScpiPort, role: str, mode: str, clock: Clock) -> tuple[ScpiRole, Callable[[], Any]]:
    """Return the role of an open port and what a control cycle of it is."""
    rating = port.part.roles[role].rating.of(mode)  # type: ignore[index]
    pause = passing(clock)
    volts, amps, watts = SHARE * rating.max_v, SHARE * rating.max_a, SHARE * rating.max_va
    both: dict[str, Any] = {"mode": mode, "hard_max_v": volts, "hard_max_a": amps, "hard_max_w": watts, "pause": pause}
    if role == "ac_source":
        source = AcSource(port, phases=PHASES[mode], hard_max_v=volts, hard_max_a=amps, pause=pause)
        return source, lambda: source.set_and_measure([volts / 2] * 3)
    if role == "ac_load":
        load = AcLoad(port, hard_max_a=amps, pause=pause)
        return load, lambda: load.set_and_measure(amps / 2)
    if role == "dc_supply":
        supply = DcSupply(port, **both)
        return supply, lambda: supply.set_and_measure(volts / 2, amps / 2)
    if role == "bidirectional_supply":
        sink_a = SHARE * rating.sink_max_a
        battery = BidirectionalSupply(port, hard_sink_a=sink_a, **both)
        return battery, lambda: battery.set_and_measure(volts / 2, amps / 2, sink_a / 2)
    if role == "dc_load":
        sink = DcLoad(port, **both)
        value = {"current": amps, "power": watts, "voltage": volts, "resistance": 100.0}[mode]
        return sink, lambda: sink.set_and_measure(value / 2)
    analyzer = Analyzer(port, phases=PHASES[mode])
    return analyzer, analyzer.measure


def energised(served: Served) -> bool:
    twin: Any = served.twin
    return bool(twin.terminals_on)


@pytest.mark.parametrize(("model", "role", "mode"), ROLE_MODES, ids=label)
def test_a_role_prepares_energises_cycles_and_ends_off(model: Any, role: str, mode: str) -> None:
    with opened(model.model.name, role) as (port, served, clock):
        device: Any
        device, cycle = make(port, role, mode, clock)
        device.prepare()
        assert not energised(served)
        seen = cycle()
        if role == "analyzer":
            assert np.all(np.isfinite(seen.volt_v[: PHASES[mode]])) or np.all(np.isnan(seen.volt_v[: PHASES[mode]]))
            return
        switch = device.input if "load" in role else device.output
        switch(True)
        assert energised(served)
        cycle()
        device.release()
        assert not energised(served)
