"""Make synthetic runs of a small street: 4 chargers, 3 of them in a 6 A window, one cut, one substation value stale.

Times: window 10 s, order 26 s, cut 36 s, stale 45 s to 55 s, end 60 s; obey time 12 s. Tests bend these arrays.
"""

import numpy as np

from hil.runs.trace import CONTROLLED, UNCONTROLLED, Trace, blank

CHARGERS = ["cp01", "cp02", "cp03", "cp04"]
CUSTOMERS = ["load1", "load2", "load3", "load4", "load5"]
NODES = ["transformer", "head"]
OBEY_S = 12.0


def base(name: str) -> Trace:
    """Return a run with everything at rest, 10 samples a second from -5 s to 60 s."""
    t_s = np.round(np.arange(-50, 601) * 0.1, 1)
    trace = blank(name, t_s, CHARGERS, CUSTOMERS, NODES)
    trace.utc_s = 1_770_048_000.0 + t_s
    trace.charger_customer = np.array([0, 1, 2, 3], dtype=np.int32)
    trace.link[:] = True
    trace.state[:] = 2
    trace.node_a_trust[:] = 0
    trace.need_wh[:] = [9000.0, 9000.0, 4000.0, np.nan]
    return trace


def settle(trace: Trace) -> Trace:
    """Fill volts, head and energy from the amps drawn."""
    total_a = trace.drawn_a.sum(axis=1)
    trace.customer_v[:] = (238.0 - 0.25 * total_a)[:, None] + np.arange(len(CUSTOMERS))
    trace.volt_v[:] = trace.customer_v[:, trace.charger_customer]
    trace.head_a[:] = total_a[:, None] / 3 + np.array([4.0, 5.0, 6.0])
    trace.head_w[:] = trace.power_w().sum(axis=1) + 3000.0
    trace.pwm_a[:] = np.minimum(trace.allowed_a, 32.0)
    trace.energy_wh[:] = (trace.power_w() * trace.dt_s()[:, None]).sum(axis=0) / 3600.0
    return trace


def uncontrolled() -> Trace:
    """Return the run without control: everybody draws 32 A all the time."""
    trace = base(UNCONTROLLED)
    trace.drawn_a[:] = 32.0
    return settle(trace)


def controlled() -> Trace:
    """Return a run in which the controller does everything right."""
    trace = base(CONTROLLED)
    t = trace.t_s
    trace.allowed_a[:] = 18.0
    trace.reason[:] = 5
    trace.allowed_a[t >= 10, :3] = 6.0
    trace.reason[t >= 10, :3] = 6
    trace.allowed_a[t >= 26, 0] = 0.0
    trace.reason[t >= 26, 0] = 10
    trace.allowed_a[t >= 26, 3] = 10.0
    trace.reason[t >= 26, 3] = 7
    trace.order_w[t >= 26] = 8500.0
    trace.drawn_a[:] = 18.0
    trace.drawn_a[t >= 18, :3] = 6.0
    trace.drawn_a[t >= 34, 0] = 0.0
    trace.drawn_a[t >= 34, 3] = 10.0
    trace.link[t >= 36, 1] = False
    trace.failsafe_active[t >= 46, 1] = True
    trace.drawn_a[t >= 49, 1] = 0.0
    trace.node_a_trust[(t >= 48) & (t < 55), 1] = 1
    return settle(trace)
