"""`voltbench`: the command line. Reads the arguments, imports what a command needs, and turns errors into exit codes.

Exit codes: 0 every verdict passed; 1 a verdict failed; 2 bad arguments or file; 3 a device or the rig failed;
4 inconclusive; 130 interrupted after making safe. stdout is data, stderr is narration.
"""

import argparse
import os
import sys
from collections.abc import Sequence

# one BLAS thread: with more, a p99 of 0.3 ms became 69 ms on a busy machine
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def duration_s(text: str) -> float:
    """Read a duration like 60s, 5m, 24h or 90 (seconds); argparse's error names what is allowed."""
    unit = text.lstrip("0123456789.")
    try:
        value = float(text[: len(text) - len(unit)]) * UNITS[unit or "s"]
    except (KeyError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write 60s, 5m, 24h") from error
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above zero")
    return value


def seed_number(text: str) -> int:
    """Read a seed: a whole number from 0 up."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed; write a whole number from 0 up")
    return int(text)


def amps(text: str) -> float:
    """Read a current above zero, A."""
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a current; write amps, e.g. 8") from error
    if not 0.0 < value <= 1000.0:
        raise argparse.ArgumentTypeError(f"{text!r} A; allowed: above 0")
    return value


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="voltbench", description="Hardware-in-the-loop EV-charger emulator and DSO congestion controller."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="build the rig, run its scenario, judge it, write a run folder")
    run.add_argument("rig", nargs="?", default="street", help="a rig file or the name of a bundled rig")
    run.add_argument("--for", dest="for_s", type=duration_s, metavar="60s", help="how long; default the scenario's")
    run.add_argument("--fast", action="store_true", help="virtual time, no sockets, lock-step")
    run.add_argument("--step", dest="step_s", type=duration_s, metavar="1s", help="step of --fast")
    run.add_argument("--seed", type=seed_number, metavar="N", help="instead of the rig's")
    run.add_argument("--out", metavar="DIR", help="the run folder itself; default runs/<time>-<rig>")
    run.add_argument("--desk", action="store_true", help="seat the operator in this terminal")
    run.add_argument("--json", action="store_true", help="print the summary as JSON on stdout")

    check = commands.add_parser("check", help="read everything, reach and identify every device, change nothing")
    check.add_argument("rig", nargs="?", default="street")
    check.add_argument("--json", action="store_true", help="one object on stdout: devices, guards, faults")

    emulate = commands.add_parser("emulate", help="serve the twins and the plant, print their addresses, wait")
    emulate.add_argument("rig", nargs="?", default="street")
    emulate.add_argument("--json", action="store_true", help="one line on stdout when all listen")
    emulate.add_argument("--for", dest="for_s", type=duration_s, metavar="60s", help="stop after this time")
    emulate.add_argument("--out", metavar="DIR", help="keep the events (which output went on and off) and logs there")

    control = commands.add_parser("control", help="field stage: control a site of real devices until Ctrl-C")
    control.add_argument("site", help="a site file; `voltbench schema --site` prints its schema")
    control.add_argument("--shadow", action="store_true", help="decide and journal, write nothing to any device")
    control.add_argument("--for", dest="for_s", type=duration_s, metavar="8h", help="stop after this time")
    control.add_argument("--out", metavar="DIR", help="the run folder itself; default runs/<time>-<site>")
    control.add_argument("--desk", action="store_true", help="seat the operator in this terminal")
    control.add_argument("--json", action="store_true", help="print the summary as JSON on stdout")

    found = commands.add_parser("commission", help="field stage: step each charger, find what the site file should say")
    found.add_argument("site", help="a site file; `voltbench schema --site` prints its schema")
    found.add_argument("--only", action="append", metavar="NAME", help="this charger; may be given again")
    found.add_argument("--step", dest="step_a", type=amps, default=8.0, metavar="8", help="A over the charger's floor")
    found.add_argument("--cycles", type=int, choices=range(1, 11), default=2, help="times up and down; default 2")
    found.add_argument("--yes", action="store_true", help="do not ask before the first write")
    found.add_argument("--json", action="store_true", help="findings and table as JSON on stdout")

    desk = commands.add_parser("desk", help="attach the operator's desk to a running controller")
    desk.add_argument("run", nargs="?", help="run folder; default the newest that runs")
    desk.add_argument("--read-only", action="store_true")

    replay = commands.add_parser("replay", help="decide again from the ledger and compare bit by bit")
    replay.add_argument("run", nargs="?", help="run folder; default the newest")
    replay.add_argument("--json", action="store_true")

    report = commands.add_parser("report", help="write the report of a finished run anew")
    report.add_argument("run", nargs="?", help="run folder; default the newest")
    report.add_argument("--contract", metavar="ID", help="the evidence of this contract instead: HTML, JSON and CSV")
    report.add_argument(
        "--by", choices=["run", "day", "week", "month", "year"], default="run", help="with --contract: a row a period"
    )
    report.add_argument("--site", metavar="SITE.toml", help="of a run in the field: the site file at its own place")
    report.add_argument("--transactions", metavar="FILE", help="FlexPower indicators of recorded sessions instead")
    report.add_argument("--windows", metavar="CONTRACT", default="flexpower_1", help="with --transactions")
    report.add_argument(
        "--baseline", type=amps, metavar="25", default=25.0, help="with --transactions: A per phase without the windows"
    )
    report.add_argument("--out", metavar="DIR", help="with --transactions: default the present folder")

    export = commands.add_parser("export", help="a run's samples for other tools")
    export.add_argument("run", nargs="?", help="run folder; default the newest")
    export.add_argument("--to", choices=["csv", "parquet"], required=True)
    export.add_argument("--out", metavar="FILE", help="default samples.<format> in the run folder")

    from hil.runs import certifying, ordering_arguments  # light: no numpy in them

    ordering_arguments.add_commands(commands, duration_s)
    certifying.add_command(commands)

    latency = commands.add_parser("latency", help="what this machine can promise")
    latency.add_argument("--json", action="store_true")

    models = commands.add_parser("catalog", help="the device models, their source and how well they are verified")
    models.add_argument("model", nargs="?")
    models.add_argument("--contracts", action="store_true", help="the bundled contracts instead, with their source")

    schema = commands.add_parser("schema", help="print the JSON Schema of a rig file")
    schema.add_argument("--site", action="store_true", help="of a site file instead")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = parser().parse_args(argv)
    from hil.runs.packages import foreign_instruments

    if arguments.command == "check" and (said := foreign_instruments()):
        print(f"voltbench: {said}", file=sys.stderr)
        return 2
    from hil.runs import commands

    return commands.dispatch(arguments)


if __name__ == "__main__":
    sys.exit(main())
