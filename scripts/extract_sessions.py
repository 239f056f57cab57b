"""Extract the ElaadNL-derived session tables from a wheel of the PyPI package ev2gym into profiles/sessions.

    pip download --no-deps ev2gym==2.0.0
    python scripts/extract_sessions.py ev2gym-2.0.0-py3-none-any.whl

The package is MIT licensed; its notice is kept beside the tables. ev2gym itself is no dependency.
"""

import csv
import io
import sys
import zipfile
from pathlib import Path

TARGET = Path(__file__).parents[1] / "profiles" / "sessions"
KINDS = ("private", "public", "workplace")
TABLES = {
    "distribution-of-arrival.csv": ("elaad_arrival.csv", "arrival", "%", 96),
    "distribution-of-arrival-weekend.csv": ("elaad_arrival_weekend.csv", "arrival", "%", 96),
    "distribution-of-connection-time.csv": ("elaad_connection_time.csv", "exceeded_by_percent", "h", 101),
    "distribution-of-energy-demand.csv": ("elaad_energy_demand.csv", "exceeded_by_percent", "kwh", 101),
}


def rows_of(wheel: zipfile.ZipFile, name: str) -> list[list[str]]:
    """Return the rows of a table of the wheel, without its header."""
    text = wheel.read(f"ev2gym/data/{name}").decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text)))[1:]


def main(path: str) -> None:
    """Write the five tables and the licence."""
    with zipfile.ZipFile(path) as wheel:
        for source, (target, key, unit, count) in TABLES.items():
            rows = rows_of(wheel, source)
            if len(rows) != count:
                raise SystemExit(f"{source}: {len(rows)} rows, expected {count}: another version of ev2gym?")
            kinds = KINDS[: len(rows[0]) - 1]  # the weekend's table has no workplace
            write(TARGET / target, [key, *(f"{kind}_{unit}" for kind in kinds)], rows)
        means = sorted(row + [""] * (4 - len(row)) for row in rows_of(wheel, "mean-session-length-per.csv"))
        write(TARGET / "elaad_mean_stay.csv", ["arrival", *(f"{kind}_h" for kind in KINDS)], means)
        licence = next(name for name in wheel.namelist() if name.endswith("LICENSE"))
        notice = "The elaad_*.csv tables are extracted from the PyPI package ev2gym 2.0.0.\n\n"
        (TARGET / "NOTICE").write_text(notice + wheel.read(licence).decode())


def write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    """Write one table."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1])
