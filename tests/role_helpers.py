"""Open a port to the twin of any family behind a real socket, and let the twin live."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from scpi_helpers import Clock, Loop, Served, part_of

from hil.twins.scpi_twins import make_twin
from instruments.faults import PortFault
from instruments.scpi_catalog import ScpiPart
from instruments.scpi_port import ScpiPort


def fault_of(act: Callable[[], Any]) -> PortFault:
    with pytest.raises(PortFault) as caught:
        act()
    return caught.value


@contextmanager
def opened(model: str, role: str = "", part: ScpiPart | None = None) -> Iterator[tuple[ScpiPort, Served, Clock]]:
    """Give an open port to the twin of a model behind a real socket; the device's pacing is not waited for."""
    clock, loop = Clock(), Loop()
    record = part or part_of(model)
    served = Served(loop, make_twin(record, clock, role))
    quick = [way.model_copy(update={"min_gap_s": 0.0, "reply_s": 0.0}) for way in record.transports]
    served.server._transport = quick[0]
    port = ScpiPort("dut", record.model_copy(update={"transports": quick}), served.address, timeout_s=2.0)
    try:
        port.open()
        yield port, served, clock
    finally:
        port.close()
        served.stop()
        loop.close()


def passing(clock: Clock) -> Callable[[float], None]:
    def pause(seconds: float) -> None:
        clock.now_s += seconds

    return pause


def flow(served: Served, clock: Clock, volt_v: float, delivered_a: float, dt_s: float = 0.1, at: int = 0) -> None:
    """Let the twin live for a step with that much at its terminals."""
    twin: Any = served.twin

    def live() -> None:
        for _ in range(2):  # the second shows what flowed after the first, however old the meters let it be
            clock.now_s += dt_s
            twin.step(clock(), dt_s)
            twin.set_measured(volt_v, delivered_a, at)
        clock.now_s += dt_s
        twin.step(clock(), dt_s)

    served.loop.call(live)
