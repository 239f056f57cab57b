"""Do `voltbench report --transactions FILE --windows CONTRACT`: indicators of sessions that somebody recorded."""

from datetime import datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

from hil.rig.references import Problem
from hil.rig.rigfile import RigError
from hil.runs.flexpower_file import STILL_CHARGING_S, sessions_of_file
from hil.runs.flexpower_page import FlexReport, write_flex_report
from profiles.contract import load_contract
from profiles.contract_windows import Windowed
from profiles.published import load_published
from profiles.session import load_transactions
from profiles.vehicle import load_vehicles

ZONE = "Europe/Amsterdam"


def report_transactions(file: Path, contract_name: str, baseline_a: float, out: str | None) -> list[Path]:
    """Write the indicators of a transaction file as HTML, JSON and CSV and return their paths.

    `baseline_a` is the limit per phase without the windows; `out` the folder, by default the present one.
    ProfileError and RigError say what cannot be used.
    """
    if not file.is_file():
        raise RigError([Problem("--transactions", str(file), "no such file")])
    contract = load_contract(contract_name)
    if not isinstance(contract, Windowed):
        raise RigError([Problem("--windows", contract_name, f"is {contract.kind}: a contract of windows is needed")])
    found, vehicles = load_transactions(file), load_vehicles()
    zone = ZoneInfo(contract.timezone or ZONE)
    start = datetime.combine(found.first_day or datetime(1970, 1, 1).date(), time(), zone)
    sessions = sessions_of_file(found, contract, vehicles, zone, start.timestamp(), baseline_a)
    left_out = len(found.charger) - len(sessions) + found.incomplete
    assumed = [
        f"{len(sessions)} of {len(found.charger) + found.incomplete} transactions; {left_out} without energy, power or "
        "time were left out.",
        "A car's phases and amps are those of its class, by the highest power in the file: up to 4.2 kW one phase "
        "16 A, up to 8 kW one phase 29 A, up to 13 kW three phases 16 A, above three phases 32 A.",
        f"A car whose power ended over {STILL_CHARGING_S:g} s before it left wanted what it took; any other more.",
        f"Without the windows every station has {baseline_a:g} A per phase. Every transaction stands alone at its "
        "station: the other socket is not in the file.",
        "230 V; no ramps: a car takes what it is allowed at once, and nothing below its smallest current.",
    ]
    title = f"FlexPower indicators of {file.name} under {contract.name}"
    report = FlexReport(title, sessions, vehicles, load_published().get(contract.name), assumed)
    folder = Path(out) if out is not None else Path()
    folder.mkdir(parents=True, exist_ok=True)
    return write_flex_report(folder / f"flexpower-{file.stem}", report)
