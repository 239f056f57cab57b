"""Make a trace of what was measured: for a run without a plant, and for a run that was killed and left only its ledger.

Where devices are real there is no truth beside their meters: amps are what the chargers read, volts what the substation
reads at their connections. What nobody measured stays NaN, so that no verdict can pass on it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from controller.law.names import Quality
from controller.runtime.ledger import LedgerReader
from controller.runtime.site import read_site
from hil.rig.assembler import CONNECTION_NODE, Assembly
from hil.rig.realtime import SITE
from hil.rig.tree import connections_of
from hil.rig.truth import truth_dtype
from hil.runs.recorder import COPIED
from hil.runs.trace import CONTROLLED, Trace, blank

HEAD_NODE = 1
NS = 1_000_000_000
INFO, LAYOUT = "report.json", "layout"


def fill_metered(record: np.ndarray, t_s: float, inp: Any, customer_of: np.ndarray) -> None:
    """Write an INPUT image into one truth record (a 0-d array of `truth_dtype`); values of bad quality are NaN."""
    customers = connections_of(customer_of)
    record["t_s"] = t_s
    record["customer_v"] = np.nan
    rows = slice(CONNECTION_NODE, CONNECTION_NODE + len(customers))
    volts = np.nanmin(np.where(np.isnan(inp.node_v[rows]), np.inf, inp.node_v[rows]), axis=1)
    known = np.isfinite(volts) & (inp.node_v_quality[rows] == Quality.GOOD)
    record["customer_v"][customers] = np.where(known, volts, np.nan)
    good = inp.charger_quality == Quality.GOOD
    amps = np.where(np.isnan(inp.charger_a), -np.inf, inp.charger_a).max(axis=1)
    record["drawn_a"] = np.where(good & np.isfinite(amps), amps, np.nan)
    lowest = np.where(np.isnan(inp.charger_v), np.inf, inp.charger_v).min(axis=1)
    record["volt_v"] = np.where(good & np.isfinite(lowest), lowest, np.nan)
    record["drawn_w"] = np.where(good, inp.charger_w, np.nan)
    record["pwm_a"] = inp.charger_limit_a
    record["state"] = np.where(good, inp.charger_state, -1)
    record["failsafe_active"] = False
    record["link_cut"] = inp.charger_link == 0
    record["session_wh"] = np.nan_to_num(inp.charger_wh)
    record["need_wh"] = np.nan
    record["head_a"] = inp.node_a[HEAD_NODE]
    record["head_w"] = inp.node_w[HEAD_NODE]
    utc_s = float(inp.utc_ns[0]) / NS
    # NaN: from at once, until withdrawn
    in_force = not (utc_s < inp.order_from_s[HEAD_NODE] or utc_s >= inp.order_to_s[HEAD_NODE])
    record["order_w"] = inp.order_w[HEAD_NODE] if in_force else np.inf
    record["converged"] = True


def trace_of_ledger(run_dir: Path) -> Trace:
    """Return the trace of what a run's ledger holds, scan by scan; a LedgerError tells a folder without a readable one.

    Only the controlled run is in it. ValueError where the folder does not say what stood where (its report.json).
    """
    site = read_site(run_dir / SITE)
    try:
        layout = json.loads((run_dir / INFO).read_text())[LAYOUT]
        names, start_utc_s = list(layout["customer_names"]), float(layout["start_utc_s"])
        customer_of = np.array(layout["customer_of"], dtype=np.int32)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{run_dir / INFO}: does not say where the chargers stood ({error})") from error
    entries = [(float(inp.utc_ns[0]) / NS, inp, out) for _, inp, out in LedgerReader(run_dir).scans()]
    times_s = np.array([utc_s for utc_s, _, _ in entries]) - start_utc_s
    trace = blank(CONTROLLED, times_s, site.charger_names, names, site.node_names)
    trace.charger_customer = customer_of
    record = np.zeros((), dtype=truth_dtype(len(site.charger_names), len(names)))
    for k, (utc_s, inp, out) in enumerate(entries):
        fill_metered(record, float(times_s[k]), inp, customer_of)
        for name in COPIED:
            getattr(trace, name)[k] = record[name]
        trace.utc_s[k] = utc_s
        trace.link[k] = inp.charger_link == 1
        trace.allowed_a[k] = out.allowed_a
        trace.reason[k] = out.reason
        trace.node_a_trust[k] = out.node_trust
    if entries:
        trace.energy_wh = np.asarray(record["session_wh"], dtype=trace.energy_wh.dtype)
    return trace


def layout_of(assembly: Assembly) -> dict[str, Any]:
    """Return what `trace_of_ledger` needs besides site and ledger; kept in report.json from the run's start on."""
    return {
        "customer_names": assembly.customer_names,
        "customer_of": [int(k) for k in assembly.customer_of],
        "start_utc_s": assembly.start_utc_s,
    }
