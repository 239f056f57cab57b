"""Stop the bench: planned, each step with read-back and time-out; after a fault, the source first and at once."""

from typing import TYPE_CHECKING, Any

from controller.runtime.bench_images import BenchState
from controller.runtime.played_car import CP_A, CP_B, LIVE_V
from instruments.faults import PortFault

if TYPE_CHECKING:
    from controller.runtime.bench_loop import Bench

OPEN_S = 5.0  # longest wait for the charger's contactor; IEC 61851-1 allows it 0.1 s after C to B or A, recalled
TICK_S = 0.1


def planned_stop(bench: "Bench") -> None:
    """Take the current to 0, let the charger open its contactor, then source off, then load off.

    A step that fails raises its PortFault, and the caller goes on with the fault stop.
    """
    bench.publish(BenchState.STOPPING)
    if bench.measured.record["source_on"]:
        bench.car.unplug()
        bench.load.set_and_measure(0.0)
        bench.show(CP_B)
        bench.show(CP_A)
        opened = _wait_for_contactor(bench)
        bench.tell("bench_contactor", opened=opened, allowed_s=OPEN_S)
    bench.source.safe_off()
    bench.measured.set(source_on=False)
    bench.publish(BenchState.STOPPING)
    bench.load.safe_off()
    bench.measured.set(load_on=False, load_set_a=0.0, amp_a=0.0, load_a=0.0)
    bench.publish(BenchState.OFF)
    bench.tell("bench_off", confirmed=True)
    for instrument in (bench.source, *bench.load.loads):  # an armed watchdog would latch its trip for the next run
        _attempt(bench, instrument.port.name, instrument.release)


def _wait_for_contactor(bench: "Bench") -> bool:
    """Wait until the load sees no volts; a contactor that stays closed is told, and the source goes off anyway.

    A scan or plant that falls silent meanwhile ends the wait with its fault.
    """
    for _ in range(round(OPEN_S / TICK_S)):
        bench.wanted.read()
        silence = bench.silent()
        if silence is not None:
            raise silence
        seen = bench.load.set_and_measure(0.0)
        bench.measured.set(load_v=seen.volt_v, load_a=seen.amp_a)
        bench.publish(BenchState.STOPPING)
        if seen.volt_v < LIVE_V:
            return True
        bench.pause(TICK_S)
    return False


def fault_stop(bench: "Bench", fault: PortFault) -> None:
    """Switch the source off at once, then load and pilot; nothing waits, and no failure of one keeps the others on."""
    confirmed = _attempt(bench, "source", bench.source.safe_off)
    _attempt(bench, "load", bench.load.safe_off)
    _attempt(bench, "adapter", lambda: bench.show(CP_A))
    bench.measured.set(fault=int(fault.kind), source_on=not confirmed)
    bench.publish(BenchState.FAULT)
    bench.tell("fault", text=str(fault), device=fault.device, source_off_confirmed=confirmed)


def _attempt(bench: "Bench", name: str, act: Any) -> bool:
    """Do one part of the fault stop and tell how it went."""
    try:
        act()
    except PortFault as fault:
        bench.tell("bench_not_confirmed", instrument=name, text=str(fault))
        return False
    return True
