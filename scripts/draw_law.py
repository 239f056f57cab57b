"""Draw the pictures of docs/law.md with the law itself: `python scripts/draw_law.py [folder]`.

Every curve is what the code decides on a small site, so a picture cannot tell what the law does not do. The same
sources give the same bytes; a test makes the pictures anew and compares.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from law_play import START_NS, Play, charger, head, log
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from controller.law import preset
from controller.law.names import Fairness, Step, VoltSource
from controller.law.share import share
from controller.law.stability import critical_lambda
from controller.law.voltage import share_at
from controller.runtime.plan import DroopSpec, ExportSpec, ReserveSpec, WindowSpec, droop_of

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#888888"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "law",
    "font.size": 8.5,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d0d1d2",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def trust(ax: Axes) -> None:
    play = Play([head(growth_a_per_s=0.2)], [charger("a"), charger("b")], 10.0)
    play.other = 15.0

    def act(t_s: float) -> None:
        play.fresh = not 20.0 <= t_s < 80.0

    t, rows = log(play, 120.0, lambda: [play.out.node_other_a[0, 0], play.out.node_headroom_a[0, 0]], act)
    ax.plot(t, rows[:, 0], color=ORANGE, label="uncontrolled load used")
    ax.plot(t, rows[:, 1], color=BLUE, label="headroom")
    ax.axvspan(20, 80, color=GREY, alpha=0.15, linewidth=0)
    ax.text(21, 3, "silent: believed 3 s, held 30 s, then the design load", fontsize=8)
    ax.set_ylim(0)
    labels(ax, "s", "A", "1 trust: a meter falls silent")


def wish(ax: Axes) -> None:
    spec = charger("a", reserve=ReserveSpec(230.0 * 12, 8.0), export=ExportSpec(16.0), wish_exempt=True, obey_s=0.0)
    play = Play([head()], [spec], 8.0)
    hz = np.linspace(49.7, 50.3, 241)
    given = []
    for _ in play.steps(5.0):
        play.inp.frequency_hz[0] = 50.0
    for value in hz:
        play.inp.frequency_hz[0] = value
        for _ in play.steps(play.t_s + 1.0, 0.5):
            pass
        given.append(play.drawn[0])
    base = 8.0 + np.clip((hz - 50.0) / 0.2, -1, 1) * 12.0
    ax.plot(hz, base, color=GREY, linestyle=":", label="asked without dead band")
    ax.plot(hz, given, color=BLUE, label="allowed: under its floor of 6 A a charger pauses")
    labels(ax, "Hz", "A", "2 wish: frequency response, 12 A to either side of 8 A")


def envelope(ax: Axes) -> None:
    play = Play([head(limit_a=40.0)], [charger("a"), charger("b")], 20.0)

    def act(t_s: float) -> None:
        play.takes[1] = 8.0 if 20.0 <= t_s < 150.0 else np.inf

    t, rows = log(play, 200.0, lambda: [*play.out.allowed_a, play.drawn[1]], act)
    for k, (label, colour) in enumerate((("allowed a", BLUE), ("allowed b", ORANGE), ("drawn by b", GREY))):
        ax.plot(t, rows[:, k], color=colour, label=label, linestyle=":" if k == 2 else "-")
    labels(ax, "s", "A", "3 envelope: b takes 8 A for 60 s, the rest goes to a")


def voltage_curves(ax: Axes) -> None:
    pu = np.linspace(0.88, 1.16, 561)
    for table, colours in ((preset.CHARGING, (BLUE, GREEN)), (preset.EXPORT, (RED, ORANGE, GREY))):
        for (name, found), colour in zip(table.items(), colours, strict=True):
            points = np.array(found.points)
            sign = -1.0 if table is preset.EXPORT else 1.0
            ax.plot(pu, [sign * share_at(u, points[:, 0], points[:, 1]) for u in pu], color=colour, label=name)
    ax.axhline(0.0, color="k", linewidth=0.6)
    labels(ax, "pu of 230 V", "share of the ceiling", "4 voltage: curves by name (export negative)", at="center left")


def voltage_play(ax: Axes) -> None:
    droop = replace(droop_of(preset.CHARGING["eu_research"]), tau_s=1.0, deadband_pu=0.0)
    spec = charger("a", volt_source=VoltSource.OWN, droop=droop, obey_s=0.0)
    play = Play([head()], [spec], 32.0, min_off_s=5.0)
    pu = np.concatenate([np.linspace(0.98, 0.905, 300), np.linspace(0.905, 0.99, 300)])
    given = []
    for value in pu:
        play.volts[:] = value * 230.0
        for _ in play.steps(play.t_s + 2.0, 1.0):
            pass
        given.append(play.out.allowed_a[0])
    ax.plot(pu[:300], given[:300], color=BLUE, label="volts fall")
    ax.plot(pu[300:], given[300:], color=ORANGE, label="volts rise")
    labels(ax, "pu of 230 V", "A", "4 voltage: the play of eu_research on a 32 A charger", at="upper left")


def fairness(ax: Axes) -> None:
    ohm = 0.010 + 0.206 * 0.030 * np.minimum.outer(np.arange(1, 11), np.arange(1, 11))
    curve = DroopSpec(((0.92, 0.1875), (0.96, 1.0)), tau_s=20.0, deadband_pu=0.0, hysteresis_pu=0.0)
    for mode, colour in ((Fairness.LOCAL, BLUE), (Fairness.COMMON, ORANGE), (Fairness.EQUALISED, GREEN)):
        chargers = [
            charger(str(k), volt_source=VoltSource.OWN, droop=replace(curve, fairness=mode), obey_s=0.0,
                    nominal_drop_pu=float(ohm[k].sum() * 16.0 / 230.0))
            for k in range(10)
        ]  # fmt: skip
        play = Play([head(limit_a=1000.0)], chargers, 10.0)
        for _ in play.steps(400.0):
            play.volts = 0.985 * 230.0 - ohm @ play.drawn
        ax.plot(np.arange(1, 11), play.out.allowed_a, "o-", color=colour, markersize=3, label=mode.name.lower())
    ax.set_ylim(0)
    labels(ax, "node along the feeder", "A", "4 voltage: three ways to share a weak feeder")


def stability(ax: Axes) -> None:
    alpha = np.geomspace(0.005, 1.0, 120)
    for delay, colour in zip((0, 1, 3, 10, 50), (BLUE, GREEN, ORANGE, RED, GREY), strict=True):
        ax.loglog(alpha, [critical_lambda(a, delay) for a in alpha], color=colour, label=f"delay {delay} scans")
    labels(ax, "filter weight alpha", "critical loop gain", "4 voltage: the gain at which the droop oscillates")


def contract(ax: Axes) -> None:
    window = WindowSpec(17 * 3600.0 + 60, 17 * 3600.0 + 140, node=0, limit_w=8000.0)
    nodes = [head(limit_w=13_800.0, failsafe_w=4200.0, beat_timeout_s=20.0)]
    play = Play(nodes, [charger("a")], 10.0, windows=(window,))

    def act(t_s: float) -> None:
        play.inp.order_w[0] = 6000.0 if 80.0 <= t_s < 160.0 else np.inf
        if not 180.0 <= t_s < 240.0:
            play.inp.order_beat_ns[0] = START_NS + round(play.t_s * 1e9)
        play.inp.order_quality[0] = 2 if 170.0 <= t_s < 270.0 else 0

    t, rows = log(play, 320.0, lambda: [play.out.node_cap_w[0] / 1000.0], act)
    ax.step(t, rows[:, 0], color=BLUE, where="post")
    for x, y, text in ((42, 8.2, "window"), (82, 6.2, "order"), (203, 4.4, "heartbeat lost")):
        ax.text(x, y, text, fontsize=8)
    ax.text(242, 2.2, "heartbeat back at 240 s,\norder Good at 270 s", fontsize=8)
    ax.set_ylim(0)
    labels(ax, "s", "kW", "5 contract: the node's limit in force", legend=False)


def headroom(ax: Axes) -> None:
    play = Play([head(limit_a=32.0)], [charger("a"), charger("b")], 0.0)
    play.plugged[1] = False

    def act(t_s: float) -> None:
        play.plugged[1] = t_s >= 20.0

    t, rows = log(play, 70.0, lambda: [*play.out.allowed_a, *play.out.reserved_a], act)
    ax.plot(t, rows[:, 0], color=BLUE, label="a allowed")
    ax.plot(t, rows[:, 2], color=BLUE, linestyle=":", label="a reserved")
    ax.plot(t, rows[:, 1], color=ORANGE, label="b allowed: waits for what a may still draw")
    ax.set_ylim(-1, 50)
    labels(ax, "s", "A", "6 headroom: break before make, 15 s obey time")


def admit(ax: Axes) -> None:
    play = Play([head(limit_a=13.0)], [charger(f"c{k}") for k in range(5)], 0.0,
                rotation_s=300.0, min_on_s=60.0, min_off_s=60.0)  # fmt: skip
    t, rows = log(play, 1800.0, lambda: play.out.allowed_a.copy(), lambda t_s: None, 5.0)
    for k in range(5):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], rows[:, k] > 0.0, [0]])))
        ends = np.append(t, t[-1] + 5.0)[edges] / 60.0
        spans = list(zip(ends[::2], np.diff(ends)[::2], strict=True))
        ax.broken_barh(spans, (k, 0.6), color=BLUE, linewidth=0)
    ax.set_yticks(np.arange(5) + 0.3, [f"c{k}" for k in range(5)])
    labels(ax, "min", "", "7 admit: room for two floors of 6 A, slots of 5 min", legend=False)


def in_use(ax: Axes) -> None:
    spec = charger("c0", phase_map=(0, 1, 2), switch_phases=True, switch_dwell_s=60.0, obey_s=5.0)
    play = Play([head(limit_a=32.0, limit_w=9000.0)], [spec], 10.0)

    def act(t_s: float) -> None:
        play.plan.node_limit_w[0] = 4000.0 if 30.0 <= t_s < 120.0 else 9000.0
        play.inp.charger_phases[:] = play.out.number_phases

    t, rows = log(play, 260.0, lambda: [play.out.allowed_a[0], play.state.volts_v[0], play.out.number_phases[0]], act)
    ax.plot(t, rows[:, 0] * rows[:, 1] / 1e3, color=BLUE, label="allowed, kW")
    ax.step(t, np.where((t >= 30.0) & (t < 120.0), 4.0, 9.0), color=RED, linestyle=":", where="post", label="limit, kW")
    ax.step(t, rows[:, 2], color=GREY, where="post", label="phases asked for")
    ax.set_ylim(0, 12)
    labels(ax, "s", "kW", "7 phases: one below 4.14 kW, three again after the dwell (here 60 s)", at="upper center")


def split(ax: Axes) -> None:
    caps = np.array([32.0, 16.0, 10.0, 32.0, 32.0])
    given = share([-1, 0, 0], [1, 1, 1, 2, 2], [[1, 0, 0]] * 5, [1.0] * 5, [0.0] * 5, caps,
                  [[60.0] * 3, [32.0] * 3, [40.0] * 3])  # fmt: skip
    names = ["A1", "A2", "A3", "B1", "B2"]
    ax.bar(names, caps, color="none", edgecolor=GREY, label="cap")
    ax.bar(names, given, color=[BLUE, BLUE, BLUE, ORANGE, ORANGE])
    for k, amps in enumerate(given):
        ax.text(k, amps + 0.5, f"{amps:g}", ha="center", fontsize=8)
    labels(ax, "", "A", "8 share: root 60 A, A 32 A, B 40 A")


def balance(ax: Axes) -> None:
    play = Play(
        [head(limit_a=63.0, unbalance_a=20.0)], [charger(f"c{k}", phase_map=(k, -1, -1)) for k in range(3)], 6.0
    )

    def act(t_s: float) -> None:
        play.plugged[:] = [True, t_s >= 30.0, t_s >= 60.0]

    t, rows = log(play, 120.0, lambda: play.out.allowed_a.copy(), act)
    for k, (colour, phase) in enumerate(zip((BLUE, ORANGE, GREEN), "abc", strict=True)):
        ax.plot(t, rows[:, k], color=colour, label=f"car on {phase}", linestyle=("-", "--", ":")[k])
    ax.set_ylim(0, 40)
    labels(ax, "s", "A", "8 balance: 20 A between phases; a car on each lets all rise", at="lower right")


def quantise(ax: Axes) -> None:
    play = Play([head(limit_a=26.0)], [charger(f"c{k}", step_a=1.0) for k in range(3)], 6.0)
    for _ in play.steps(40.0):
        pass
    place = np.arange(3)
    ax.bar(place - 0.2, play.out.chain[:, Step.SHARE], 0.38, color=GREY, label="share")
    ax.bar(place + 0.2, play.out.chain[:, Step.QUANTISE], 0.38, color=BLUE, label="on the device's step of 1 A")
    ax.set_xticks(place, ["c0", "c1", "c2"])
    ax.set_ylim(7, 10)
    labels(ax, "", "A", "9 quantise: 26 A for three; left-over steps are handed out")


def brake(ax: Axes) -> None:
    play = Play([head(limit_a=200.0)], [charger(f"c{k}") for k in range(3)], 20.0,
                brake_lost_s=15.0, brake_release_s=30.0, min_off_s=0.0)  # fmt: skip
    for spec in range(3):
        play.plan.ramp_up_a_per_s[spec] = 1.0

    def act(t_s: float) -> None:
        play.fresh = not 20.0 <= t_s < 60.0

    t, rows = log(play, 150.0, lambda: play.out.allowed_a.copy(), act)
    for k, colour in enumerate((BLUE, ORANGE, GREEN)):
        ax.plot(t, rows[:, k], color=colour, label=f"c{k}")
    ax.axvspan(20, 60, color=GREY, alpha=0.15, linewidth=0)
    ax.text(21, 29, "substation silent", fontsize=8)
    ax.set_ylim(0)
    labels(ax, "s", "A", "10 brake: after 15 s of silence; let go one by one")


def ramp(ax: Axes) -> None:
    spec = charger("a", ramp_up_a_per_s=0.5, random_delay_s=40.0, obey_s=5.0)
    play = Play([head()], [spec], 20.0, min_off_s=0.0)

    def act(t_s: float) -> None:
        play.inp.wish_a[0] = 0.0 if 20.0 <= t_s < 50.0 else np.inf

    t, rows = log(play, 150.0, lambda: [play.out.allowed_a[0]], act)
    ax.plot(t, rows[:, 0], color=BLUE)
    ax.axvspan(20, 50, color=GREY, alpha=0.15, linewidth=0)
    ax.text(21, 30, "asked for 0", fontsize=8)
    ax.text(52, 2, "random delay", fontsize=8)
    labels(ax, "s", "A", "11 ramp: down at once, up from the floor", legend=False)


def reason(ax: Axes) -> None:
    window = WindowSpec(0.0, 86_400.0, charger=0, limit_a=20.0)
    play = Play([head(limit_a=30.0)], [charger("a", step_a=1.0)], 10.0, windows=(window,))
    play.other = 14.5
    for _ in play.steps(40.0):
        pass
    chain = np.minimum(play.out.chain[0], 40.0)
    ax.step(np.arange(len(chain)), chain, color=BLUE, where="mid")
    ax.set_xticks(np.arange(len(chain)), [step.name.lower() for step in Step], rotation=25)
    ax.text(0, 37, "full power", fontsize=8)
    ax.set_ylim(0, 42)
    labels(ax, "", "A", "12 reason: the chain of caps of one charger", legend=False)


def export(ax: Axes) -> None:
    chargers = [charger(f"c{k}", export=ExportSpec(16.0), obey_s=10.0) for k in range(3)]
    play = Play([head(export_a=20.0)], chargers, 0.0)

    def act(t_s: float) -> None:
        play.inp.wish_a[:] = [-16.0, -8.0, -16.0 if t_s >= 30.0 else 0.0]
        play.other = 8.0 if t_s >= 70.0 else 0.0

    t, rows = log(play, 110.0, lambda: play.out.allowed_min_a.copy(), act)
    for k, colour in enumerate((BLUE, ORANGE, GREEN)):
        ax.plot(t, rows[:, k], color=colour, label=f"c{k}")
    ax.plot(t, rows.sum(axis=1), color=GREY, linestyle=":", label="sum")
    ax.text(71, -27, "a household\ntakes up 8 A", fontsize=8)
    labels(ax, "s", "A", "Export: 20 A shared max-min")


def labels(ax: Axes, x: str, y: str, title: str, *, legend: bool = True, at: str = "best") -> None:
    """Write units and title, and the legend at its place."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(title)
    if legend:
        ax.legend(loc=at)


PICTURES: dict[str, Callable[[Axes], None]] = {
    "trust": trust,
    "wish": wish,
    "envelope": envelope,
    "voltage-curves": voltage_curves,
    "voltage-play": voltage_play,
    "voltage-fairness": fairness,
    "voltage-stability": stability,
    "contract": contract,
    "headroom": headroom,
    "admit": admit,
    "phases": in_use,
    "share": split,
    "balance": balance,
    "quantise": quantise,
    "brake": brake,
    "ramp": ramp,
    "reason": reason,
    "export": export,
}


def draw(folder: Path) -> list[Path]:
    """Write every picture as SVG into the folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with matplotlib.rc_context(STYLE):
        for name, picture in PICTURES.items():
            figure = Figure(figsize=(5.6, 2.7), layout="constrained")
            picture(figure.add_subplot())
            path = folder / f"{name}.svg"
            canvas: Any = FigureCanvasSVG(figure)
            canvas.print_svg(path, metadata={"Date": None, "Creator": None})
            made.append(path)
    return made


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
